// As seeded_faults.cuh, with the instructions of a whole warp: each warp reverses 32 numbers, which
// are exact in float16.
#pragma once

#include <cstdint>

#include "kernels/cuda/primitives.cuh"
#include "tests/unit/kernels/simt/seeded_faults.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

// The tile of the calling warp.
SIMT_DEVICE Shared<F16> OfWarp(Shared<F16> tiles, int size) {
  return tiles.Slice(static_cast<int>(ThreadIdx().x) / 32 * size, size);
}

// Of the warp's numbers, the one that lane `lane` keeps after they are reversed among the warps.
SIMT_DEVICE float NumberOfLane(const ReverseArgs& args, int lane) {
  const int warp = static_cast<int>(ThreadIdx().x) / 32;
  return args.in.Load(args.First() + kReversed - 32 - warp * 32 + lane);
}

// Lane l's number is elements 2 l and 2 l + 1 of a matrix.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void MissingSyncAfterStoreMatrix(ReverseArgs args) {
  SIMT_SHARED(F16, tiles, kReversed * 2);
  const Shared<F16> tile = OfWarp(tiles, 64);
  const int lane = ThreadIdx().x % 32;
  const float value = NumberOfLane(args, lane);
  StoreMatrix(tile, lane % 8 * 8, Vec<uint32_t, 1>{Pack<F16>(value, value)});
  if (!kBroken) SyncWarp();
  args.out.Store(args.First() + ThreadIdx().x, ToFloat(tile.Load(2 * (31 - lane))));
}

// A matrix is stored where other lanes may still load what was there.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void MissingSyncBeforeStoreMatrix(ReverseArgs args) {
  SIMT_SHARED(F16, tiles, kReversed * 2);
  const Shared<F16> tile = OfWarp(tiles, 64);
  const int lane = ThreadIdx().x % 32;
  tile.Store(2 * (31 - lane), FromFloat<F16>(NumberOfLane(args, lane)));
  SyncWarp();
  args.out.Store(args.First() + ThreadIdx().x, ToFloat(tile.Load(2 * lane)));
  if (!kBroken) SyncWarp();
  StoreMatrix(tile, lane % 8 * 8, Vec<uint32_t, 1>{});
}

// Rows of two chunks, which the lower four rows swap: chunk 0 is what is asked for. That the load
// does not swap them is no fault of an access; the results are wrong.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void WrongSwizzle(ReverseArgs args) {
  SIMT_SHARED(F16, tiles, kReversed * 4);
  const Shared<F16> tile = OfWarp(tiles, 128);
  const int lane = ThreadIdx().x % 32;
  const float value = NumberOfLane(args, 31 - lane);
  for (int chunk = 0; chunk < 2; ++chunk) {
    const F16 number = FromFloat<F16>(chunk == 0 ? value : -value);
    tile.StoreVec(lane / 4 * 16 + (chunk ^ lane / 16) * 8 + lane % 4 * 2,
                  Vec<F16, 2>{number, number});
  }
  SyncWarp();
  const int chunk = kBroken ? 0 : lane % 8 / 4;
  const Vec<uint32_t, 1> loaded = LoadMatrix<1>(tile, lane % 8 * 16 + chunk * 8);
  args.out.Store(args.First() + ThreadIdx().x, Unpack<F16>(loaded[0])[0]);
}

template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void MisalignedMatrixRow(ReverseArgs args) {
  SIMT_SHARED(F16, tiles, kReversed * 2);
  const Shared<F16> tile = OfWarp(tiles, 64);
  const int lane = ThreadIdx().x % 32;
  const F16 number = FromFloat<F16>(NumberOfLane(args, 31 - lane));
  tile.StoreVec(2 * lane, Vec<F16, 2>{number, number});
  SyncWarp();
  const int row = lane % 8 * 8 + (kBroken && lane == 5 ? 4 : 0);
  args.out.Store(args.First() + ThreadIdx().x, Unpack<F16>(LoadMatrix<1>(tile, row)[0])[0]);
}

// Half of the lanes do not come to the product, which adds nothing.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void DivergentMma(ReverseArgs args) {
  const int lane = ThreadIdx().x % 32;
  Vec<float, 4> sums = {NumberOfLane(args, 31 - lane)};
  if (!kBroken || lane < 16) Mma<F16>(sums, {}, {});
  args.out.Store(args.First() + ThreadIdx().x, sums[0]);
}

// Each half of a warp has a product of its own.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void DifferentMmas(ReverseArgs args) {
  const int lane = ThreadIdx().x % 32;
  Vec<float, 4> sums = {NumberOfLane(args, 31 - lane)};
  if (kBroken && lane < 16) {
    Mma<BF16>(sums, {}, {});
  } else {
    Mma<F16>(sums, {}, {});
  }
  args.out.Store(args.First() + ThreadIdx().x, sums[0]);
}

}  // namespace contextpool::kernels::SIMT_BACKEND
