// ContextPoolSupport against its formula in double precision.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/context_pool.h"
#include "tests/unit/kernels/context_pool_support_batch.h"
#include "tests/unit/kernels/cuda/half_test.cuh"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class ContextPoolSupportTest : public testing::TestWithParam<DType> {
 protected:
  std::vector<float> Random(int64_t size, float scale = 1) {
    std::uniform_real_distribution<float> uniform(-scale, scale);
    std::vector<float> values(size);
    for (float& value : values) value = uniform(random_);
    return values;
  }

  std::vector<float> Rounded(std::vector<float> values) const {
    for (float& value : values) value = FromHalf(GetParam(), ToHalf(GetParam(), value));
    return values;
  }

  SupportBatch Make(const std::vector<int32_t>& lengths, int64_t kernel_size, int64_t bottleneck,
                    int32_t grid_width = 0) {
    SupportBatch batch;
    batch.gap = 8;
    for (int32_t length : lengths) batch.cu_lengths.push_back(batch.cu_lengths.back() + length);
    batch.params.kernel_size = kernel_size;
    batch.params.bottleneck = bottleneck;
    batch.params.grid_width = grid_width;
    batch.taps = Rounded(Random(batch.tokens() * batch.stride()));
    // More taps, smaller terms: or rounding would be what is measured.
    const auto rows = static_cast<float>(batch.kernel_rows());
    batch.conv2_weight = Random(2 * batch.taps_size(), 1 / (rows * rows));
    batch.conv2_bias = Random(2);
    return batch;
  }

  // Tokens whose number `output` these are.
  SupportBatch FromNumbers(const std::vector<float>& numbers, int64_t output) const {
    SupportBatch batch;
    batch.gap = 8;
    batch.cu_lengths.push_back(static_cast<int32_t>(numbers.size()));
    batch.params.kernel_size = 1;
    batch.params.bottleneck = 8;
    batch.params.activation = Activation::kNone;
    batch.conv2_weight.resize(16);
    batch.conv2_weight[output * 8] = 1;
    batch.conv2_bias = {0, 0};
    batch.taps.resize(numbers.size() * batch.stride());
    const std::vector<float> rounded = Rounded(numbers);
    for (size_t i = 0; i < numbers.size(); ++i) batch.taps[i * batch.stride()] = rounded[i];
    return batch;
  }

  // `spare`: tokens that the launcher believes there are beyond those of the batch.
  Support Run(const SupportBatch& batch, TestStream& stream, int64_t spare = 0) const {
    TestBuffer<uint16_t> taps(ToHalf(GetParam(), batch.taps));
    TestBuffer<float> conv2_weight(batch.conv2_weight), conv2_bias(batch.conv2_bias);
    TestBuffer<int32_t> cu_lengths(batch.cu_lengths);
    TestBuffer<float> log_weight(batch.tokens()), support_size(batch.tokens());
    ContextPoolSupportParams p = batch.params;
    const bool learned = Learned(p.weight, p.size);
    p.dtype = GetParam();
    p.taps = learned ? taps.data() : nullptr;
    p.conv2_weight = learned ? conv2_weight.data() : nullptr;
    p.conv2_bias = learned ? conv2_bias.data() : nullptr;
    p.cu_lengths = cu_lengths.data();
    p.log_weight = log_weight.data();
    p.support_size = support_size.data();
    p.sequences = static_cast<int64_t>(batch.cu_lengths.size()) - 1;
    p.tokens = batch.tokens() + spare;
    p.taps_stride = batch.stride();
    EXPECT_EQ(ContextPoolSupport(p, stream.handle()), Status::kOk);
    EXPECT_EQ(stream.Finish(), "");
    return {log_weight.ToHost(), support_size.ToHost()};
  }

  static void Compare(const SupportBatch& batch, const Support& found) {
    const ContextPoolSupportParams& p = batch.params;
    for (size_t s = 0; s + 1 < batch.cu_lengths.size(); ++s) {
      const int64_t end = batch.cu_lengths[s + 1];
      const int64_t pooled = std::min<int64_t>(end, batch.cu_lengths[s] + p.prefix);
      for (int64_t i = batch.cu_lengths[s]; i < pooled; ++i) {
        ASSERT_EQ(found.log_weight[i], -kInfinity) << "prefix token " << i;
        ASSERT_EQ(found.support_size[i], 0.0f) << "prefix token " << i;
      }
      const std::vector<double> weights =
          PoolWeights(p.weight, SupportNumbers(batch, pooled, end, 0));
      const std::vector<double> sizes = SupportSizes(p, SupportNumbers(batch, pooled, end, 1));
      for (int64_t i = pooled; i < end; ++i) {
        const double log_weight = std::clamp(std::log2(weights[i - pooled]), -100.0, 20.0);
        ASSERT_NEAR(found.log_weight[i], log_weight,
                    kSupportTolerance * (std::abs(log_weight) / 8 + 1))
            << "token " << i;
        const double size = sizes[i - pooled];
        ASSERT_NEAR(found.support_size[i], size, kSupportTolerance * (size + 1)) << "token " << i;
      }
    }
  }

  void RunAndCompare(const SupportBatch& batch, const std::string& what,
                     std::vector<TestStream> streams = FewTestStreams()) const {
    for (TestStream& stream : streams) {
      SCOPED_TRACE(testing::Message() << what << ", " << stream);
      Compare(batch, Run(batch, stream));
      if (HasFatalFailure()) return;
    }
  }

  void ExpectOnEverySchedule(const SupportBatch& batch, std::vector<float> Support::*numbers,
                             const std::vector<float>& expected) const {
    for (TestStream& stream : EveryTestStream()) {
      EXPECT_EQ(Run(batch, stream).*numbers, expected) << stream;
    }
  }

  std::mt19937 random_{17};
};

INSTANTIATE_TEST_SUITE_P(Half, ContextPoolSupportTest, testing::Values(DType::kBF16, DType::kF16),
                         [](const auto& info) { return std::string(Name(info.param)); });

TEST_P(ContextPoolSupportTest, MatchesTheFormulaOnEverySchedule) {
  for (PoolWeight weight : {PoolWeight::kSoftmax, PoolWeight::kSigmoid}) {
    const bool softmax = weight == PoolWeight::kSoftmax;
    for (int32_t grid_width : {0, 1, 14}) {
      SupportBatch batch = Make({1, 2 + 14, 0, 2 + 70, 2 + 14 * 9}, 3, 16, grid_width);
      batch.params.weight = weight;
      batch.params.size = softmax ? SupportSize::kSoftmax : SupportSize::kSigmoid;
      batch.params.prefix = 2;
      RunAndCompare(batch, "grid width " + std::to_string(grid_width), EveryTestStream());
    }
    SupportBatch batch = Make({1, 2, 63, 64, 65, 66, 127, 128, 129}, 3, 8);
    batch.params.weight = weight;
    RunAndCompare(batch, "lengths around tiles", EveryTestStream());
  }
}

TEST_P(ContextPoolSupportTest, MatchesTheFormulaForLongSequences) {
  for (int32_t grid_width : {0, 64}) {
    SupportBatch batch = Make({1 << 12}, 3, 8, grid_width);
    batch.params.weight = PoolWeight::kSoftmax;
    batch.params.size = SupportSize::kSoftmax;
    RunAndCompare(batch, "grid width " + std::to_string(grid_width));
  }
}

TEST_P(ContextPoolSupportTest, MatchesTheFormulaForEveryActivation) {
  for (Activation activation :
       {Activation::kNone, Activation::kGelu, Activation::kRelu, Activation::kLeakyRelu}) {
    for (int64_t kernel_size : {1, 3, 7}) {
      SupportBatch batch = Make({0, 1, 2, 7, 63, 67}, kernel_size, 8 * kernel_size);
      batch.params.activation = activation;
      batch.params.prefix = kernel_size / 2;
      RunAndCompare(batch, "kernel " + std::to_string(kernel_size) + ", activation " +
                               std::to_string(static_cast<int>(activation)));
    }
  }
}

TEST_P(ContextPoolSupportTest, MatchesTheFormulaForLengthsAroundTilesAndEveryBottleneck) {
  for (int64_t bottleneck : {16, 32, 64}) {
    RunAndCompare(Make({62, 64, 65, 129}, 3, bottleneck),
                  "bottleneck " + std::to_string(bottleneck));
  }
  // Too wide for a block at once.
  RunAndCompare(Make({3, 65}, 3, 400), "bottleneck 400", EveryTestStream());
}

TEST_P(ContextPoolSupportTest, MatchesTheFormulaForEveryWeightAndSize) {
  for (PoolWeight weight :
       {PoolWeight::kSigmoid, PoolWeight::kExp, PoolWeight::kSoftmax, PoolWeight::kOne}) {
    for (SupportSize size : {SupportSize::kSigmoid, SupportSize::kSoftmax, SupportSize::kFixed}) {
      SupportBatch batch = Make({0, 1, 2, 9, 270}, 3, 8);
      batch.params.weight = weight;
      batch.params.size = size;
      batch.params.fixed_size = 2.5f;
      batch.params.fixed_n = size == SupportSize::kSoftmax ? 33.0f : 0.0f;
      batch.params.r = 0.3f;
      batch.params.prefix = 2;
      RunAndCompare(batch, "weight " + std::to_string(static_cast<int>(weight)) + ", size " +
                               std::to_string(static_cast<int>(size)));
    }
  }
}

TEST_P(ContextPoolSupportTest, MatchesTheFormulaOnGrids) {
  for (int32_t width : {1, 3, 14}) {
    for (int64_t kernel_size : {1, 3, 5}) {
      SupportBatch batch =
          Make({1, 1 + width, 1 + 5 * width, 1 + 14 * width}, kernel_size, 8, width);
      batch.params.prefix = 1;
      batch.params.n_is_side = kernel_size == 3;
      RunAndCompare(batch,
                    "width " + std::to_string(width) + ", kernel " + std::to_string(kernel_size));
    }
  }
}

TEST_P(ContextPoolSupportTest, MatchesTheFormulaFarFromZero) {
  std::vector<float> numbers;
  for (float v = -110; v <= 110; v += 0.37f) numbers.push_back(v);
  SupportBatch batch = FromNumbers(numbers, 0);
  for (PoolWeight weight : {PoolWeight::kSigmoid, PoolWeight::kExp, PoolWeight::kSoftmax}) {
    batch.params.weight = weight;
    RunAndCompare(batch, "weights", EveryTestStream());
  }
  batch = FromNumbers(numbers, 1);
  for (SupportSize size : {SupportSize::kSigmoid, SupportSize::kSoftmax}) {
    batch.params.size = size;
    RunAndCompare(batch, "sizes", EveryTestStream());
  }
}

TEST_P(ContextPoolSupportTest, ExtremeNumbersAreClamped) {
  SupportBatch batch = FromNumbers({-kInfinity, -1e30f, -500, 0, 500, 1e30f, kInfinity}, 0);
  batch.params.weight = PoolWeight::kExp;
  ExpectOnEverySchedule(batch, &Support::log_weight, {-100, -100, -100, 0, 20, 20, 20});
  batch.params.weight = PoolWeight::kSigmoid;
  ExpectOnEverySchedule(batch, &Support::log_weight, {-100, -100, -100, -1, 0, 0, 0});

  batch = FromNumbers({-kInfinity, -1e30f, 0, 1e30f, kInfinity}, 1);
  batch.params.weight = PoolWeight::kOne;
  batch.params.r = 1;
  batch.params.fixed_n = 8;
  ExpectOnEverySchedule(batch, &Support::support_size, {0, 0, 4, 8, 8});
}

TEST_P(ContextPoolSupportTest, ANanNumberStaysOne) {
  for (bool softmax : {false, true}) {
    SupportBatch weighted = FromNumbers({1, std::nanf(""), 2}, 0);
    SupportBatch sized = FromNumbers({1, std::nanf(""), 2}, 1);
    weighted.params.weight = softmax ? PoolWeight::kSoftmax : PoolWeight::kSigmoid;
    sized.params.size = softmax ? SupportSize::kSoftmax : SupportSize::kSigmoid;
    for (TestStream& stream : EveryTestStream()) {
      const std::vector<float> weights = Run(weighted, stream).log_weight;
      const std::vector<float> sizes = Run(sized, stream).support_size;
      for (int64_t i = 0; i < 3; ++i) {
        EXPECT_EQ(std::isnan(weights[i]), softmax || i == 1) << stream << i;
        EXPECT_EQ(std::isnan(sizes[i]), softmax || i == 1) << stream << i;
      }
    }
  }
}

TEST_P(ContextPoolSupportTest, ASequenceDoesNotDependOnItsNeighboursOrPrefix) {
  for (int32_t grid_width : {0, 6}) {
    SupportBatch batch = Make({8, 74, 14}, 5, 16, grid_width);
    batch.params.weight = PoolWeight::kSoftmax;
    batch.params.prefix = 2;
    SupportBatch alone = batch;
    alone.cu_lengths = {0, 74};
    alone.taps = {batch.taps.begin() + 8 * batch.stride(),
                  batch.taps.begin() + 82 * batch.stride()};
    for (int64_t i = 0; i < batch.tokens(); ++i) {
      if (i >= 10 && i < 82) continue;
      std::fill_n(batch.taps.begin() + i * batch.stride(), batch.stride(), std::nanf(""));
    }
    for (TestStream& stream : EveryTestStream()) {
      const Support expected = Run(alone, stream);
      for (int64_t spare : {0, 200}) {
        const Support together = Run(batch, stream, spare);
        for (int64_t i = 0; i < 74; ++i) {
          ASSERT_EQ(together.log_weight[8 + i], expected.log_weight[i]) << i;
          ASSERT_EQ(together.support_size[8 + i], expected.support_size[i]) << i;
        }
      }
    }
  }
}

TEST_P(ContextPoolSupportTest, RefusesWhatItCannotDo) {
  TestBuffer<uint16_t> taps(256);
  TestBuffer<float> weight(256);
  const ContextPoolSupportParams good = {.taps = taps.data(),
                                         .conv2_weight = weight.data(),
                                         .conv2_bias = weight.data(),
                                         .dtype = GetParam(),
                                         .kernel_size = 3,
                                         .bottleneck = 8,
                                         .taps_stride = 24};
  TestStream stream = EveryTestStream().front();
  const auto run = [&](auto change) {
    ContextPoolSupportParams params = good;
    change(params);
    return ContextPoolSupport(params, stream.handle());
  };
  // No sequence, nothing to launch.
  EXPECT_EQ(run([](auto&) {}), Status::kOk);
  EXPECT_EQ(run([](auto& p) {
              p.dtype = DType::kF32;
              p.sequences = p.tokens = 1;
            }),
            Status::kBadDType);
  EXPECT_EQ(run([](auto& p) {
              p.activation = Activation::kTanh;
              p.sequences = p.tokens = 1;
            }),
            Status::kBadShape);
  EXPECT_EQ(run([](auto& p) { p.taps = nullptr; }), Status::kBadShape);
  EXPECT_EQ(run([](auto& p) { p.conv2_bias = nullptr; }), Status::kBadShape);
  EXPECT_EQ(run([&](auto& p) { p.conv2_weight = weight.data() + 1; }), Status::kBadShape);
  EXPECT_EQ(run([](auto& p) { p.bottleneck = 4; }), Status::kBadShape);
  EXPECT_EQ(run([](auto& p) { p.kernel_size = 2; }), Status::kBadShape);
  EXPECT_EQ(run([](auto& p) { p.taps_stride = 16; }), Status::kBadShape);
  EXPECT_EQ(run([](auto& p) { p.taps_stride = 28; }), Status::kBadShape);
  EXPECT_EQ(run([](auto& p) { p.grid_width = 2; }), Status::kBadShape) << "9 taps";
  EXPECT_EQ(run([](auto& p) {
              p.grid_width = 544;
              p.taps_stride = 72;
            }),
            Status::kBadShape)
      << "the neighbours do not fit a block";
  EXPECT_EQ(run([](auto& p) {
              p.grid_width = 543;
              p.taps_stride = 72;
            }),
            Status::kOk);
}

#if !defined(__CUDACC__)
// What only the emulator counts.
TEST_P(ContextPoolSupportTest, UsesWholeSectorsAndAllBanks) {
  for (int64_t bottleneck : {16, 32, 64}) {
    SupportBatch batch = Make({128}, 3, bottleneck);
    batch.gap = 0;
    batch.taps.resize(batch.tokens() * batch.stride());
    batch.params.weight = PoolWeight::kSoftmax;
    batch.params.size = SupportSize::kSoftmax;
    TestStream stream = EveryTestStream().front();
    Run(batch, stream);
    ASSERT_EQ(stream.reports().size(), 2u);
    const simt::LaunchReport& network = stream.reports()[0];
    EXPECT_EQ(network.shared.Excess(), 0) << bottleneck << network;
    EXPECT_EQ(network.global.Excess(), 0) << network;
    const simt::LaunchReport& softmax = stream.reports()[1];
    EXPECT_GT(softmax.shared.requests, 0) << softmax;
    ExpectNoExcess(stream);
  }
}
#endif

}  // namespace
}  // namespace contextpool::kernels::SIMT_BACKEND
