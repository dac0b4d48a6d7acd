// Places, collectives and barriers of emulated kernels. See kernels/cuda/primitives.cuh.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/cuda/launch_config.h"
#include "kernels/cuda/vec.cuh"
#include "kernels/simt/barrier_ops.h"
#include "kernels/simt/device_memory.h"
#include "kernels/simt/device_types.h"
#include "kernels/simt/matrix_ops.h"
#include "kernels/simt/place.h"
#include "kernels/simt/site.h"
#include "kernels/simt/warp_ops.h"

namespace contextpool::kernels::emulated {

constexpr uint32_t kFullMask = 0xffffffff;

inline Dim3 ThreadIdx() { return simt::ThreadIndex(); }
inline Dim3 BlockIdx() { return simt::BlockIndex(); }
inline Dim3 BlockDim() { return simt::Config().block; }
inline Dim3 GridDim() { return simt::Config().grid; }

inline void SyncThreads(Site site = Site::Here()) { simt::MeetBlock(site); }
inline void SyncNamed(uint32_t barrier, uint32_t threads, Site site = Site::Here()) {
  simt::MeetNamed(barrier, threads, /*waits=*/true, site);
}
inline void ArriveNamed(uint32_t barrier, uint32_t threads, Site site = Site::Here()) {
  simt::MeetNamed(barrier, threads, /*waits=*/false, site);
}
inline void SyncWarp(uint32_t mask = kFullMask, Site site = Site::Here()) {
  simt::MeetWarp(mask, site);
}

template <typename T>
T ShuffleAs(simt::ShuffleKind kind, T value, uint32_t operand, uint32_t mask, Site site) {
  static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = simt::Shuffle(kind, bits, operand, mask, site);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

template <typename T>
T Shuffle(T value, uint32_t lane, uint32_t mask = kFullMask, Site site = Site::Here()) {
  return ShuffleAs(simt::ShuffleKind::kIndex, value, lane, mask, site);
}
template <typename T>
T ShuffleUp(T value, uint32_t delta, uint32_t mask = kFullMask, Site site = Site::Here()) {
  return ShuffleAs(simt::ShuffleKind::kUp, value, delta, mask, site);
}
template <typename T>
T ShuffleDown(T value, uint32_t delta, uint32_t mask = kFullMask, Site site = Site::Here()) {
  return ShuffleAs(simt::ShuffleKind::kDown, value, delta, mask, site);
}
template <typename T>
T ShuffleXor(T value, uint32_t lanes, uint32_t mask = kFullMask, Site site = Site::Here()) {
  return ShuffleAs(simt::ShuffleKind::kXor, value, lanes, mask, site);
}

inline uint32_t Ballot(bool predicate, uint32_t mask = kFullMask, Site site = Site::Here()) {
  return simt::Vote(simt::VoteKind::kBallot, predicate, mask, site);
}
inline bool Any(bool predicate, uint32_t mask = kFullMask, Site site = Site::Here()) {
  return simt::Vote(simt::VoteKind::kAny, predicate, mask, site) != 0;
}
inline bool All(bool predicate, uint32_t mask = kFullMask, Site site = Site::Here()) {
  return simt::Vote(simt::VoteKind::kAll, !predicate, mask, site) == 0;
}

// A row of 16 bytes for ldmatrix and stmatrix.
template <typename T>
simt::ElementRange MatrixRow(Shared<T> from, int index) {
  return from.template Range<16 / static_cast<int>(sizeof(T))>(index);
}

template <int N, typename T>
Vec<uint32_t, N> LoadMatrix(Shared<T> from, int row, Site site = Site::Here()) {
  Vec<uint32_t, N> fragments;
  simt::LoadMatrix(N, /*transposed=*/false, MatrixRow(from, row), fragments.v, site);
  return fragments;
}
template <int N, typename T>
Vec<uint32_t, N> LoadMatrixTransposed(Shared<T> from, int row, Site site = Site::Here()) {
  Vec<uint32_t, N> fragments;
  simt::LoadMatrix(N, /*transposed=*/true, MatrixRow(from, row), fragments.v, site);
  return fragments;
}
template <int N, typename T>
void StoreMatrix(Shared<T> to, int row, const Vec<uint32_t, N>& fragments,
                 Site site = Site::Here()) {
  static_assert(!std::is_const_v<T>);
  simt::StoreMatrix(N, /*transposed=*/false, MatrixRow(to, row), fragments.v, site);
}
template <int N, typename T>
void StoreMatrixTransposed(Shared<T> to, int row, const Vec<uint32_t, N>& fragments,
                           Site site = Site::Here()) {
  static_assert(!std::is_const_v<T>);
  simt::StoreMatrix(N, /*transposed=*/true, MatrixRow(to, row), fragments.v, site);
}

template <typename D>
void MmaAs(simt::MmaKind kind, Vec<D, 4>& d, const Vec<uint32_t, 4>& a, const Vec<uint32_t, 2>& b,
           Site site) {
  simt::MmaArgs args;
  std::memcpy(args.d, d.v, sizeof(args.d));
  std::memcpy(args.a, a.v, sizeof(args.a));
  std::memcpy(args.b, b.v, sizeof(args.b));
  simt::Mma(kind, &args, site);
  std::memcpy(d.v, args.d, sizeof(args.d));
}

template <typename T>
void Mma(Vec<float, 4>& d, const Vec<uint32_t, 4>& a, const Vec<uint32_t, 2>& b,
         Site site = Site::Here()) {
  static_assert(std::is_same_v<T, BF16> || std::is_same_v<T, F16>);
  constexpr auto kKind = std::is_same_v<T, BF16> ? simt::MmaKind::kBF16 : simt::MmaKind::kF16;
  MmaAs(kKind, d, a, b, site);
}
inline void MmaS8(Vec<int32_t, 4>& d, const Vec<uint32_t, 4>& a, const Vec<uint32_t, 2>& b,
                  Site site = Site::Here()) {
  MmaAs(simt::MmaKind::kS8, d, a, b, site);
}

}  // namespace contextpool::kernels::emulated
