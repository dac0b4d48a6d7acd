// ContextPool against its formula in double precision.

#include <array>

#include "tests/unit/kernels/cuda/context_pool_run.cuh"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

INSTANTIATE_TEST_SUITE_P(Half, ContextPoolTest, testing::Values(DType::kBF16, DType::kF16),
                         [](const auto& info) { return std::string(Name(info.param)); });

TEST_P(ContextPoolTest, MatchesTheFormulaOnEverySchedule) {
  RunAndCompare(Make({1, 63, 0, 130}, 72), EveryTestStream(), "several tiles");
}

TEST_P(ContextPoolTest, MatchesTheFormulaForLengthsAroundTiles) {
  RunAndCompare(Make({0, 1, 2, 8, 9, 31, 32, 33, 63, 64, 65, 127, 128, 129}, 8), EveryTestStream(),
                "some lengths");
  RunAndCompare(Make({0,  1,  2,   7,   8,   9,   31,  32,  33,  62,  63,  64,
                      65, 66, 127, 128, 129, 191, 192, 193, 255, 256, 257, 300},
                     8),
                FewTestStreams(), "more lengths");
}

TEST_P(ContextPoolTest, MatchesTheFormulaForLongSequences) {
  // More tiles than a warp has lanes, most of them skipped; and a few, all computed.
  Batch sparse = Make({2100, 3}, 8);
  for (float& size : sparse.support_size) size = std::min(size, 3.0f);
  RunAndCompare(sparse, FewTestStreams(), "2100 tokens");
  Batch dense = Make({512}, 72);
  dense.support_size.assign(512, 51.2f);
  RunAndCompare(dense, FewTestStreams(), "512 tokens");
}

TEST_P(ContextPoolTest, MatchesTheFormulaForTheLongestSequenceThatMayBe) {
#if defined(__CUDACC__)
  constexpr int32_t kTokens = 1 << 16;
#else
  // The emulator would take a minute for the longest one; the launch is for it all the same.
  constexpr int32_t kTokens = 1 << 13;
#endif
  Batch batch = Make({kTokens}, 8);
  for (float& size : batch.support_size) size = std::min(size, 3.0f);
  for (TestStream& stream : FewTestStreams()) {
    SCOPED_TRACE(testing::Message() << stream);
    const std::vector<uint16_t> out = Run(batch, stream, nullptr, (1 << 16) - kTokens);
    // The last one, and some of each part of a tile.
    for (int64_t i = kTokens - 1; i >= 0; i -= 273) CompareRow(batch, out, 0, kTokens, i);
  }
}

TEST_P(ContextPoolTest, MatchesTheFormulaForAnyColumns) {
  for (int64_t columns : {8, 16, 72, 256, 264, 384, 392, 520, 768}) {
    const Batch batch = Make({70, 3}, columns);
    for (TestStream& stream : FewTestStreams()) {
      SCOPED_TRACE(testing::Message() << columns << " columns, " << stream);
      ContextPoolTiles tiles;
      Compare(batch, Run(batch, stream, &tiles));
      // However many blocks share the columns.
      EXPECT_EQ(tiles.computed + tiles.skipped, 2 * 2 + 1);
    }
  }
}

TEST_P(ContextPoolTest, MatchesTheFormulaForEveryOption) {
  std::vector<TestStream> streams = EveryTestStream();
  size_t turn = 0;
  for (PoolNormalization normalization :
       {PoolNormalization::kSum, PoolNormalization::kMean, PoolNormalization::kNone}) {
    for (PoolResidual residual : {PoolResidual::kNone, PoolResidual::kAdd, PoolResidual::kGate}) {
      for (int64_t prefix : {0, 1, 12}) {
        const std::string what =
            "normalization " + std::to_string(static_cast<int>(normalization)) + ", residual " +
            std::to_string(static_cast<int>(residual)) + ", prefix " + std::to_string(prefix);
        Batch small = Make({0, 13, 1}, 8), large = Make({0, 1, 12, 13, 75}, 24);
        for (Batch* batch : {&small, &large}) {
          batch->normalization = normalization;
          batch->residual = residual;
          batch->gate = 0.3f;
          batch->prefix = prefix;
        }
        RunAndCompare(small, EveryTestStream(), what);
        RunAndCompare(large, {streams[turn++ % streams.size()]}, what);
      }
    }
  }
}

TEST_P(ContextPoolTest, MatchesTheFormulaOnGrids) {
  for (int32_t width : {1, 3, 14, 70}) {
    RunAndCompare(MakeGrids({0, 1, 70 / width, 2}, width, 8, 1), EveryTestStream(),
                  "width " + std::to_string(width));
  }
  for (int32_t width : {1, 3, 14, 64, 70}) {
    for (int32_t prefix : {0, 1}) {
      RunAndCompare(MakeGrids({0, 1, 140 / width, 2}, width, 8, prefix), FewTestStreams(),
                    "width " + std::to_string(width));
    }
  }
}

TEST_P(ContextPoolTest, SkippingOnAGridLooksAtRowsAndColumns) {
  const auto run_and_compare = [&](Batch batch, std::vector<TestStream> streams, int64_t tiles) {
    std::ranges::fill(batch.support_size, 1.0f);
    for (TestStream& stream : streams) {
      ContextPoolTiles found;
      Compare(batch, Run(batch, stream, &found));
      EXPECT_GT(found.skipped, 0) << batch.grid_width << ", " << stream;
      EXPECT_EQ(found.computed + found.skipped, tiles) << batch.grid_width;
    }
  };
  run_and_compare(MakeGrids({15}, 14, 8), EveryTestStream(), 4 * 4);
  run_and_compare(MakeGrids({2}, 210, 8), FewTestStreams(), 7 * 8);
}

TEST_P(ContextPoolTest, MatchesTheFormulaForExtremeWeightsAndSizesOnEverySchedule) {
  constexpr int32_t kTokens = 70;
  const std::vector<std::vector<float>> weights = ExtremeWeights(kTokens);
  for (int32_t grid_width : {0, 14}) {
    // A sequence for each kind of weights.
    Batch batch = Make(std::vector<int32_t>(weights.size(), kTokens), 8);
    batch.grid_width = grid_width;
    for (size_t s = 0; s < weights.size(); ++s) {
      std::ranges::copy(weights[s], batch.log_weight.begin() + static_cast<int64_t>(s) * kTokens);
    }
    // All sizes in one tile.
    for (size_t i = 0; i < batch.support_size.size(); ++i) {
      batch.support_size[i] = std::array{0.0f, 1e-3f, 3.0f, 1e4f}[i % 4];
    }
    for (float skip_bits : {20.0f, kInfinity}) {
      batch.skip_bits = skip_bits;
      RunAndCompare(batch, EveryTestStream(), "bits " + std::to_string(skip_bits));
    }
  }
}

TEST_P(ContextPoolTest, MatchesTheFormulaForExtremeWeightsAndSizes) {
  constexpr int32_t kTokens = 200;
  std::vector<TestStream> streams = EveryTestStream();
  size_t turn = 0;
  for (const std::vector<float>& log_weight : ExtremeWeights(kTokens)) {
    for (float size : {0.0f, 1e-3f, 3.0f, 1e4f}) {
      for (float skip_bits : {20.0f, kInfinity}) {
        Batch batch = Make({kTokens}, 8);
        batch.log_weight = log_weight;
        batch.support_size.assign(kTokens, size);
        batch.skip_bits = skip_bits;
        RunAndCompare(batch, {streams[turn++ % streams.size()]},
                      "size " + std::to_string(size) + ", bits " + std::to_string(skip_bits));
      }
    }
  }
}

TEST_P(ContextPoolTest, SkippedTilesAreCountedAndChangeNoMoreThanTheBound) {
  Batch batch = Make({300}, 8);
  batch.log_weight.assign(300, 0.0f);
  for (float& size : batch.support_size) size = std::min(size, 3.0f);
  for (TestStream& stream : FewTestStreams()) {
    ContextPoolTiles all, some;
    batch.skip_bits = kInfinity;
    const std::vector<uint16_t> exact = Run(batch, stream, &all);
    EXPECT_EQ(all.computed, 5 * 6);
    EXPECT_EQ(all.skipped, 0);
    batch.skip_bits = 20;
    const std::vector<uint16_t> found = Run(batch, stream, &some);
    // 32 tokens on either side of the rows matter, which two tiles hold.
    EXPECT_EQ(some.computed, 5 * 2);
    EXPECT_EQ(some.skipped, 5 * 4);
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_NEAR(At(found, i), At(exact, i),
                  2 * 300 * 0x1p-20 + 2 * RoundingError(GetParam(), At(exact, i)))
          << i;
    }
    // Whatever is small enough to be skipped: never the tiles around the rows.
    batch.skip_bits = 0;
    Run(batch, stream, &some);
    EXPECT_EQ(some.computed, 5 * 2);
  }
}

TEST_P(ContextPoolTest, ATokenOfGreatWeightIsNotSkippedThoughItIsFar) {
  Batch batch = Make({200}, 8);
  batch.log_weight.assign(200, 0.0f);
  // At a distance of 65 a weight loses 26 bits, but this one has 20 to spare.
  batch.support_size.assign(200, 10.8f);
  batch.log_weight[128] = kMaxLogWeight;
  std::fill_n(batch.x.begin() + 128 * batch.stride(), batch.columns, 1000.0f);
  RunAndCompare(batch, EveryTestStream(), "one token");
}

TEST_P(ContextPoolTest, ReproducesAConstantExactly) {
  Batch batch = Make({1, 65, 200}, 16);
  std::ranges::fill(batch.x, Rounded(1.7f));
  batch.log_weight = Random(batch.tokens(), 20);
  for (TestStream& stream : FewTestStreams()) {
    for (uint16_t bits : Run(batch, stream)) ASSERT_EQ(FromHalf(GetParam(), bits), Rounded(1.7f));
  }
}

TEST_P(ContextPoolTest, ASequenceIsTheSameAloneAndBetweenOthersThatAreNan) {
  for (int32_t grid_width : {0, 5}) {
    Batch alone = Make({72}, 16);
    alone.prefix = 2;
    alone.grid_width = grid_width;
    Batch batch = Make({27, 72, 67}, 16);
    batch.prefix = alone.prefix;
    batch.grid_width = grid_width;
    for (std::vector<float>* values : {&batch.x, &batch.log_weight, &batch.support_size}) {
      std::ranges::fill(*values, kNan);
    }
    std::ranges::copy(alone.x, batch.x.begin() + 27 * batch.stride());
    std::ranges::copy(alone.log_weight, batch.log_weight.begin() + 27);
    std::ranges::copy(alone.support_size, batch.support_size.begin() + 27);
    for (TestStream& stream : EveryTestStream()) {
      const std::vector<uint16_t> expected = Run(alone, stream);
      EXPECT_EQ(RowsOf(batch, Run(batch, stream), 1), expected) << stream;
      // Sizes that the launcher cannot know better.
      EXPECT_EQ(RowsOf(batch, Run(batch, stream, nullptr, 150), 1), expected) << stream;
    }
  }
}

TEST_P(ContextPoolTest, ANanSpoilsWhatItBelongsToHoweverFarAway) {
  Batch batch = Make({150}, 8);
  for (float& size : batch.support_size) size = std::min(size, 2.0f);
  for (TestStream& stream : EveryTestStream()) {
    Batch sized = batch;
    sized.support_size[20] = kNan;
    Batch weighted = batch;
    weighted.log_weight[20] = kNan;
    const std::vector<uint16_t> by_size = Run(sized, stream);
    const std::vector<uint16_t> by_weight = Run(weighted, stream);
    for (int64_t i = 0; i < 150; ++i) {
      EXPECT_EQ(std::isnan(At(by_size, i * 8)), i == 20) << i;
      EXPECT_TRUE(std::isnan(At(by_weight, i * 8))) << i;
    }
  }
}

TEST_P(ContextPoolTest, RefusesWhatItCannotDo) {
  TestBuffer<uint16_t> x(64 * 64), out(64 * 64);
  const ContextPoolParams good = {.x = x.data(),
                                  .out = out.data(),
                                  .dtype = GetParam(),
                                  .columns = 16,
                                  .x_stride = 24,
                                  .out_stride = 16};
  TestStream stream = EveryTestStream().front();
  const auto run = [&](auto change) {
    ContextPoolParams params = good;
    change(params);
    return ContextPool(params, stream.handle());
  };
  // No sequence, nothing to launch.
  EXPECT_EQ(run([](auto&) {}), Status::kOk);
  EXPECT_EQ(run([](auto& p) {
              p.dtype = DType::kF32;
              p.sequences = p.tokens = p.max_length = 1;
            }),
            Status::kBadDType);
  EXPECT_EQ(run([](auto& p) { p.columns = 12; }), Status::kBadShape);
  EXPECT_EQ(run([](auto& p) { p.x_stride = 20; }), Status::kBadShape);
  EXPECT_EQ(run([](auto& p) { p.out_stride = 8; }), Status::kBadShape);
  EXPECT_EQ(run([&](auto& p) { p.x = x.data() + 4; }), Status::kBadShape);
  EXPECT_EQ(run([](auto& p) { p.max_length = (1 << 16) + 1; }), Status::kBadShape);
  EXPECT_EQ(run([](auto& p) { p.skip_bits = kNan; }), Status::kBadShape);
  EXPECT_EQ(run([](auto& p) { p.prefix = -1; }), Status::kBadShape);
  EXPECT_EQ(run([](auto& p) { p.outputs = {.rows = 1, .columns = 1}; }), Status::kBadShape);
}

#if !defined(__CUDACC__)
// 99 KiB a block is what most GPUs but data centres' have.
TEST_P(ContextPoolTest, FitsTheSharedMemoryOfSmallerGpus) {
  const Batch batch = Make({300}, 384);
  TestStream roomy = EveryTestStream().front();
  const std::vector<uint16_t> expected = Run(batch, roomy);
  for (const size_t kib : {99, 80, 64}) {
    TestStream stream(simt::LaunchOptions{.shared_bytes_limit = kib * 1024});
    EXPECT_EQ(Run(batch, stream), expected) << kib << " KiB";
  }
}

// What only the emulator counts.
TEST_P(ContextPoolTest, UsesWholeSectorsAndAllBanks) {
  for (int64_t columns : {256, 384}) {
    Batch batch = Make({128}, columns);
    batch.residual = PoolResidual::kAdd;
    batch.gap = 0;
    batch.x.resize(batch.tokens() * columns);
    TestStream stream = EveryTestStream().front();
    Run(batch, stream);
    EXPECT_EQ(stream.last_report().shared.Excess(), 0) << stream.last_report();
    EXPECT_EQ(stream.last_report().global.Excess(), 0) << stream.last_report();
  }
}
#endif

}  // namespace
}  // namespace contextpool::kernels::SIMT_BACKEND
