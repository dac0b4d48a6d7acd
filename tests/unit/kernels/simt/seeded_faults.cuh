// Kernels that reverse blocks of 128 floats, each in a way of its own. With kBroken a kernel makes
// one mistake that it otherwise does not.
#pragma once

#include <cstdint>

#include "kernels/cuda/primitives.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

constexpr int kReversed = 128;

struct ReverseArgs {
  Global<const float> in;
  Global<float> out;

  SIMT_DEVICE int64_t First() const { return int64_t{BlockIdx().x} * kReversed; }
};

template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void MissingBarrier(ReverseArgs args) {
  SIMT_SHARED(float, tile, kReversed);
  const int i = ThreadIdx().x;
  tile.Store(i, args.in.Load(args.First() + i));
  if (!kBroken) SyncThreads();
  args.out.Store(args.First() + i, tile.Load(kReversed - 1 - i));
}

// The tile is used twice; nothing keeps the second store behind the first load.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void MissingBarrierBeforeReuse(ReverseArgs args) {
  SIMT_SHARED(float, tile, kReversed / 2);
  const int i = ThreadIdx().x;
  for (int half = 0; half < 2; ++half) {
    if (i / 64 == half) tile.Store(i % 64, args.in.Load(args.First() + i));
    SyncThreads();
    if (i / 64 != half) args.out.Store(args.First() + i, tile.Load(63 - i % 64));
    if (!kBroken) SyncThreads();
  }
}

// Inside a warp: another lane's value through shared memory.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void MissingSyncWarp(ReverseArgs args) {
  SIMT_SHARED(float, tile, kReversed);
  const int i = ThreadIdx().x;
  tile.Store(i, args.in.Load(args.First() + kReversed - 1 - i / 32 * 32 - (31 - i % 32)));
  if (!kBroken) SyncWarp();
  args.out.Store(args.First() + i, tile.Load(i / 32 * 32 + 31 - i % 32));
}

// Each half of a warp meets by itself, while the values go from one to the other. All lanes meet at
// a vote too, which orders nothing.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void SyncWarpOfHalves(ReverseArgs args) {
  SIMT_SHARED(float, tile, kReversed);
  const int i = ThreadIdx().x;
  tile.Store(i, args.in.Load(args.First() + kReversed - 1 - i / 32 * 32 - (31 - i % 32)));
  Any(true);
  SyncWarp(!kBroken ? kFullMask : i % 32 < 16 ? 0xffff : 0xffff0000);
  args.out.Store(args.First() + i, tile.Load(i / 32 * 32 + 31 - i % 32));
}

// All lanes load a flag; one of them, which loads it last, sets it. That they meet at a shuffle in
// between orders nothing.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void StoreOverLoadsOfLanes(ReverseArgs args) {
  SIMT_SHARED(float, flags, kReversed / 32);
  const int i = ThreadIdx().x;
  if (i % 32 == 0) flags.Store(i / 32, 0.0f);
  SyncWarp();
  float value = args.in.Load(args.First() + kReversed - 32 - i / 32 * 32 + i % 32);
  value = ShuffleXor(value + flags.Load(i / 32), 31);
  if (!kBroken) SyncWarp();
  if (i % 32 == 0) flags.Store(i / 32, flags.Load(i / 32) + 1);
  args.out.Store(args.First() + i, value);
}

// All warps load a flag; one of them sets it after it has met all others but one.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void StoreOverLoadsOfWarps(ReverseArgs args) {
  SIMT_SHARED(float, flag, 1);
  const int i = ThreadIdx().x;
  if (i == 0) flag.Store(0, 0.0f);
  SyncThreads();
  const float value = args.in.Load(args.First() + kReversed - 1 - i) + flag.Load(0);
  if (!kBroken) SyncThreads();
  if (i >= 32) SyncNamed(1, kReversed - 32);
  if (i == kReversed - 1) flag.Store(0, 1.0f);
  args.out.Store(args.First() + i, value);
}

template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void MissingWait(ReverseArgs args) {
  SIMT_SHARED(float, tile, kReversed);
  const int i = ThreadIdx().x;
  CopyAsync<4>(tile, i, args.in, args.First() + i);
  CopyAsyncCommit();
  if (!kBroken) CopyAsyncWait<0>();
  SyncThreads();
  args.out.Store(args.First() + i, tile.Load(kReversed - 1 - i));
}

// A copy that belongs to no group is not waited for.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void MissingCommit(ReverseArgs args) {
  SIMT_SHARED(float, tile, kReversed);
  const int i = ThreadIdx().x;
  CopyAsync<4>(tile, i, args.in, args.First() + i);
  if (!kBroken) CopyAsyncCommit();
  CopyAsyncWait<0>();
  SyncThreads();
  args.out.Store(args.First() + i, tile.Load(kReversed - 1 - i));
}

// A zero that is stored while the copy may still write.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void StoreDuringCopy(ReverseArgs args) {
  SIMT_SHARED(float, tile, kReversed);
  const int i = ThreadIdx().x;
  if (!kBroken) tile.Store(i, 0.0f);
  CopyAsync<4>(tile, i, args.in, args.First() + i);
  if (kBroken) tile.Store(i, 0.0f);
  CopyAsyncCommit();
  CopyAsyncWait<0>();
  SyncThreads();
  args.out.Store(args.First() + i, tile.Load(kReversed - 1 - i));
}

template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void OutOfBoundsShared(ReverseArgs args) {
  SIMT_SHARED(float, tile, kReversed);
  const int i = ThreadIdx().x;
  tile.Store(i, args.in.Load(args.First() + i));
  SyncThreads();
  args.out.Store(args.First() + i, tile.Load(kReversed - (kBroken ? 0 : 1) - i));
}

// Not out of the block's memory, but into the array behind.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void OutOfBoundsIntoNeighbour(ReverseArgs args) {
  SharedPool pool;
  const Shared<float> tile = pool.Take<float>(kReversed);
  const Shared<float> other = pool.Take<float>(kReversed);
  const int i = ThreadIdx().x;
  tile.Store(i, args.in.Load(args.First() + i));
  other.Store(i, 0.0f);
  SyncThreads();
  args.out.Store(args.First() + i, tile.Load(kReversed - (kBroken ? 0 : 1) - i));
}

template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void OutOfBoundsGlobal(ReverseArgs args) {
  const int64_t last = args.First() + kReversed - (kBroken ? 0 : 1);
  args.out.Store(args.First() + ThreadIdx().x, args.in.Load(last - ThreadIdx().x));
}

template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void OutOfBoundsStore(ReverseArgs args) {
  const int64_t i = args.First() + ThreadIdx().x;
  const float value = args.in.Load(i);
  args.out.Store(args.First() + kReversed - 1 - ThreadIdx().x - (kBroken ? 1 : 0), value);
}

template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void MisalignedVector(ReverseArgs args) {
  const int i = ThreadIdx().x;
  if (i >= kReversed / 4) return;
  const int64_t first = args.First() + kReversed - 4 - 4 * i;
  // The odd address holds three of the four values that are needed.
  const Vec<float, 4> v = args.in.LoadVec<4>(kBroken && i > 0 ? first + 1 : first);
  args.out.StoreVec(args.First() + 4 * i, Vec<float, 4>{v[3], v[2], v[1], v[0]});
}

template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void MisalignedShared(ReverseArgs args) {
  SIMT_SHARED(float, tile, kReversed + 4);
  const int i = ThreadIdx().x;
  constexpr int kShift = kBroken ? 1 : 0;
  tile.Store(i + kShift, args.in.Load(args.First() + i));
  SyncThreads();
  if (i >= kReversed / 2) return;
  const Vec<float, 2> v = tile.LoadVec<2>(kReversed - 2 - 2 * i + kShift);
  args.out.StoreVec(args.First() + 2 * i, Vec<float, 2>{v[1], v[0]});
}

template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void MisalignedStore(ReverseArgs args) {
  const int i = ThreadIdx().x;
  if (i >= kReversed / 4) return;
  const Vec<float, 4> v = args.in.LoadVec<4>(args.First() + kReversed - 4 - 4 * i);
  args.out.StoreVec(args.First() + 4 * i + (kBroken && i == 0 ? 1 : 0),
                    Vec<float, 4>{v[3], v[2], v[1], v[0]});
}

// One of the copies starts at an odd place.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void MisalignedCopy(ReverseArgs args) {
  SIMT_SHARED(float, tile, kReversed);
  const int i = ThreadIdx().x;
  if (i < 32)
    CopyAsync<16>(tile, 4 * i, args.in, args.First() + 4 * i - (kBroken && i == 9 ? 1 : 0));
  CopyAsyncCommit();
  CopyAsyncWait<0>();
  SyncThreads();
  args.out.Store(args.First() + i, tile.Load(kReversed - 1 - i));
}

// The last copy reads behind the array.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void CopyFromOutOfBounds(ReverseArgs args) {
  SIMT_SHARED(float, tile, kReversed);
  const int i = ThreadIdx().x;
  if (i < 32) CopyAsync<16>(tile, 4 * i, args.in, args.First() + 4 * i + (kBroken ? 4 : 0));
  CopyAsyncCommit();
  CopyAsyncWait<0>();
  SyncThreads();
  args.out.Store(args.First() + i, tile.Load(kReversed - 1 - i));
}

template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void CopyToOutOfBounds(ReverseArgs args) {
  SIMT_SHARED(float, tile, kReversed);
  const int i = ThreadIdx().x;
  if (i < 32) CopyAsync<16>(tile, 4 * i + (kBroken ? 4 : 0), args.in, args.First() + 4 * i);
  CopyAsyncCommit();
  CopyAsyncWait<0>();
  SyncThreads();
  args.out.Store(args.First() + i, tile.Load(kReversed - 1 - i));
}

// One element of the tile that nobody writes.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void Uninitialised(ReverseArgs args) {
  SIMT_SHARED(float, tile, kReversed);
  const int i = ThreadIdx().x;
  if (!kBroken || i != 77) tile.Store(i, args.in.Load(args.First() + i));
  SyncThreads();
  args.out.Store(args.First() + i, tile.Load(kReversed - 1 - i));
}

// Half of the lanes shuffle, the others do not come.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void DivergentShuffle(ReverseArgs args) {
  const int i = ThreadIdx().x;
  float value = args.in.Load(args.First() + kReversed - 32 - i / 32 * 32 + i % 32);
  if (!kBroken || i % 32 < 16) value = ShuffleXor(value, 31);
  args.out.Store(args.First() + i, value);
}

// Each half of a warp has a collective of its own.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void DifferentCollectives(ReverseArgs args) {
  const int i = ThreadIdx().x;
  float value = args.in.Load(args.First() + kReversed - 32 - i / 32 * 32 + i % 32);
  if (kBroken && i % 32 < 16) {
    value = Shuffle(value, 31 - i % 32);
  } else {
    value = ShuffleXor(value, 31);
  }
  args.out.Store(args.First() + i, value);
}

template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void LaneOutsideItsMask(ReverseArgs args) {
  const int i = ThreadIdx().x;
  const float value = args.in.Load(args.First() + kReversed - 32 - i / 32 * 32 + i % 32);
  args.out.Store(args.First() + i, ShuffleXor(value, 31, kBroken ? 0x7fffffff : kFullMask));
}

// The first half of a warp asks the second half, which takes no part.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void ShuffleFromAbsentLane(ReverseArgs args) {
  const int i = ThreadIdx().x;
  const uint32_t mask = !kBroken ? kFullMask : i % 32 < 16 ? 0xffff : 0xffff0000;
  const float value = args.in.Load(args.First() + kReversed - 32 - i / 32 * 32 + i % 32);
  args.out.Store(args.First() + i, Shuffle(value, 31 - i % 32, mask));
}

// Threads that return before the barrier.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void EarlyReturn(ReverseArgs args) {
  SIMT_SHARED(float, tile, kReversed);
  const int i = ThreadIdx().x;
  tile.Store(i, args.in.Load(args.First() + i));
  if (kBroken && i >= 100) return;
  SyncThreads();
  args.out.Store(args.First() + i, tile.Load(kReversed - 1 - i));
}

template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void BarrierInBranch(ReverseArgs args) {
  SIMT_SHARED(float, tile, kReversed);
  const int i = ThreadIdx().x;
  tile.Store(i, args.in.Load(args.First() + i));
  if (kBroken && i < 64) {
    SyncThreads();
  } else {
    SyncThreads();
  }
  args.out.Store(args.First() + i, tile.Load(kReversed - 1 - i));
}

// Two warps give what the other two take: 128 threads meet, half of which do not wait.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void NamedBarrierTooSmall(ReverseArgs args) {
  SIMT_SHARED(float, tile, kReversed);
  const int i = ThreadIdx().x;
  if (i < 64) {
    tile.Store(i, args.in.Load(args.First() + i));
    tile.Store(i + 64, args.in.Load(args.First() + i + 64));
    ArriveNamed(1, kReversed);
  } else {
    SyncNamed(1, kBroken ? 64 : kReversed);
    args.out.Store(args.First() + i, tile.Load(kReversed - 1 - i));
    args.out.Store(args.First() + i - 64, tile.Load(kReversed - 1 - i + 64));
  }
}

// What the giver stores after it has arrived is not covered by the barrier.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void StoreAfterArrival(ReverseArgs args) {
  SIMT_SHARED(float, tile, kReversed);
  const int i = ThreadIdx().x;
  if (i < 64) {
    tile.Store(i, args.in.Load(args.First() + i));
    if (kBroken) ArriveNamed(1, kReversed);
    tile.Store(i + 64, args.in.Load(args.First() + i + 64));
    if (!kBroken) ArriveNamed(1, kReversed);
  } else {
    SyncNamed(1, kReversed);
    args.out.Store(args.First() + i, tile.Load(kReversed - 1 - i));
    args.out.Store(args.First() + i - 64, tile.Load(kReversed - 1 - i + 64));
  }
}

// A loop that waits for a flag which nobody sets.
template <bool kBroken>
SIMT_KERNEL(kReversed, 1)
void EndlessLoop(ReverseArgs args) {
  const int i = ThreadIdx().x;
  if (kBroken && i == 0) {
    while (args.in.Load(args.First()) == args.in.Load(args.First())) {
    }
  }
  args.out.Store(args.First() + i, args.in.Load(args.First() + kReversed - 1 - i));
}

}  // namespace contextpool::kernels::SIMT_BACKEND
