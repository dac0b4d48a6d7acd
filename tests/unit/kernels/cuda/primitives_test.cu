// Each primitive by itself, against plain loops: on the emulator its definition, on a GPU the proof
// that the emulator defines it as the GPU does.

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <type_traits>
#include <vector>

#include "kernels/cuda/primitives.cuh"
#include "kernels/float16.h"
#include "tests/unit/kernels/cuda/test_device.cuh"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

template <typename T>
Global<T> Whole(TestBuffer<std::remove_const_t<T>>& buffer, int64_t count) {
  return {buffer.data(), count};
}

// Runs `kernel` in one warp on every schedule; `check` then looks at what it left.
template <typename Args, typename Check>
void InOneWarp(void (*kernel)(Args), const Args& args, const Check& check) {
  const LaunchConfig config = {.kernel = "primitive", .block = {32}, .shared_bytes = 8192};
  for (TestStream& stream : EveryTestStream()) {
    SCOPED_TRACE(testing::Message() << stream);
    ASSERT_EQ(Launch(config, stream.handle(), kernel, args), Status::kOk) << stream.Finish();
    ASSERT_EQ(stream.Finish(), "");
    check();
  }
}

// ---- Matrices ----------------------------------------------------------------------------------

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

// ---- Lanes -------------------------------------------------------------------------------------

constexpr int kLaneResults = 12;

// kLaneResults numbers of lane l, from 16 l.
SIMT_KERNEL(32, 1) void LaneKernel(Global<uint32_t> out) {
  const uint32_t lane = ThreadIdx().x;
  const uint32_t value = 100 + lane;
  const uint32_t half = lane < 16 ? 0x0000ffffu : 0xffff0000u;
  const double wide = ShuffleXor(1.0 / (lane + 1.0), 1);
  const uint32_t results[kLaneResults] = {
      Shuffle(value, lane * 5 % 32), ShuffleUp(value, 3),
      ShuffleDown(value, 3),         ShuffleXor(value, 5),
      Ballot(lane % 3 == 0),         Any(lane == 31) ? 1u : 0u,
      Any(lane == 32) ? 1u : 0u,     All(lane < 32) ? 1u : 0u,
      All(lane != 7) ? 1u : 0u,      ShuffleXor(value, 1, half),
      Ballot(lane % 2 == 0, half),   wide == 1.0 / ((lane ^ 1) + 1.0) ? 1u : 0u};
  for (int i = 0; i < kLaneResults; ++i) out.Store(lane * 16 + i, results[i]);
}

TEST(WarpTest, ShufflesAndVotesDoWhatTheirNamesSay) {
  TestBuffer<uint32_t> out(32 * 16);
  InOneWarp(LaneKernel, Whole<uint32_t>(out, 32 * 16), [&] {
    const std::vector<uint32_t> found = out.ToHost();
    for (uint32_t lane = 0; lane < 32; ++lane) {
      const std::vector<uint32_t> expected = {
          100 + lane * 5 % 32,
          // Beyond the warp: the own value.
          100 + (lane < 3 ? lane : lane - 3), 100 + (lane > 28 ? lane : lane + 3), 100 + (lane ^ 5),
          0x49249249u, 1, 0, 1, 0, 100 + (lane ^ 1), lane < 16 ? 0x00005555u : 0x55550000u, 1};
      const auto first = found.begin() + lane * 16;
      EXPECT_EQ(std::vector<uint32_t>(first, first + kLaneResults), expected) << "lane " << lane;
    }
  });
}

// ---- Copies ------------------------------------------------------------------------------------

struct CopyArgs {
  Global<const uint16_t> in;
  Global<uint16_t> out;
};

// 16 elements a lane: kBytes at a time, the last copy of each lane one element short, and what odd
// lanes copy first not there at all.
template <int kBytes>
SIMT_KERNEL(32, 1)
void CopyKernel(CopyArgs args) {
  constexpr int kElements = kBytes / 2;
  SharedPool pool;
  pool.Take<uint16_t>(3);
  const Shared<uint16_t> tile = pool.Take<uint16_t>(32 * 16, 128);
  const int lane = ThreadIdx().x;
  for (int i = 0; i < 16; i += kElements) {
    const bool is_last = i + kElements == 16;
    const bool is_absent = i == 0 && lane % 2 == 1;
    CopyAsync<kBytes>(tile, lane * 16 + i, args.in, lane * 16 + i,
                      is_absent ? 0
                      : is_last ? kBytes - 2
                                : kBytes);
    CopyAsyncCommit();
  }
  CopyAsyncWait<1>();
  const uint16_t early = tile.Load(lane * 16);
  CopyAsyncWait<0>();
  SyncWarp();
  args.out.Store(32 * 16 + lane, early);
  for (int i = 0; i < 16; ++i) {
    args.out.Store(i * 32 + lane, tile.Load((i * 32 + lane) ^ 16));
  }
}

template <int kBytes>
void ExpectCopiesAndZeros() {
  std::vector<uint16_t> values(32 * 16);
  for (int i = 0; i < 32 * 16; ++i) values[i] = static_cast<uint16_t>(i + 1);
  TestBuffer<uint16_t> in(values), out(33 * 16 + 16);
  const CopyArgs args = {Whole<const uint16_t>(in, 32 * 16), Whole<uint16_t>(out, 33 * 16 + 16)};
  const auto expected = [](int i) {
    const bool is_absent = i % 16 < kBytes / 2 && i / 16 % 2 == 1;
    return is_absent || i % 16 == 15 ? 0 : i + 1;
  };
  InOneWarp(CopyKernel<kBytes>, args, [&] {
    const std::vector<uint16_t> found = out.ToHost();
    for (int i = 0; i < 32 * 16; ++i) EXPECT_EQ(found[i], expected(i ^ 16)) << i;
    for (int lane = 0; lane < 32; ++lane) EXPECT_EQ(found[32 * 16 + lane], expected(lane * 16));
  });
}

TEST(CopyAsyncTest, CopiesEachSizeAndFillsWithZeros) {
  ExpectCopiesAndZeros<4>();
  ExpectCopiesAndZeros<8>();
  ExpectCopiesAndZeros<16>();
}

// ---- Values ------------------------------------------------------------------------------------

struct ConversionArgs {
  Global<const float> in;
  Global<uint32_t> out;
};

// Two floats a lane: packed, each alone, and back again.
template <typename T>
SIMT_KERNEL(32, 1)
void ConversionKernel(ConversionArgs args) {
  const int lane = ThreadIdx().x;
  const Vec<float, 2> in = args.in.template LoadVec<2>(2 * lane);
  const uint32_t packed = Pack<T>(in[0], in[1]);
  const Vec<float, 2> back = Unpack<T>(packed);
  uint32_t bits[2];
  const float alone[2] = {ToFloat(FromFloat<T>(in[0])), ToFloat(FromFloat<T>(in[1]))};
  memcpy(bits, alone, sizeof(bits));
  args.out.Store(5 * lane, packed);
  args.out.Store(5 * lane + 1, bits[0]);
  args.out.Store(5 * lane + 2, bits[1]);
  memcpy(bits, &back, sizeof(bits));
  args.out.Store(5 * lane + 3, bits[0]);
  args.out.Store(5 * lane + 4, bits[1]);
}

// Rounding itself is tested with kernels/float16.h; here that the primitives are the same.
template <typename T>
void ExpectConversionsOf(uint16_t (*narrow)(float), float (*widen)(uint16_t)) {
  std::vector<float> values = {0.0f,        -0.0f,       1.0f,     -1.5f,     3.14159f, 65504.0f,
                               65520.0f,    1e-8f,       6.1e-5f,  -5.96e-8f, 3e38f,    1e-40f,
                               1.00390625f, 1.01171875f, INFINITY, -INFINITY};
  std::mt19937 random(5);
  std::normal_distribution<float> normal(0, 100);
  while (values.size() < 64) values.push_back(normal(random));
  TestBuffer<float> in(values);
  TestBuffer<uint32_t> out(32 * 5);
  const ConversionArgs args = {Whole<const float>(in, 64), Whole<uint32_t>(out, 32 * 5)};
  InOneWarp(ConversionKernel<T>, args, [&] {
    const std::vector<uint32_t> found = out.ToHost();
    for (int i = 0; i < 64; ++i) {
      const uint16_t half = narrow(values[i]);
      const auto bits = std::bit_cast<uint32_t>(widen(half));
      EXPECT_EQ(found[i / 2 * 5] >> i % 2 * 16 & 0xffff, half) << values[i];
      EXPECT_EQ(found[i / 2 * 5 + 1 + i % 2], bits) << values[i];
      EXPECT_EQ(found[i / 2 * 5 + 3 + i % 2], bits) << values[i];
    }
  });
}

TEST(ConversionTest, HalvesRoundLikeTheHosts) {
  ExpectConversionsOf<BF16>(BF16FromFloat, FloatFromBF16);
  ExpectConversionsOf<F16>(F16FromFloat, FloatFromF16);
}

SIMT_KERNEL(32, 1) void MathKernel(ConversionArgs args) {
  const int lane = ThreadIdx().x;
  const float in = args.in.Load(lane);
  const float results[2] = {Exp2(in), Rsqrt(in)};
  uint32_t bits[2];
  memcpy(bits, results, sizeof(bits));
  args.out.Store(2 * lane, bits[0]);
  args.out.Store(2 * lane + 1, bits[1]);
}

TEST(MathTest, ApproximationsKeepTheirPromise) {
  std::vector<float> values = {0.0f, 1.0f, 0.5f, 126.9f, 128.0f, 1e-3f};
  std::mt19937 random(6);
  std::uniform_real_distribution<float> uniform(0, 100);
  while (values.size() < 16) values.push_back(uniform(random));
  while (values.size() < 32) values.push_back(-values[values.size() - 16] - 20);
  TestBuffer<float> in(values);
  TestBuffer<uint32_t> out(64);
  InOneWarp(MathKernel, ConversionArgs{Whole<const float>(in, 32), Whole<uint32_t>(out, 64)}, [&] {
    const std::vector<uint32_t> found = out.ToHost();
    for (int i = 0; i < 32; ++i) {
      const double power = std::exp2(static_cast<double>(values[i]));
      const auto exp2 = std::bit_cast<float>(found[2 * i]);
      if (power > std::numeric_limits<float>::max()) {
        EXPECT_EQ(exp2, INFINITY) << values[i];
      } else if (power < std::numeric_limits<float>::min()) {
        EXPECT_EQ(exp2, 0) << values[i];
      } else {
        EXPECT_NEAR(exp2, power, power * 0x1p-22) << values[i];
      }
      if (values[i] <= 0) continue;
      const double root = 1 / std::sqrt(static_cast<double>(values[i]));
      EXPECT_NEAR(std::bit_cast<float>(found[2 * i + 1]), root, root * 0x1p-22) << values[i];
    }
  });
}

}  // namespace
}  // namespace contextpool::kernels::SIMT_BACKEND
