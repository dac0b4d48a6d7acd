// ContextPool's kernel on the CPU, for bench/context_pool.py, which times it beside PyTorch.
//
//   context_pool_bench [--threads=N] [--cpu_time]
//
// Reads one command a line: SEQUENCES LENGTH GRID_WIDTH COLUMNS SECONDS FOLDER, where a grid width
// of 0 means that there is none. The folder holds x.bin [sequences * length, columns],
// log_weight.bin and support_size.bin [sequences * length] in float32; the result goes to out.bin.
// Answers with a line of JSON: the median of the times of one call, and what it computed and
// skipped.

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "engine/device/thread_pool.h"
#include "kernels/context_pool.h"
#include "kernels/cpu_stream.h"

ABSL_FLAG(int32_t, threads, 1, "Threads that compute.");
ABSL_FLAG(bool, cpu_time, false, "Report processor time, all threads together.");

namespace contextpool {
namespace {

double Now(clockid_t clock = CLOCK_MONOTONIC) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

std::vector<float> Read(const std::string& path, int64_t size) {
  std::vector<float> values(size);
  std::ifstream file(path, std::ios::binary);
  const auto bytes = static_cast<std::streamsize>(values.size() * sizeof(float));
  if (!file.read(reinterpret_cast<char*>(values.data()), bytes)) {
    std::fprintf(stderr, "%s does not hold %lld numbers\n", path.c_str(),
                 static_cast<long long>(size));
    std::exit(1);
  }
  return values;
}

struct Command {
  int64_t sequences, length, grid_width, columns;
  double seconds;
  std::string folder;
};

void Run(const Command& command, engine::ThreadPool& pool) {
  const int64_t tokens = command.sequences * command.length;
  const std::vector<float> x = Read(command.folder + "/x.bin", tokens * command.columns);
  const std::vector<float> log_weight = Read(command.folder + "/log_weight.bin", tokens);
  const std::vector<float> support_size = Read(command.folder + "/support_size.bin", tokens);
  std::vector<float> out(x.size());
  std::vector<int32_t> cu_lengths;
  for (int64_t i = 0; i <= command.sequences; ++i) {
    cu_lengths.push_back(static_cast<int32_t>(i * command.length));
  }
  std::vector<char> workspace(
      kernels::cpu::ContextPoolWorkspaceBytes(command.length, pool.threads()) + 64);
  void* aligned = workspace.data();
  size_t space = workspace.size();
  std::align(64, space - 64, aligned, space);
  kernels::ContextPoolTiles tiles;
  const kernels::ContextPoolParams params = {.x = x.data(),
                                             .log_weight = log_weight.data(),
                                             .support_size = support_size.data(),
                                             .cu_lengths = cu_lengths.data(),
                                             .out = out.data(),
                                             .workspace = aligned,
                                             .tiles = &tiles,
                                             .sequences = command.sequences,
                                             .max_length = command.length,
                                             .grid_width = command.grid_width,
                                             .columns = command.columns,
                                             .x_stride = command.columns,
                                             .out_stride = command.columns};
  std::vector<double> times;
  const clockid_t clock =
      absl::GetFlag(FLAGS_cpu_time) ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC;
  const double end = Now() + command.seconds;
  do {
    tiles = {};
    const double begin = Now(clock);
    if (kernels::cpu::ContextPool(params, &pool) != kernels::Status::kOk) std::exit(1);
    times.push_back(Now(clock) - begin);
  } while (Now() < end);
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  std::ofstream(command.folder + "/out.bin", std::ios::binary)
      .write(reinterpret_cast<const char*>(out.data()),
             static_cast<std::streamsize>(out.size() * sizeof(float)));
  std::printf("{\"seconds\": %.9f, \"computed\": %lld, \"skipped\": %lld}\n",
              times[times.size() / 2], static_cast<long long>(tiles.computed),
              static_cast<long long>(tiles.skipped));
  std::fflush(stdout);
}

}  // namespace
}  // namespace contextpool

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  contextpool::engine::ThreadPool pool(absl::GetFlag(FLAGS_threads),
                                       contextpool::kernels::BestIsa());
  contextpool::Command command;
  while (std::cin >> command.sequences >> command.length >> command.grid_width >> command.columns >>
         command.seconds >> command.folder) {
    contextpool::Run(command, pool);
  }
}
