#include <algorithm>
#include <limits>

#include "kernels/context_pool.h"
#include "tests/unit/kernels/context_pool_support_batch.h"
#include "tests/unit/kernels/kernel_test.h"

namespace contextpool::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kSentinel = 77.0f;

class ContextPoolSupportTest : public KernelTest {
 protected:
  SupportBatch Make(const std::vector<int32_t>& lengths, int64_t kernel_size, int64_t bottleneck,
                    int32_t grid_width = 0) {
    SupportBatch batch;
    for (int32_t length : lengths) batch.cu_lengths.push_back(batch.cu_lengths.back() + length);
    batch.params.kernel_size = kernel_size;
    batch.params.bottleneck = bottleneck;
    batch.params.grid_width = grid_width;
    batch.taps = Random(batch.tokens() * batch.stride());
    // More taps, smaller terms: or rounding would be what is measured.
    const auto rows = static_cast<float>(batch.kernel_rows());
    batch.conv2_weight = Random(2 * batch.taps_size(), 1 / (rows * rows));
    batch.conv2_bias = Random(2);
    return batch;
  }

  // Grids of so many rows behind so many prefix tokens.
  SupportBatch MakeGrids(const std::vector<int32_t>& rows, int32_t width, int64_t kernel_size,
                         int64_t bottleneck, int32_t prefix) {
    std::vector<int32_t> lengths;
    for (int32_t count : rows) lengths.push_back(prefix + count * width);
    SupportBatch batch = Make(lengths, kernel_size, bottleneck, width);
    batch.params.prefix = prefix;
    return batch;
  }

  // Tokens whose a are these and whose b are 0.
  static SupportBatch FromNumbers(const std::vector<float>& a) {
    SupportBatch batch;
    batch.cu_lengths.push_back(static_cast<int32_t>(a.size()));
    batch.params.kernel_size = 1;
    batch.params.bottleneck = 1;
    batch.params.activation = Activation::kNone;
    batch.conv2_weight = {1, 0};
    batch.conv2_bias = {0, 0};
    batch.taps.resize(a.size() * batch.stride());
    for (size_t i = 0; i < a.size(); ++i) batch.taps[i * batch.stride()] = a[i];
    return batch;
  }

  static Support Run(const SupportBatch& batch, int threads = 1) {
    Support support = {std::vector<float>(batch.tokens() + 1, kSentinel),
                       std::vector<float>(batch.tokens() + 1, kSentinel)};
    std::vector<float> taps = batch.taps;
    ShuffledStream stream(GetParam(), threads);
    ContextPoolSupportParams p = batch.params;
    const bool learned = Learned(p.weight, p.size);
    p.taps = learned ? taps.data() : nullptr;
    p.conv2_weight = learned ? batch.conv2_weight.data() : nullptr;
    p.conv2_bias = learned ? batch.conv2_bias.data() : nullptr;
    p.cu_lengths = batch.cu_lengths.data();
    p.log_weight = support.log_weight.data();
    p.support_size = support.support_size.data();
    p.sequences = static_cast<int64_t>(batch.cu_lengths.size()) - 1;
    p.taps_stride = batch.stride();
    EXPECT_EQ(cpu::ContextPoolSupport(p, &stream), Status::kOk);
    for (std::vector<float>* values : {&support.log_weight, &support.support_size}) {
      EXPECT_EQ(values->back(), kSentinel);
      values->pop_back();
    }
    return support;
  }

  static void RunAndCompare(const SupportBatch& batch, int threads, const std::string& what) {
    const ContextPoolSupportParams& p = batch.params;
    const Support found = Run(batch, threads);
    for (size_t s = 0; s + 1 < batch.cu_lengths.size(); ++s) {
      const int64_t end = batch.cu_lengths[s + 1];
      const int64_t pooled = std::min<int64_t>(end, batch.cu_lengths[s] + p.prefix);
      for (int64_t i = batch.cu_lengths[s]; i < pooled; ++i) {
        ASSERT_EQ(found.log_weight[i], -kInfinity) << what;
        ASSERT_EQ(found.support_size[i], 0.0f) << what;
      }
      const std::vector<double> weights =
          PoolWeights(p.weight, SupportNumbers(batch, pooled, end, 0));
      const std::vector<double> sizes = SupportSizes(p, SupportNumbers(batch, pooled, end, 1));
      for (int64_t i = pooled; i < end; ++i) {
        const double log_weight = std::clamp(std::log2(weights[i - pooled]), -100.0, 20.0);
        ASSERT_NEAR(found.log_weight[i], log_weight, kSupportTolerance) << what << ", token " << i;
        const double size = sizes[i - pooled];
        ASSERT_NEAR(found.support_size[i], size, kSupportTolerance * (size + 1))
            << what << ", token " << i;
      }
    }
  }
};

CONTEXTPOOL_TEST_EVERY_ISA(ContextPoolSupportTest);

TEST_P(ContextPoolSupportTest, MatchesTheFormulaForEveryActivation) {
  for (Activation activation :
       {Activation::kNone, Activation::kGelu, Activation::kRelu, Activation::kLeakyRelu}) {
    for (int64_t kernel_size : {1, 3, 7}) {
      for (int64_t bottleneck : {1, 8, 13, 32}) {
        SupportBatch batch = Make({0, 1, 2, 3, 4, 7, 20, 70}, kernel_size, bottleneck);
        batch.params.activation = activation;
        batch.params.prefix = kernel_size / 2;
        for (int threads : {1, 3}) {
          RunAndCompare(batch, threads,
                        "kernel " + std::to_string(kernel_size) + ", bottleneck " +
                            std::to_string(bottleneck) + ", activation " +
                            std::to_string(static_cast<int>(activation)));
        }
      }
    }
  }
}

TEST_P(ContextPoolSupportTest, MatchesTheFormulaForEveryWeightAndSize) {
  for (PoolWeight weight :
       {PoolWeight::kSigmoid, PoolWeight::kExp, PoolWeight::kSoftmax, PoolWeight::kOne}) {
    for (SupportSize size : {SupportSize::kSigmoid, SupportSize::kSoftmax, SupportSize::kFixed}) {
      for (float fixed_n : {0.0f, 33.0f}) {
        SupportBatch batch = Make({0, 1, 2, 9, 41, 512}, 3, 16);
        batch.params.weight = weight;
        batch.params.size = size;
        batch.params.fixed_size = 2.5f;
        batch.params.fixed_n = fixed_n;
        batch.params.r = 0.3f;
        for (int64_t prefix : {0, 2}) {
          batch.params.prefix = prefix;
          RunAndCompare(batch, 2,
                        "weight " + std::to_string(static_cast<int>(weight)) + ", size " +
                            std::to_string(static_cast<int>(size)));
        }
      }
    }
  }
}

TEST_P(ContextPoolSupportTest, MatchesTheFormulaOnGrids) {
  for (int32_t width : {1, 2, 3, 7, 14}) {
    for (int64_t kernel_size : {1, 3, 7}) {
      for (int64_t bottleneck : {1, 13, 32}) {
        SupportBatch batch = MakeGrids({0, 1, 2, 5, 14}, width, kernel_size, bottleneck, 1);
        for (int threads : {1, 3}) {
          RunAndCompare(
              batch, threads,
              "width " + std::to_string(width) + ", kernel " + std::to_string(kernel_size));
        }
      }
    }
  }
}

TEST_P(ContextPoolSupportTest, NOnAGridIsItsLargerSideOrItsTokens) {
  for (bool n_is_side : {false, true}) {
    for (float fixed_n : {0.0f, 33.0f}) {
      for (SupportSize size : {SupportSize::kSigmoid, SupportSize::kSoftmax}) {
        // As high as they are wide, lower, higher.
        SupportBatch batch = MakeGrids({6, 3, 11}, 6, 3, 8, 2);
        batch.params.n_is_side = n_is_side;
        batch.params.fixed_n = fixed_n;
        batch.params.size = size;
        batch.params.weight = PoolWeight::kSoftmax;
        RunAndCompare(batch, 2, n_is_side ? "side" : "tokens");
      }
    }
  }
}

TEST_P(ContextPoolSupportTest, MatchesTheFormulaFarFromZero) {
  std::vector<float> a;
  for (float v = -110; v <= 110; v += 0.37f) a.push_back(v);
  SupportBatch batch = FromNumbers(a);
  for (PoolWeight weight : {PoolWeight::kSigmoid, PoolWeight::kExp, PoolWeight::kSoftmax}) {
    batch.params.weight = weight;
    RunAndCompare(batch, 1, "weight " + std::to_string(static_cast<int>(weight)));
  }
  // The same numbers as b.
  batch.conv2_weight = {0, 1};
  for (SupportSize size : {SupportSize::kSigmoid, SupportSize::kSoftmax}) {
    batch.params.size = size;
    RunAndCompare(batch, 1, "size " + std::to_string(static_cast<int>(size)));
  }
}

TEST_P(ContextPoolSupportTest, ExtremeNumbersAreClamped) {
  SupportBatch batch = FromNumbers({-kInfinity, -1e30f, -500, 0, 500, 1e30f, kInfinity});
  batch.params.weight = PoolWeight::kExp;
  EXPECT_EQ(Run(batch).log_weight, (std::vector<float>{-100, -100, -100, 0, 20, 20, 20}));
  batch.params.weight = PoolWeight::kSigmoid;
  EXPECT_EQ(Run(batch).log_weight, (std::vector<float>{-100, -100, -100, -1, 0, 0, 0}));
  batch.taps.resize(6 * batch.stride());
  batch.cu_lengths = {0, 6};
  batch.params.weight = PoolWeight::kSoftmax;
  EXPECT_EQ(Run(batch).log_weight, (std::vector<float>{-100, -100, -100, -100, -100, 0}));

  batch = FromNumbers({-kInfinity, -1e30f, 0, 1e30f, kInfinity});
  batch.conv2_weight = {0, 1};
  batch.params.weight = PoolWeight::kOne;
  batch.params.r = 1;
  batch.params.fixed_n = 8;
  EXPECT_EQ(Run(batch).support_size, (std::vector<float>{0, 0, 4, 8, 8}));
  batch.taps.resize(4 * batch.stride());
  batch.cu_lengths = {0, 4};
  batch.params.size = SupportSize::kSoftmax;
  EXPECT_EQ(Run(batch).support_size, (std::vector<float>{0, 0, 0, 8}));
}

TEST_P(ContextPoolSupportTest, ANanNumberStaysOne) {
  const SupportBatch batch = FromNumbers({1, std::nanf(""), 2});
  SupportBatch sized = batch;
  sized.conv2_weight = {0, 1};
  for (bool softmax : {false, true}) {
    SupportBatch weighted = batch;
    weighted.params.weight = softmax ? PoolWeight::kSoftmax : PoolWeight::kSigmoid;
    sized.params.size = softmax ? SupportSize::kSoftmax : SupportSize::kSigmoid;
    const std::vector<float> weights = Run(weighted).log_weight;
    const std::vector<float> sizes = Run(sized).support_size;
    for (int64_t i = 0; i < 3; ++i) {
      EXPECT_EQ(std::isnan(weights[i]), softmax || i == 1) << i;
      EXPECT_EQ(std::isnan(sizes[i]), softmax || i == 1) << i;
    }
  }
}

TEST_P(ContextPoolSupportTest, ASequenceDoesNotDependOnItsNeighboursOrPrefix) {
  for (int32_t grid_width : {0, 6}) {
    SupportBatch batch = Make({8, 26, 14}, 5, 12, grid_width);
    batch.params.weight = PoolWeight::kSoftmax;
    batch.params.prefix = 2;
    SupportBatch alone = batch;
    alone.cu_lengths = {0, 26};
    alone.taps = {batch.taps.begin() + 8 * batch.stride(),
                  batch.taps.begin() + 34 * batch.stride()};
    for (int64_t i = 0; i < 48; ++i) {
      if (i >= 10 && i < 34) continue;
      std::fill_n(batch.taps.begin() + i * batch.stride(), batch.stride(), std::nanf(""));
    }
    const Support together = Run(batch, 2);
    const Support expected = Run(alone);
    for (int64_t i = 0; i < 26; ++i) {
      EXPECT_EQ(together.log_weight[8 + i], expected.log_weight[i]) << i;
      EXPECT_EQ(together.support_size[8 + i], expected.support_size[i]) << i;
    }
  }
}

TEST_P(ContextPoolSupportTest, RefusesWhatItCannotCompute) {
  float value = 0;
  const int32_t cu_lengths[] = {0, 0};
  CpuStream stream(GetParam());
  using Params = ContextPoolSupportParams;
  const Params good = {.taps = &value,
                       .conv2_weight = &value,
                       .conv2_bias = &value,
                       .cu_lengths = cu_lengths,
                       .log_weight = &value,
                       .support_size = &value,
                       .sequences = 1,
                       .kernel_size = 3,
                       .bottleneck = 4,
                       .taps_stride = 12};
  ASSERT_EQ(cpu::ContextPoolSupport(good, &stream), Status::kOk);
  Params p = good;
  p.dtype = DType::kBF16;
  EXPECT_EQ(cpu::ContextPoolSupport(p, &stream), Status::kBadDType);
  const auto refuses = [&](auto member, auto bad) {
    Params broken = good;
    broken.*member = bad;
    return cpu::ContextPoolSupport(broken, &stream) == Status::kBadShape;
  };
  EXPECT_TRUE(refuses(&Params::taps, nullptr));
  EXPECT_TRUE(refuses(&Params::conv2_weight, nullptr));
  EXPECT_TRUE(refuses(&Params::conv2_bias, nullptr));
  EXPECT_TRUE(refuses(&Params::activation, Activation::kTanh));
  EXPECT_TRUE(refuses(&Params::r, -0.1f));
  EXPECT_TRUE(refuses(&Params::fixed_n, -1.0f));
  EXPECT_TRUE(refuses(&Params::fixed_size, -1.0f));
  EXPECT_TRUE(refuses(&Params::sequences, -1));
  EXPECT_TRUE(refuses(&Params::prefix, -1));
  EXPECT_TRUE(refuses(&Params::grid_width, -1));
  EXPECT_TRUE(refuses(&Params::grid_width, 2)) << "9 taps do not fit the stride of 3";
  EXPECT_TRUE(refuses(&Params::kernel_size, 2));
  EXPECT_TRUE(refuses(&Params::kernel_size, -1));
  EXPECT_TRUE(refuses(&Params::bottleneck, 0));
  EXPECT_TRUE(refuses(&Params::taps_stride, 11));
  // Taps where nothing is learned are a mistake of the caller's.
  p = good;
  p.weight = PoolWeight::kOne;
  p.size = SupportSize::kFixed;
  EXPECT_EQ(cpu::ContextPoolSupport(p, &stream), Status::kBadShape);
  p.taps = nullptr;
  EXPECT_EQ(cpu::ContextPoolSupport(p, &stream), Status::kOk);
}

}  // namespace
}  // namespace contextpool::kernels
