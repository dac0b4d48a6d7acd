// Times a model's forward pass over batches of equal lengths, beside LibTorch's sgemm on random
// data measured in the same run, before and after.
//
//   encoder_bench MODEL_DIRECTORY [--threads=N] [--seconds=S] SEQUENCESxTOKENS...

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engine/device/cpu_count.h"
#include "engine/device/cpu_device.h"
#include "engine/model/model.h"
#include "engine/model/model_directory.h"

ABSL_FLAG(int32_t, threads, 0, "Threads that compute; 0: as many as the process may use.");
ABSL_FLAG(double, seconds, 2, "Time spent on each shape.");
ABSL_FLAG(bool, libtorch, false, "Multiply by LibTorch instead of the packed kernels.");

namespace contextpool::engine {
namespace {

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double CpuNow() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

struct Times {
  double median;
  double best;
  // Processor time of one call, all threads together: what remains comparable when other programs
  // share the machine.
  double cpu;
};

// Calls `body` for `seconds` and at least five times.
template <typename Body>
Times Time(double seconds, const Body& body) {
  body();
  std::vector<double> times;
  const double cpu_begin = CpuNow();
  const double end = Now() + seconds;
  while (times.size() < 5 || Now() < end) {
    const double begin = Now();
    body();
    times.push_back(Now() - begin);
  }
  std::sort(times.begin(), times.end());
  return {times[times.size() / 2], times[0],
          (CpuNow() - cpu_begin) / static_cast<double>(times.size())};
}

void Report(const std::string& what, double flops, const Times& times) {
  std::printf(
      "%-18s median %9.2f ms %6.1f GFLOP/s  best %9.2f ms %6.1f GFLOP/s  %6.1f GFLOP per CPU s\n",
      what.c_str(), times.median * 1e3, flops / times.median / 1e9, times.best * 1e3,
      flops / times.best / 1e9, flops / times.cpu / 1e9);
}

// The ceiling: [1024, 384] x [384, 1536] by LibTorch on random data.
void RunSgemm(int threads, double seconds) {
  constexpr int64_t kRows = 1024, kIn = 384, kOut = 1536;
  const c10::InferenceMode no_gradients;
  at::set_num_threads(threads);
  const at::Tensor x = at::randn({kRows, kIn});
  const at::Tensor weight = at::randn({kIn, kOut});
  at::Tensor out = at::empty({kRows, kOut});
  const Times times = Time(seconds, [&] { at::mm_out(out, x, weight); });
  Report("LibTorch sgemm", 2.0 * kRows * kIn * kOut, times);
}

// Multiply-adds counted as two.
double Flops(const EncoderConfig& config, double sequences, double length) {
  const double width = config.hidden_size;
  const double per_token =
      8 * width * width + 4 * width * config.intermediate_size + 4 * length * width;
  return sequences * length * config.layers * per_token;
}

void RunShape(const Model& model, const EncoderConfig& config, Device& device, int32_t sequences,
              int32_t length) {
  std::vector<int32_t> ids(static_cast<size_t>(sequences) * length);
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int32_t>(i * 7919 % config.vocabulary_size);
  std::vector<int32_t> cu_lengths(sequences + 1);
  for (int32_t i = 0; i <= sequences; ++i) cu_lengths[i] = i * length;
  const std::vector<OutputSpec> outputs(sequences, OutputSpec{.normalize = true});
  const PackedBatch batch = {ids, {}, cu_lengths, outputs, length};
  auto arena = Arena::Create(
      device, model.WorkspaceBytes({static_cast<int64_t>(sequences) * length, sequences}));
  if (!arena.ok()) {
    std::fprintf(stderr, "%s\n", arena.status().ToString().c_str());
    std::exit(1);
  }
  const Times times = Time(absl::GetFlag(FLAGS_seconds), [&] {
    arena->Reset();
    const auto output = model.Forward(batch, *arena);
    const absl::Status status = output.ok() ? device.Synchronize() : output.status();
    if (!status.ok()) {
      std::fprintf(stderr, "%s\n", status.ToString().c_str());
      std::exit(1);
    }
  });
  Report(absl::StrCat(sequences, " x ", length), Flops(config, sequences, length), times);
}

int Main(const std::vector<char*>& arguments) {
  if (arguments.size() < 3) {
    std::fprintf(stderr, "usage: encoder_bench MODEL_DIRECTORY SEQUENCESxTOKENS...\n");
    return 2;
  }
  CpuDeviceOptions options;
  options.threads = absl::GetFlag(FLAGS_threads);
  if (options.threads <= 0) options.threads = AvailableCpus();
  if (absl::GetFlag(FLAGS_libtorch)) options.gemm = CpuGemm::kLibTorch;
  auto device = CreateCpuDevice(options);
  const auto directory = ReadModelDirectory(arguments[1], std::nullopt);
  if (!device.ok() || !directory.ok()) {
    std::fprintf(stderr, "%s %s\n", device.status().ToString().c_str(),
                 directory.status().ToString().c_str());
    return 1;
  }
  const double begin = Now();
  ModelSpec spec;
  spec.name = "bench";
  spec.directory = arguments[1];
  const auto model = LoadModel(spec, **device);
  if (!model.ok()) {
    std::fprintf(stderr, "%s\n", model.status().ToString().c_str());
    return 1;
  }
  std::printf("loaded in %.0f ms\n", (Now() - begin) * 1e3);
  RunSgemm(options.threads, absl::GetFlag(FLAGS_seconds));
  for (size_t i = 2; i < arguments.size(); ++i) {
    const std::vector<std::string> shape = absl::StrSplit(arguments[i], 'x');
    int32_t sequences = 0;
    int32_t length = 0;
    if (shape.size() != 2 || !absl::SimpleAtoi(shape[0], &sequences) ||
        !absl::SimpleAtoi(shape[1], &length) || sequences < 1 || length < 1 ||
        length > directory->encoder.max_positions) {
      std::fprintf(stderr, "bad shape %s: write SEQUENCESxTOKENS\n", arguments[i]);
      return 2;
    }
    RunShape(**model, directory->encoder, **device, sequences, length);
  }
  RunSgemm(options.threads, absl::GetFlag(FLAGS_seconds));
  return 0;
}

}  // namespace
}  // namespace contextpool::engine

int main(int argc, char** argv) {
  return contextpool::engine::Main(absl::ParseCommandLine(argc, argv));
}
