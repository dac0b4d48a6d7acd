// The matrix primitives against plain loops over whole matrices: on the emulator their definition,
// on a GPU the proof that the emulator defines them as the GPU does.

#include <gtest/gtest.h>

#include <bit>
#include <cstdint>
#include <cstring>
#include <random>
#include <type_traits>
#include <vector>

#include "kernels/cuda/primitives.cuh"
#include "kernels/float16.h"
#include "tests/unit/kernels/cuda/one_warp.cuh"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

struct Place {
  int row;
  int column;
};

// Row and column of a fragment's i-th element, as PTX ISA 9.7.14.5.8 and 9.7.14.5.10 write them;
// `width` elements share a register: 2 or 4.
Place PlaceInA(int lane, int i, int width) {
  const int group = lane >> 2;
  const bool is_upper = i < width || (2 * width <= i && i < 3 * width);
  return {is_upper ? group : group + 8,
          lane % 4 * width + (i & (width - 1)) + (i < 2 * width ? 0 : 4 * width)};
}

Place PlaceInB(int lane, int i, int width) {
  return {lane % 4 * width + (i & (width - 1)) + (i < width ? 0 : 4 * width), lane >> 2};
}

Place PlaceInD(int lane, int i) { return {(lane >> 2) + (i < 2 ? 0 : 8), lane % 4 * 2 + (i & 1)}; }

// Small whole numbers, so that every sum is exact.
std::vector<int> RandomMatrix(int size, int limit, int seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<int> uniform(-limit, limit);
  std::vector<int> values(size);
  for (int& value : values) value = uniform(random);
  return values;
}

// c [16, 8] + a [16, depth] b [depth, 8]
std::vector<int> Product(const std::vector<int>& a, const std::vector<int>& b,
                         const std::vector<int>& c, int depth) {
  std::vector<int> d = c;
  for (int row = 0; row < 16; ++row) {
    for (int column = 0; column < 8; ++column) {
      for (int k = 0; k < depth; ++k) d[row * 8 + column] += a[row * depth + k] * b[k * 8 + column];
    }
  }
  return d;
}

// The fragments of lane l start at number 4 l, 2 l and 4 l.
struct MmaArgs {
  Global<const uint32_t> a;
  Global<const uint32_t> b;
  Global<const uint32_t> c;
  Global<uint32_t> d;
};

template <typename T>
SIMT_KERNEL(32, 1)
void MmaKernel(MmaArgs args) {
  const int lane = ThreadIdx().x;
  const Vec<uint32_t, 4> a = args.a.template LoadVec<4>(4 * lane);
  const Vec<uint32_t, 2> b = args.b.template LoadVec<2>(2 * lane);
  const Vec<uint32_t, 4> c = args.c.template LoadVec<4>(4 * lane);
  using Sum = std::conditional_t<std::is_same_v<T, int8_t>, int32_t, float>;
  Vec<Sum, 4> d;
  memcpy(&d, &c, sizeof(d));
  if constexpr (std::is_same_v<T, int8_t>) {
    MmaS8(d, a, b);
  } else {
    Mma<T>(d, a, b);
  }
  Vec<uint32_t, 4> result;
  memcpy(&result, &d, sizeof(d));
  args.d.StoreVec(4 * lane, result);
}

template <typename T>
class MmaTest : public testing::Test {
 protected:
  static constexpr int kWidth = 4 / sizeof(T);
  static constexpr int kDepth = 8 * kWidth;
  using Sum = std::conditional_t<sizeof(T) == 1, int32_t, float>;

  static uint32_t Bits(int value) {
    if constexpr (std::is_same_v<T, int8_t>) return static_cast<uint8_t>(value);
    if constexpr (std::is_same_v<T, BF16>) return BF16FromFloat(static_cast<float>(value));
    return F16FromFloat(static_cast<float>(value));
  }

  static std::vector<uint32_t> Fragments(const std::vector<int>& matrix, int columns, int registers,
                                         Place (*place_of)(int, int, int)) {
    std::vector<uint32_t> fragments(32 * registers);
    for (int lane = 0; lane < 32; ++lane) {
      for (int i = 0; i < registers * kWidth; ++i) {
        const Place place = place_of(lane, i, kWidth);
        fragments[lane * registers + i / kWidth] |= Bits(matrix[place.row * columns + place.column])
                                                    << i % kWidth * (32 / kWidth);
      }
    }
    return fragments;
  }

  // The instruction's result, put together from what the lanes hold.
  static void ExpectProduct(const std::vector<int>& a, const std::vector<int>& b,
                            const std::vector<int>& c) {
    TestBuffer<uint32_t> device_a(Fragments(a, kDepth, 4, PlaceInA));
    TestBuffer<uint32_t> device_b(Fragments(b, 8, 2, PlaceInB));
    std::vector<uint32_t> sums(32 * 4);
    for (int i = 0; i < 32 * 4; ++i) {
      const Place place = PlaceInD(i / 4, i % 4);
      sums[i] = std::bit_cast<uint32_t>(static_cast<Sum>(c[place.row * 8 + place.column]));
    }
    TestBuffer<uint32_t> device_c(sums), device_d(32 * 4);
    const MmaArgs args = {
        Whole<const uint32_t>(device_a, 32 * 4), Whole<const uint32_t>(device_b, 64),
        Whole<const uint32_t>(device_c, 32 * 4), Whole<uint32_t>(device_d, 32 * 4)};
    InOneWarp(MmaKernel<T>, args, [&] {
      const std::vector<uint32_t> found = device_d.ToHost();
      std::vector<int> d(16 * 8);
      for (int i = 0; i < 32 * 4; ++i) {
        const Place place = PlaceInD(i / 4, i % 4);
        d[place.row * 8 + place.column] = static_cast<int>(std::bit_cast<Sum>(found[i]));
      }
      EXPECT_EQ(d, Product(a, b, c, kDepth));
    });
  }
};

using MmaTypes = testing::Types<BF16, F16, int8_t>;
TYPED_TEST_SUITE(MmaTest, MmaTypes);

TYPED_TEST(MmaTest, IsAMatrixProduct) {
  constexpr int kDepth = TestFixture::kDepth;
  // As large as every type holds exactly.
  constexpr int kLimit = 127;
  this->ExpectProduct(RandomMatrix(16 * kDepth, kLimit, 1), RandomMatrix(kDepth * 8, kLimit, 2),
                      RandomMatrix(16 * 8, 1000, 3));
}

TYPED_TEST(MmaTest, EachElementOfAMeetsItsRowOfB) {
  constexpr int kDepth = TestFixture::kDepth;
  const std::vector<int> b = RandomMatrix(kDepth * 8, 100, 4);
  for (int i = 0; i < 16 * kDepth; i += 7) {
    SCOPED_TRACE(i);
    std::vector<int> a(16 * kDepth);
    a[i] = 1;
    this->ExpectProduct(a, b, std::vector<int>(16 * 8));
  }
}

// A tile whose element is 100 row + column; matrix m of an instruction starts at Corner(m).
constexpr int kTileRows = 16;
constexpr int kTileColumns = 32;

SIMT_HOST_DEVICE int ElementAt(int row, int column) { return 100 * row + column; }
SIMT_HOST_DEVICE int CornerRow(int m) { return m % 2 * 8; }
SIMT_HOST_DEVICE int CornerColumn(int m) { return m / 2 * 16 + 8; }

// What each lane loads, 32 N registers, and then what is stored of it, N matrices of 64 elements.
struct MatrixArgs {
  Global<uint32_t> loaded;
  Global<uint16_t> stored;
};

template <int N, bool kTransposed>
SIMT_KERNEL(32, 1)
void MatrixKernel(MatrixArgs args) {
  SIMT_SHARED(uint16_t, tile, kTileRows * kTileColumns);
  SIMT_SHARED(uint16_t, copy, N * 64);
  const int lane = ThreadIdx().x;
  for (int i = lane; i < kTileRows * kTileColumns; i += 32) {
    tile.Store(i, static_cast<uint16_t>(ElementAt(i / kTileColumns, i % kTileColumns)));
  }
  SyncWarp();
  const int m = lane / 8 % N;
  const int row = (CornerRow(m) + lane % 8) * kTileColumns + CornerColumn(m);
  const Vec<uint32_t, N> plain = LoadMatrix<N>(tile, row);
  const Vec<uint32_t, N> transposed = LoadMatrixTransposed<N>(tile, row);
  args.loaded.StoreVec(N * lane, kTransposed ? transposed : plain);
  if (kTransposed) {
    StoreMatrixTransposed(copy, (m * 8 + lane % 8) * 8, plain);
  } else {
    StoreMatrix(copy, (m * 8 + lane % 8) * 8, plain);
  }
  SyncWarp();
  for (int i = lane; i < N * 64; i += 32) args.stored.Store(i, copy.Load(i));
}

template <int N, bool kTransposed>
void ExpectMatricesAsPtxSays() {
  SCOPED_TRACE(testing::Message() << "x" << N << (kTransposed ? " transposed" : ""));
  TestBuffer<uint32_t> loaded(32 * N);
  TestBuffer<uint16_t> stored(64 * N);
  const MatrixArgs args = {Whole<uint32_t>(loaded, 32 * N), Whole<uint16_t>(stored, 64 * N)};
  InOneWarp(MatrixKernel<N, kTransposed>, args, [&] {
    const std::vector<uint32_t> fragments = loaded.ToHost();
    const std::vector<uint16_t> elements = stored.ToHost();
    for (int i = 0; i < 64 * N; ++i) {
      // PTX ISA 9.7.14.5.15: four lanes hold a row, two elements each.
      const int lane = i / 2 % 32, m = i / 64;
      const int row = kTransposed ? lane % 4 * 2 + i % 2 : lane / 4;
      const int column = kTransposed ? lane / 4 : lane % 4 * 2 + i % 2;
      EXPECT_EQ(fragments[lane * N + m] >> i % 2 * 16 & 0xffff,
                static_cast<uint32_t>(ElementAt(CornerRow(m) + row, CornerColumn(m) + column)))
          << "lane " << lane << ", matrix " << m;
      const int from_row = kTransposed ? i % 8 : i / 8 % 8;
      const int from_column = kTransposed ? i / 8 % 8 : i % 8;
      EXPECT_EQ(elements[i], ElementAt(CornerRow(m) + from_row, CornerColumn(m) + from_column))
          << "stored " << i;
    }
  });
}

TEST(MatrixTest, LanesLoadAndStoreTheElementsThatPtxSays) {
  ExpectMatricesAsPtxSays<1, false>();
  ExpectMatricesAsPtxSays<2, false>();
  ExpectMatricesAsPtxSays<4, false>();
  ExpectMatricesAsPtxSays<1, true>();
  ExpectMatricesAsPtxSays<2, true>();
  ExpectMatricesAsPtxSays<4, true>();
}

}  // namespace
}  // namespace contextpool::kernels::SIMT_BACKEND
