// Each primitive by itself, but for those of matrices (matrix_primitives_test.cu): on the emulator
// its definition, on a GPU the proof that the emulator defines it as the GPU does.

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/cuda/primitives.cuh"
#include "kernels/float16.h"
#include "tests/unit/kernels/cuda/one_warp.cuh"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

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

// Warps 0 and 1 fill halves of shared memory and arrive; warp 2 waits for both and adds.
struct BarrierArgs {
  Global<const int32_t> in;
  Global<int32_t> out;
  Global<int64_t> sum;
};

SIMT_KERNEL(96, 1) void AddBehindNamedBarriers(BarrierArgs args) {
  SIMT_SHARED(int32_t, halves, 64);
  const int thread = ThreadIdx().x;
  if (thread < 64) {
    halves.Store(thread, args.in.Load(thread));
    ArriveNamed(1 + thread / 32, 64);
  } else {
    SyncNamed(1, 64);
    SyncNamed(2, 64);
    const int lane = thread - 64;
    const int32_t value = halves.Load(lane) + halves.Load(32 + 31 - lane);
    args.out.Store(lane, value);
    args.sum.AtomicAdd(0, value);
    args.sum.AtomicAdd(1, -value);
  }
}

TEST(NamedBarrierTest, AWarpFindsWhatOthersStoredBeforeTheyArrived) {
  std::vector<int32_t> in(64);
  std::iota(in.begin(), in.end(), 1'000'000'000);
  TestBuffer<int32_t> device_in(in);
  const LaunchConfig config = {.kernel = "named_barriers", .block = {96}};
  for (TestStream& stream : EveryTestStream()) {
    SCOPED_TRACE(testing::Message() << stream);
    TestBuffer<int32_t> out(32);
    TestBuffer<int64_t> sum(std::vector<int64_t>{7, -7});
    const BarrierArgs args = {Whole<const int32_t>(device_in, 64), Whole<int32_t>(out, 32),
                              Whole<int64_t>(sum, 2)};
    ASSERT_EQ(Launch(config, stream.handle(), AddBehindNamedBarriers, args), Status::kOk)
        << stream.Finish();
    ASSERT_EQ(stream.Finish(), "");
    const std::vector<int32_t> found = out.ToHost();
    // Beyond 32 bits.
    int64_t expected = 7;
    for (int lane = 0; lane < 32; ++lane) {
      ASSERT_EQ(found[lane], in[lane] + in[63 - lane]) << lane;
      expected += found[lane];
    }
    EXPECT_EQ(sum.ToHost(), (std::vector<int64_t>{expected, -expected}));
  }
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
