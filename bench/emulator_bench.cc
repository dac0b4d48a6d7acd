// How fast the emulator of CUDA kernels is: a tensor-core product of 256 x 256 x 384 in bfloat16
// and the LayerNorm of 512 rows of 768, on one thread.
//
//   emulator_bench [ROUNDS]

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "kernels/layer_norm.h"
#include "kernels/simt/device_buffer.h"
#include "kernels/simt/launch.h"
#include "tests/unit/kernels/simt/tile_product.cuh"

namespace contextpool::kernels::emulated {
namespace {

constexpr uint16_t kOne = 0x3f80;

Status RunProduct(StreamHandle stream) {
  constexpr int kRows = 256, kColumns = 256, kDepth = 384;
  simt::DeviceBuffer<BF16> a(std::vector<BF16>(kRows * kDepth, {kOne}));
  simt::DeviceBuffer<BF16> b(std::vector<BF16>(kDepth * kColumns, {kOne}));
  simt::DeviceBuffer<float> out(kRows * kColumns);
  const TileProductArgs<BF16> args = {.a = {a.data(), kRows * kDepth},
                                      .b = {b.data(), kDepth * kColumns},
                                      .out = {out.data(), kRows * kColumns},
                                      .rows = kRows,
                                      .columns = kColumns,
                                      .depth = kDepth};
  const LaunchConfig config = {.kernel = "tile_product",
                               .grid = {kColumns / kTile, kRows / kTile},
                               .block = {kTileThreads},
                               .shared_bytes = kTileSharedBytes};
  return Launch(config, stream, TileProduct<BF16, TileFault::kNone>, args);
}

Status RunLayerNorm(StreamHandle stream) {
  constexpr int kRows = 512, kColumns = 768;
  simt::DeviceBuffer<uint16_t> x(std::vector<uint16_t>(kRows * kColumns, kOne));
  simt::DeviceBuffer<uint16_t> gamma(std::vector<uint16_t>(kColumns, kOne));
  simt::DeviceBuffer<uint16_t> out(kRows * kColumns);
  return LayerNorm({.x = x.data(),
                    .residual = x.data(),
                    .gamma = gamma.data(),
                    .beta = gamma.data(),
                    .out = out.data(),
                    .dtype = DType::kBF16,
                    .rows = kRows,
                    .columns = kColumns,
                    .x_stride = kColumns,
                    .residual_stride = kColumns,
                    .out_stride = kColumns},
                   stream);
}

bool Measure(const char* name, Status (*run)(StreamHandle), simt::Schedule schedule) {
  simt::Stream stream({.schedule = schedule});
  const auto start = std::chrono::steady_clock::now();
  const Status status = run(stream.handle());
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  const auto operations = static_cast<double>(stream.reports().back().lane_operations);
  std::printf("%-13s %-11s %6.1f ms, %4.2f million lane operations, %5.1f million/s\n", name,
              schedule == simt::Schedule::kLockstep ? "lockstep" : "warp-greedy",
              1e3 * seconds.count(), 1e-6 * operations, 1e-6 * operations / seconds.count());
  return status == Status::kOk;
}

}  // namespace
}  // namespace contextpool::kernels::emulated

int main(int argc, char** argv) {
  namespace emulated = contextpool::kernels::emulated;
  using contextpool::kernels::simt::Schedule;
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 3;
  bool ok = true;
  for (int round = 0; round < rounds; ++round) {
    for (const Schedule schedule : {Schedule::kLockstep, Schedule::kWarpGreedy}) {
      ok &= emulated::Measure("product", emulated::RunProduct, schedule);
      ok &= emulated::Measure("layer_norm", emulated::RunLayerNorm, schedule);
    }
  }
  return ok ? 0 : 1;
}
