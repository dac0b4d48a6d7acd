#include "kernels/simt/matrix_ops.h"

#include <bit>
#include <cstring>

#include "kernels/float16.h"
#include "kernels/simt/block.h"
#include "kernels/simt/warp.h"

namespace contextpool::kernels::simt {
namespace {

constexpr uint32_t kRows = 8;

struct MatrixArgs {
  ElementRange row;
  uint32_t* fragments;
  Site site;
};

MatrixArgs& At(const LaneArgs& args, uint32_t lane) {
  return *static_cast<MatrixArgs*>(args[lane]);
}

// Which element a lane's half `k` of a fragment is.
struct Element {
  uint32_t row;
  uint32_t column;
};

Element ElementOf(uint32_t lane, uint32_t k, bool transposed) {
  const Element element = {lane / 4, lane % 4 * 2 + k};
  return transposed ? Element{element.column, element.row} : element;
}

template <uint32_t kMatrices, bool kTransposed>
void RunLoadMatrix(Warp& warp, uint32_t /*mask*/, const LaneArgs& args) {
  for (uint32_t lane = 0; lane < kRows * kMatrices; ++lane) {
    CheckLoad(warp.thread(lane), By::kWarp, At(args, lane).row, At(args, lane).site);
  }
  for (uint32_t lane = 0; lane < kWarpSize; ++lane) {
    for (uint32_t m = 0; m < kMatrices; ++m) {
      uint16_t halves[2];
      for (uint32_t k = 0; k < 2; ++k) {
        const Element element = ElementOf(lane, k, kTransposed);
        const std::byte* row = At(args, m * kRows + element.row).row.begin();
        std::memcpy(&halves[k], row + element.column * sizeof(uint16_t), sizeof(uint16_t));
      }
      At(args, lane).fragments[m] = halves[0] | static_cast<uint32_t>(halves[1]) << 16;
    }
  }
}

template <uint32_t kMatrices, bool kTransposed>
void RunStoreMatrix(Warp& warp, uint32_t /*mask*/, const LaneArgs& args) {
  for (uint32_t lane = 0; lane < kWarpSize; ++lane) {
    for (uint32_t m = 0; m < kMatrices; ++m) {
      for (uint32_t k = 0; k < 2; ++k) {
        const Element element = ElementOf(lane, k, kTransposed);
        std::byte* row = At(args, m * kRows + element.row).row.begin();
        const auto half = static_cast<uint16_t>(At(args, lane).fragments[m] >> 16 * k);
        std::memcpy(row + element.column * sizeof(uint16_t), &half, sizeof(uint16_t));
      }
    }
  }
  for (uint32_t lane = 0; lane < kRows * kMatrices; ++lane) {
    CheckStore(warp.thread(lane), By::kWarp, At(args, lane).row, At(args, lane).site);
  }
}

// By log2(matrices) and transposed.
constexpr Collective kLoadMatrix[3][2] = {
    {{"LoadMatrix<1>", RunLoadMatrix<1, false>, true},
     {"LoadMatrixTransposed<1>", RunLoadMatrix<1, true>, true}},
    {{"LoadMatrix<2>", RunLoadMatrix<2, false>, true},
     {"LoadMatrixTransposed<2>", RunLoadMatrix<2, true>, true}},
    {{"LoadMatrix<4>", RunLoadMatrix<4, false>, true},
     {"LoadMatrixTransposed<4>", RunLoadMatrix<4, true>, true}}};
constexpr Collective kStoreMatrix[3][2] = {
    {{"StoreMatrix<1>", RunStoreMatrix<1, false>, true},
     {"StoreMatrixTransposed<1>", RunStoreMatrix<1, true>, true}},
    {{"StoreMatrix<2>", RunStoreMatrix<2, false>, true},
     {"StoreMatrixTransposed<2>", RunStoreMatrix<2, true>, true}},
    {{"StoreMatrix<4>", RunStoreMatrix<4, false>, true},
     {"StoreMatrixTransposed<4>", RunStoreMatrix<4, true>, true}}};

void MeetForMatrix(const Collective (&collectives)[3][2], int matrices, bool transposed,
                   MatrixArgs args) {
  if (Self().lane < kRows * static_cast<uint32_t>(matrices)) CheckRow(args.row, args.site);
  const int index = std::countr_zero(static_cast<uint32_t>(matrices));
  Self().warp->Meet(collectives[index][transposed ? 1 : 0], kFullMask, args.site, &args);
}

float Float(MmaKind kind, uint16_t bits) {
  return kind == MmaKind::kBF16 ? FloatFromBF16(bits) : FloatFromF16(bits);
}

// The `index`-th value of a 32-bit register.
template <MmaKind kKind>
auto Value(uint32_t bits, int index) {
  if constexpr (kKind == MmaKind::kS8) {
    return static_cast<int32_t>(static_cast<int8_t>(bits >> 8 * index));
  } else {
    return Float(kKind, static_cast<uint16_t>(bits >> 16 * index));
  }
}

template <MmaKind kKind>
void RunMma(Warp& /*warp*/, uint32_t /*mask*/, const LaneArgs& args) {
  using Accumulator = decltype(Value<kKind>(0, 0));
  constexpr int kPerRegister = kKind == MmaKind::kS8 ? 4 : 2;
  constexpr int kDepth = 8 * kPerRegister;
  Accumulator a[16][kDepth];
  Accumulator b[kDepth][8];
  Accumulator d[16][8];
  for (int lane = 0; lane < 32; ++lane) {
    const auto& own = *static_cast<const MmaArgs*>(args[lane]);
    const int g = lane / 4;
    const int t = lane % 4;
    for (int i = 0; i < 4; ++i) {
      d[g + i / 2 * 8][t * 2 + i % 2] = std::bit_cast<Accumulator>(own.d[i]);
      for (int k = 0; k < kPerRegister; ++k) {
        a[g + i % 2 * 8][i / 2 * kDepth / 2 + t * kPerRegister + k] = Value<kKind>(own.a[i], k);
      }
    }
    for (int i = 0; i < 2; ++i) {
      for (int k = 0; k < kPerRegister; ++k) {
        b[i * kDepth / 2 + t * kPerRegister + k][g] = Value<kKind>(own.b[i], k);
      }
    }
  }
  for (int row = 0; row < 16; ++row) {
    for (int k = 0; k < kDepth; ++k) {
      for (int column = 0; column < 8; ++column) d[row][column] += a[row][k] * b[k][column];
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    auto& own = *static_cast<MmaArgs*>(args[lane]);
    for (int i = 0; i < 4; ++i) {
      own.d[i] = std::bit_cast<uint32_t>(d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2]);
    }
  }
}

constexpr Collective kMma[] = {{"Mma<BF16>", RunMma<MmaKind::kBF16>, true},
                               {"Mma<F16>", RunMma<MmaKind::kF16>, true},
                               {"MmaS8", RunMma<MmaKind::kS8>, true}};

}  // namespace

void LoadMatrix(int matrices, bool transposed, const ElementRange& row, uint32_t* fragments,
                Site site) {
  MeetForMatrix(kLoadMatrix, matrices, transposed, {row, fragments, site});
}

void StoreMatrix(int matrices, bool transposed, const ElementRange& row, const uint32_t* fragments,
                 Site site) {
  uint32_t copy[4];
  std::memcpy(copy, fragments, matrices * sizeof(uint32_t));
  MeetForMatrix(kStoreMatrix, matrices, transposed, {row, copy, site});
}

void Mma(MmaKind kind, MmaArgs* args, Site site) {
  Self().warp->Meet(kMma[static_cast<int>(kind)], kFullMask, site, args);
}

}  // namespace contextpool::kernels::simt
