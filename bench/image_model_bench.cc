// An image model's forward pass, called directly, for bench/image_model.py.
//
//   image_model_bench MODEL_DIRECTORY [--threads=N]
//
// reads from its standard input as often as there is more: a line with the number of images and
// their pixels, [images, height, width, 3]. Of each it computes the embeddings once and prints a
// line: the wall milliseconds, the processor milliseconds of all threads together, and the
// embeddings, [images, dimensions].

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <iostream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/numbers.h"
#include "engine/device/cpu_device.h"
#include "engine/model/model.h"

ABSL_FLAG(int32_t, threads, 0, "Threads that compute; 0: as many as the process may use.");

namespace contextpool::engine {
namespace {

constexpr int32_t kMaxImages = 4096;

double WallMs() {
  return std::chrono::duration<double, std::milli>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

double ProcessorMs() {
  timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return 1e3 * static_cast<double>(now.tv_sec) + 1e-6 * static_cast<double>(now.tv_nsec);
}

[[noreturn]] void Die(const absl::Status& status) {
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  std::exit(1);
}

void Run(const Model& model, Device& device, int32_t images) {
  const ModelInfo& info = model.info();
  std::vector<uint8_t> pixels(images * info.image->bytes());
  if (!std::cin.read(reinterpret_cast<char*>(pixels.data()),
                     static_cast<std::streamsize>(pixels.size()))) {
    Die(absl::InvalidArgumentError("the pixels end early"));
  }
  std::vector<int32_t> cu_lengths;
  for (int32_t i = 0; i <= images; ++i) cu_lengths.push_back(i * info.max_tokens);
  const std::vector<OutputSpec> outputs(images, {.pooling = info.pooling});
  const PackedBatch batch = {.pixels = pixels,
                             .cu_lengths = cu_lengths,
                             .outputs = outputs,
                             .max_length = info.max_tokens};
  auto arena = Arena::Create(device, model.WorkspaceBytes({batch.total_tokens(), images}));
  if (!arena.ok()) Die(arena.status());
  const double wall = WallMs();
  const double processor = ProcessorMs();
  const auto output = model.Forward(batch, *arena);
  if (!output.ok()) Die(output.status());
  if (absl::Status status = device.Synchronize(); !status.ok()) Die(status);
  std::printf("%.3f %.3f", WallMs() - wall, ProcessorMs() - processor);
  std::vector<float> embeddings(images * int64_t{info.embedding_dimensions});
  device.CopyToHost(embeddings.data(), output->embeddings.as<float>(),
                    embeddings.size() * sizeof(float));
  if (absl::Status status = device.Synchronize(); !status.ok()) Die(status);
  for (float value : embeddings) std::printf(" %.9g", value);
  std::printf("\n");
  std::fflush(stdout);
}

int Main(const std::vector<char*>& arguments) {
  if (arguments.size() != 2) {
    std::fprintf(stderr, "usage: image_model_bench MODEL_DIRECTORY\n");
    return 2;
  }
  auto device = CreateCpuDevice({.threads = absl::GetFlag(FLAGS_threads)});
  if (!device.ok()) Die(device.status());
  ModelSpec spec;
  spec.name = "bench";
  spec.directory = arguments[1];
  const auto model = LoadModel(spec, **device);
  if (!model.ok()) Die(model.status());
  if (!(*model)->info().image) Die(absl::InvalidArgumentError("the model does not read images"));
  for (std::string line; std::getline(std::cin, line);) {
    int32_t images = 0;
    if (!absl::SimpleAtoi(line, &images) || images < 1 || images > kMaxImages) {
      Die(absl::InvalidArgumentError("the number of images must be from 1 to 4096"));
    }
    Run(**model, **device, images);
  }
  return 0;
}

}  // namespace
}  // namespace contextpool::engine

int main(int argc, char** argv) {
  return contextpool::engine::Main(absl::ParseCommandLine(argc, argv));
}
