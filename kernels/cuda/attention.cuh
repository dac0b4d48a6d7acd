// Attention of packed sequences. Two kernels whose results agree bit for bit: one for any lengths,
// a block for each tile of queries, and one for batches of short sequences, a warp for each.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/primitives.cuh"
#include "kernels/cuda/sequence_tiles.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

template <typename T>
struct AttentionArgs {
  Global<const T> qkv;
  Global<const int32_t> cu_lengths;
  Global<T> out;
  int sequences;
  int heads;
  // Of scores, to exponents of 2.
  float exponent_scale;
};

// One head of one sequence.
template <typename T>
struct AttentionHead {
  HeadRows<const T> q;
  HeadRows<const T> k;
  HeadRows<const T> v;
  HeadRows<T> out;
};

// REQUIRES: length > 0.
template <int kHeadSize, typename T>
SIMT_DEVICE AttentionHead<T> HeadOf(const AttentionArgs<T>& args, int64_t begin, int length,
                                    int head) {
  const int width = args.heads * kHeadSize;
  const int stride = 3 * width;
  const int64_t first = begin * stride + head * kHeadSize;
  const int64_t size = int64_t{length - 1} * stride + kHeadSize;
  return {.q = {args.qkv.Slice(first, size), stride, length},
          .k = {args.qkv.Slice(first + width, size), stride, length},
          .v = {args.qkv.Slice(first + 2 * width, size), stride, length},
          .out = {args.out.Slice(begin * width + head * kHeadSize,
                                 int64_t{length - 1} * width + kHeadSize),
                  width, length}};
}

// The fragment of 16 queries from row 16 m and of dimensions from 16 k on.
template <int kHeadSize, typename T>
SIMT_DEVICE Vec<uint32_t, 4> LoadQuery(Shared<T> queries, int m, int k) {
  return LoadMatrix<4>(queries, RowsPlace<kHeadSize>()(m * 16, k * 2));
}

// A warp takes 16 kMTiles queries. More of them load less shared memory for each product, and in
// blocks twice as high less global memory, but leave more lanes idle where sequences end.
template <int kHeadSize, int kMTiles>
struct AttentionTraits {
  static constexpr int kThreads = 128;
  static constexpr int kWarpRows = 16 * kMTiles;
  static constexpr int kRows = kThreads / 32 * kWarpRows;
  // Keys and values at a time; the next ones are loaded meanwhile.
  static constexpr int kKeys = 64;
  static constexpr int kSharedBytes = (kRows + 4 * kKeys) * kHeadSize * 2;
  // Blocks that share a processor, by registers and shared memory.
  static constexpr int kBlocks = kHeadSize == 128 || kMTiles == 2 ? 2 : kHeadSize == 64 ? 3 : 4;
};

// The queries of a warp, as fragments.
template <typename T, int kHeadSize, int kMTiles>
class Queries {
 public:
  SIMT_DEVICE explicit Queries(Shared<T> tile) : tile_(tile) {}

  // Before the first use.
  SIMT_DEVICE void Load() {
    SIMT_UNROLL
    for (int i = 0; i < kMTiles * kSteps; ++i) {
      fragments_[i] = LoadQuery<kHeadSize>(tile_, i / kSteps, i % kSteps);
    }
  }

  SIMT_DEVICE Vec<uint32_t, 4> operator()(int m, int k) const { return fragments_[m * kSteps + k]; }

 private:
  static constexpr int kSteps = kHeadSize / 16;

  Shared<T> tile_;
  Vec<uint32_t, 4> fragments_[kMTiles * kSteps];
};

// The two stages of keys and values: one is computed with while the other is filled.
template <typename T, int kHeadSize, int kMTiles>
class KeyStages {
 public:
  SIMT_DEVICE KeyStages(SharedPool& pool, const AttentionHead<T>& head)
      : keys_(pool.Take<T>(2 * kSize, 128)), values_(pool.Take<T>(2 * kSize, 128)), head_(head) {}

  // Starts to fill a stage with keys from number `first` on.
  SIMT_DEVICE void Copy(int first) const {
    const KeyTile<T> tile = At(first);
    const int thread = ThreadIdx().x;
    CopyRows<Traits::kThreads, Traits::kKeys, kHeadSize>(tile.keys, head_.k, first, thread);
    CopyRows<Traits::kThreads, Traits::kKeys, kHeadSize>(tile.values, head_.v, first, thread);
    CopyAsyncCommit();
  }

  SIMT_DEVICE KeyTile<T> At(int first) const {
    const int stage = first / Traits::kKeys % 2;
    return {.keys = keys_.Slice(stage * kSize, kSize),
            .values = values_.Slice(stage * kSize, kSize),
            .count = head_.k.count - first};
  }

 private:
  using Traits = AttentionTraits<kHeadSize, kMTiles>;
  static constexpr int kSize = Traits::kKeys * kHeadSize;

  Shared<T> keys_;
  Shared<T> values_;
  const AttentionHead<T>& head_;
};

// One block for each tile of queries (x, see sequence_tiles.cuh) and head (y).
template <typename T, int kHeadSize, int kMTiles>
SIMT_KERNEL((AttentionTraits<kHeadSize, kMTiles>::kThreads),
            (AttentionTraits<kHeadSize, kMTiles>::kBlocks))
void AttentionKernel(AttentionArgs<T> args) {
  using Traits = AttentionTraits<kHeadSize, kMTiles>;
  constexpr int kKeys = Traits::kKeys;
  constexpr int kWarpSize = Traits::kWarpRows * kHeadSize;
  const SequenceTile tile = FindTile(args.cu_lengths, args.sequences, Traits::kRows, BlockIdx().x);
  // The whole block.
  if (tile.first >= tile.length) return;
  const AttentionHead<T> head = HeadOf<kHeadSize>(args, tile.begin, tile.length, BlockIdx().y);

  SharedPool pool;
  const int warp = ThreadIdx().x / 32;
  const Shared<T> warp_tile =
      pool.Take<T>(Traits::kRows * kHeadSize, 128).Slice(warp * kWarpSize, kWarpSize);
  const KeyStages<T, kHeadSize, kMTiles> stages(pool, head);
  const int first_row = tile.first + warp * Traits::kWarpRows;
  CopyRows<32, Traits::kWarpRows, kHeadSize>(warp_tile, head.q, first_row, ThreadIdx().x % 32);
  CopyAsyncCommit();
  stages.Copy(0);
  // The queries are there; each warp has copied its own.
  CopyAsyncWait<1>();
  SyncWarp();
  // A warp that has none only copies.
  const bool has_queries = first_row < tile.length;
  Queries<T, kHeadSize, kMTiles> queries(warp_tile);
  if (has_queries) queries.Load();

  AttentionRows<kHeadSize, kMTiles> rows;
  Clear(rows);
  for (int first = 0; first < tile.length; first += kKeys) {
    CopyAsyncWait<0>();
    // Also: nobody computes with the other stage any more.
    SyncThreads();
    if (first + kKeys < tile.length) stages.Copy(first + kKeys);
    if (!has_queries) continue;
    const KeyTile<T> key_tile = stages.At(first);
    if (key_tile.count >= kKeys) {
      AddKeys<T, /*kPartial=*/false, /*kFirst=*/false, kKeys>(rows, queries, key_tile,
                                                              args.exponent_scale);
    } else {
      AddKeys<T, /*kPartial=*/true, /*kFirst=*/false, kKeys>(rows, queries, key_tile,
                                                             args.exponent_scale);
    }
  }
  if (has_queries) StoreRows(rows, warp_tile, head.out, first_row);
}

template <int kHeadSize>
struct ShortAttentionTraits {
  static constexpr int kThreads = 128;
  static constexpr int kWarps = kThreads / 32;
  // The longest sequence.
  static constexpr int kRows = 32;
  static constexpr int kMTiles = kRows / 16;
  static constexpr int kSharedBytes = kWarps * 3 * kRows * kHeadSize * 2;
  static constexpr int kBlocks = kHeadSize == 128 ? 2 : 4;
};

// One warp for each sequence and head, heads first: they lie side by side. The warps of a block
// never meet. REQUIRES: no sequence is longer than kRows.
template <typename T, int kHeadSize>
SIMT_KERNEL(ShortAttentionTraits<kHeadSize>::kThreads, ShortAttentionTraits<kHeadSize>::kBlocks)
void ShortAttentionKernel(AttentionArgs<T> args) {
  using Traits = ShortAttentionTraits<kHeadSize>;
  constexpr int kTile = Traits::kRows * kHeadSize;
  const int warp = ThreadIdx().x / 32;
  const int lane = ThreadIdx().x % 32;
  const int64_t item = int64_t{BlockIdx().x} * Traits::kWarps + warp;
  const int64_t sequence = item / args.heads;
  if (sequence >= args.sequences) return;
  const int begin = args.cu_lengths.Load(sequence);
  const int length = args.cu_lengths.Load(sequence + 1) - begin;
  if (length == 0) return;
  const AttentionHead<T> head =
      HeadOf<kHeadSize>(args, begin, length, static_cast<int>(item % args.heads));

  SharedPool pool;
  const Shared<T> tiles =
      pool.Take<T>(Traits::kWarps * 3 * kTile, 128).Slice(warp * 3 * kTile, 3 * kTile);
  const Shared<T> queries = tiles.Slice(0, kTile);
  const KeyTile<T> key_tile = {
      .keys = tiles.Slice(kTile, kTile), .values = tiles.Slice(2 * kTile, kTile), .count = length};
  CopyRows<32, Traits::kRows, kHeadSize>(queries, head.q, 0, lane);
  CopyRows<32, Traits::kRows, kHeadSize>(key_tile.keys, head.k, 0, lane);
  CopyRows<32, Traits::kRows, kHeadSize>(key_tile.values, head.v, 0, lane);
  CopyAsyncCommit();
  CopyAsyncWait<0>();
  SyncWarp();

  AttentionRows<kHeadSize, Traits::kMTiles> rows;
  Clear(rows);
  const auto query = [&](int m, int k) { return LoadQuery<kHeadSize>(queries, m, k); };
  AddKeys<T, /*kPartial=*/true, /*kFirst=*/true, Traits::kRows>(rows, query, key_tile,
                                                                args.exponent_scale);
  StoreRows(rows, queries, head.out, 0);
}

}  // namespace contextpool::kernels::SIMT_BACKEND
