// Attention of packed sequences against its formula in double precision.

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/attention.h"
#include "tests/unit/kernels/cuda/attention_batch.h"
#include "tests/unit/kernels/cuda/half_values.h"
#include "tests/unit/kernels/cuda/test_device.cuh"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

class AttentionTest : public testing::TestWithParam<std::tuple<DType, int>> {
 protected:
  static AttentionBatch Make(const std::vector<int32_t>& lengths, int64_t heads = 1) {
    AttentionBatch batch = {.dtype = std::get<DType>(GetParam()),
                            .heads = heads,
                            .head_size = std::get<int>(GetParam())};
    for (const int32_t length : lengths) batch.Append(length);
    batch.FillRandom(/*seed=*/lengths.size() * 1000 + batch.tokens());
    return batch;
  }

  // Device memory that holds just the batch; `out` may be longer.
  struct Memory {
    explicit Memory(const AttentionBatch& batch, int64_t spare_tokens = 0)
        : qkv(batch.qkv),
          cu_lengths(batch.cu_lengths),
          out((batch.tokens() + spare_tokens) * batch.width()),
          params({.qkv = qkv.data(),
                  .cu_lengths = cu_lengths.data(),
                  .out = out.data(),
                  .dtype = batch.dtype,
                  .sequences = batch.sequences(),
                  .tokens = batch.tokens(),
                  .max_length = batch.max_length,
                  .heads = batch.heads,
                  .head_size = batch.head_size,
                  .scale = batch.scale()}) {}

    TestBuffer<uint16_t> qkv;
    TestBuffer<int32_t> cu_lengths;
    TestBuffer<uint16_t> out;
    AttentionParams params;
  };

  static std::vector<uint16_t> Run(const AttentionBatch& batch, TestStream& stream) {
    Memory memory(batch);
    EXPECT_EQ(Attention(memory.params, stream.handle()), Status::kOk) << stream.Finish();
    EXPECT_EQ(stream.Finish(), "");
    return memory.out.ToHost();
  }

  static std::vector<uint16_t> Run(const AttentionBatch& batch) {
    return Run(batch, EveryTestStream().front());
  }

  static void ExpectFormula(const AttentionBatch& batch, const std::vector<Expectation>& expected,
                            const std::vector<uint16_t>& found) {
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_NEAR(FromHalf(batch.dtype, found[i]), expected[i].value, expected[i].tolerance)
          << "token " << i / batch.width() << ", column " << i % batch.width();
    }
  }

  static void ExpectFormulaOn(std::vector<TestStream> streams, const AttentionBatch& batch) {
    const std::vector<Expectation> expected = ExpectedAttention(batch);
    for (TestStream& stream : streams) {
      SCOPED_TRACE(testing::Message() << stream);
      ASSERT_NO_FATAL_FAILURE(ExpectFormula(batch, expected, Run(batch, stream)));
    }
  }

  static void ExpectFormulaOnEverySchedule(const AttentionBatch& batch) {
    ExpectFormulaOn(EveryTestStream(), batch);
  }

  // For the kernel for long sequences, if the head size has one, but of fewer tokens to emulate:
  // 128 for each sequence are enough.
  static AttentionBatch MakeLong(const std::vector<int32_t>& lengths) {
    AttentionBatch batch = Make(lengths);
    batch.max_length = 300;
    return batch;
  }
};

TEST_P(AttentionTest, MatchesItsFormulaOnEveryScheduleWithShortSequences) {
  ExpectFormulaOnEverySchedule(Make({1, 15, 16, 17, 32, 2, 31}, /*heads=*/2));
}

TEST_P(AttentionTest, MatchesItsFormulaOnEveryScheduleWithAnySequences) {
  ExpectFormulaOnEverySchedule(Make({33, 1, 129, 48, 64, 65}));
}

TEST_P(AttentionTest, MatchesItsFormulaOnEveryScheduleWithLongSequences) {
  ExpectFormulaOnEverySchedule(MakeLong({129, 140}));
}

TEST_P(AttentionTest, MatchesItsFormulaForAnyLength) {
  // Batches of short, medium and long sequences, each through its own kernel.
  std::vector<std::vector<int32_t>> batches = {{}, {}, {128, 129, 160, 191, 193}, {}};
  for (int32_t length = 1; length <= 32; ++length) batches[0].push_back(length);
  for (int32_t length = 33; length <= 80; ++length) batches[1].push_back(length);
  batches[3] = {3, 256, 258, 300};
  for (size_t i = 0; i < batches.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "batch " << i);
    ASSERT_NO_FATAL_FAILURE(ExpectFormulaOn(FewTestStreams(), Make(batches[i])));
  }
}

TEST_P(AttentionTest, MatchesItsFormulaForManyTilesOfKeys) {
  // On the emulator in blocks of 128 queries and, where the average is short, of 64.
  for (const std::vector<int32_t>& lengths : {std::vector<int32_t>{3, 512}, {400, 1, 1, 1}}) {
    ASSERT_NO_FATAL_FAILURE(ExpectFormulaOn(FewTestStreams(), Make(lengths)));
  }
}

TEST_P(AttentionTest, MatchesItsFormulaWhereBlocksAreMoreThanAnyDeviceIsBusyWith) {
#if defined(__CUDACC__)
  constexpr int64_t kHeads = 200;
#else
  constexpr int64_t kHeads = 3;
#endif
  const AttentionBatch batch = Make({129, 300}, kHeads);
  ASSERT_NO_FATAL_FAILURE(ExpectFormula(batch, ExpectedAttention(batch), Run(batch)));
}

TEST_P(AttentionTest, FindsTheSequenceOfEachTileAmongHundreds) {
  std::vector<int32_t> lengths;
  for (int32_t s = 0; s < 200; ++s) lengths.push_back(s % 50 == 49 ? 70 + s % 3 : 1 + s % 2);
  const AttentionBatch batch = Make(lengths);
  ExpectFormula(batch, ExpectedAttention(batch), Run(batch));
}

TEST_P(AttentionTest, SurvivesScoresThatOverflowAnUnshiftedExponential) {
  for (AttentionBatch batch : {Make({20}), Make({70}), MakeLong({140})}) {
    // Whole numbers, so that the scores are exact: up to some 10000 in both directions.
    batch.Fill([](int64_t token, int part, int64_t column) {
      const int64_t mixed = (token * 37 + part * 11 + column * 101) % 97;
      return part == kValue ? mixed / 97.0f : 4.0f * (mixed - 48);
    });
    SCOPED_TRACE(batch.tokens());
    ASSERT_NO_FATAL_FAILURE(ExpectFormulaOnEverySchedule(batch));
  }
}

TEST_P(AttentionTest, EqualScoresGiveTheMean) {
  // Each key counts, those at a tile's edge too; one too many would count like the others.
  for (const int32_t length : {1, 7, 16, 31, 33, 47, 63, 65, 127, 150}) {
    AttentionBatch batch = Make({length});
    const AttentionBatch random = batch;
    batch.Fill([&](int64_t token, int part, int64_t column) {
      return part == kQuery ? 0 : random.At(token, part, column);
    });
    SCOPED_TRACE(length);
    ExpectFormula(batch, ExpectedAttention(batch), Run(batch));
  }
}

TEST_P(AttentionTest, EqualScoresGiveTheMeanInTheKernelForLongSequencesToo) {
  for (const int32_t length : {1, 16, 33, 63, 65, 127, 150}) {
    AttentionBatch batch = Make({length, 260});
    const AttentionBatch random = batch;
    batch.Fill([&](int64_t token, int part, int64_t column) {
      return part == kQuery ? 0 : random.At(token, part, column);
    });
    SCOPED_TRACE(length);
    ExpectFormula(batch, ExpectedAttention(batch), Run(batch));
  }
}

TEST_P(AttentionTest, ValuesThatAgreeComeOutUnchanged) {
  for (const int32_t length : {31, 150}) {
    AttentionBatch batch = Make({length});
    const AttentionBatch random = batch;
    batch.Fill([&](int64_t token, int part, int64_t column) {
      return random.At(part == kValue ? 0 : token, part, column);
    });
    const std::vector<uint16_t> found = Run(batch);
    for (size_t i = 0; i < found.size(); ++i) {
      const int64_t column = static_cast<int64_t>(i) % batch.width();
      ASSERT_EQ(FromHalf(batch.dtype, found[i]), batch.At(0, kValue, column)) << i;
    }
  }
}

TEST_P(AttentionTest, ASequenceDoesNotDependOnItsNeighbours) {
  // Alone, each length runs through the kernel and the tiles for its own length.
  for (const std::vector<int32_t>& lengths :
       {std::vector<int32_t>{5, 32, 33, 16, 64, 100}, {31, 70, 150, 300}}) {
    const AttentionBatch batch = Make(lengths);
    const std::vector<uint16_t> together = Run(batch);
    for (int64_t s = 0; s < batch.sequences(); ++s) {
      EXPECT_EQ(Run(batch.Alone(s)), batch.PartOf(together, s)) << "sequence " << s;
    }
  }
}

TEST_P(AttentionTest, ANanStaysInItsSequence) {
  for (const AttentionBatch& clean : {Make({21, 1, 21}, /*heads=*/2), Make({21, 19, 21}),
                                      Make({21, 70, 21}), MakeLong({128, 130})}) {
    AttentionBatch batch = clean;
    batch.Fill([&](int64_t token, int part, int64_t column) {
      const bool is_own = token >= batch.cu_lengths[1] && token < batch.cu_lengths[2];
      return is_own ? clean.At(token, part, column) : std::nanf("");
    });
    const std::vector<uint16_t> expected = clean.PartOf(Run(clean), 1);
    for (TestStream& stream : EveryTestStream()) {
      SCOPED_TRACE(testing::Message() << expected.size() << " elements, " << stream);
      const std::vector<uint16_t> found = Run(batch, stream);
      EXPECT_EQ(batch.PartOf(found, 1), expected);
      for (int64_t other = 0; other < batch.sequences(); other += 2) {
        for (const uint16_t bits : batch.PartOf(found, other)) {
          ASSERT_TRUE(std::isnan(FromHalf(batch.dtype, bits)));
        }
      }
    }
  }
}

TEST_P(AttentionTest, ANanKeySpoilsEveryRowOfItsSequence) {
  for (const int32_t length : {20, 70}) {
    AttentionBatch batch = Make({length});
    batch.qkv[((length - 1) * 3 + kKey) * batch.width()] = ToHalf(batch.dtype, std::nanf(""));
    for (TestStream& stream : EveryTestStream()) {
      for (const uint16_t bits : Run(batch, stream)) {
        ASSERT_TRUE(std::isnan(FromHalf(batch.dtype, bits))) << length << ", " << stream;
      }
    }
  }
}

TEST_P(AttentionTest, TakesEmptySequencesAndMoreTokensThanThereAre) {
  // As a CUDA graph does that is used for any batch up to its size.
  const AttentionBatch batch = Make({0, 30, 0, 0, 25, 0});
  const std::vector<uint16_t> expected = Run(batch);
  AttentionBatch padded = batch;
  padded.qkv.resize((batch.tokens() + 100) * 3 * batch.width(), 0xffff);
  for (const int64_t max_length : {32, 64, 512}) {
    for (TestStream& stream : EveryTestStream()) {
      SCOPED_TRACE(testing::Message() << "at most " << max_length << ", " << stream);
      Memory memory(padded, /*spare_tokens=*/100);
      memory.params.tokens = batch.tokens() + 100;
      memory.params.max_length = max_length;
      ASSERT_EQ(Attention(memory.params, stream.handle()), Status::kOk) << stream.Finish();
      const std::vector<uint16_t> found = memory.out.ToHost();
      const auto end = found.begin() + batch.tokens() * batch.width();
      EXPECT_EQ(std::vector<uint16_t>(found.begin(), end), expected);
      // Nothing else is written.
      EXPECT_EQ(std::vector<uint16_t>(end, found.end()),
                std::vector<uint16_t>(100 * batch.width(), 0xffff));
    }
  }
}

TEST_P(AttentionTest, RefusesWhatItCannotCompute) {
  const AttentionBatch batch = Make({3});
  Memory memory(batch);
  TestStream stream = EveryTestStream().front();
  const auto with = [&](const auto& change) {
    AttentionParams params = memory.params;
    change(params);
    return Attention(params, stream.handle());
  };
  EXPECT_EQ(with([](auto& p) { p.head_size = 48; }), Status::kBadShape);
  EXPECT_EQ(with([](auto& p) { p.heads = 0; }), Status::kBadShape);
  EXPECT_EQ(with([](auto& p) { p.heads = 65'536; }), Status::kBadShape);
  EXPECT_EQ(with([](auto& p) { p.tokens = -1; }), Status::kBadShape);
  EXPECT_EQ(with([](auto& p) { p.scale = 0; }), Status::kBadShape);
  EXPECT_EQ(with([&](auto& p) { p.qkv = memory.qkv.data() + 1; }), Status::kBadShape);
  EXPECT_EQ(with([&](auto& p) { p.out = memory.out.data() + 4; }), Status::kBadShape);
  EXPECT_EQ(with([](auto& p) { p.dtype = DType::kF32; }), Status::kBadDType);
  // Nothing to launch.
  EXPECT_EQ(with([](auto& p) { p.sequences = 0; }), Status::kOk);
  EXPECT_EQ(with([](auto& p) { p.tokens = p.max_length = 0; }), Status::kOk);
}

#if !defined(__CUDACC__)

TEST_P(AttentionTest, MeetsNoBankConflictAndWastesNoSectorOfItsTensors) {
  for (const std::vector<int32_t>& lengths :
       {std::vector<int32_t>{3, 17, 32}, {3, 40, 70}, {3, 258}}) {
    TestStream stream = EveryTestStream().front();
    Run(Make(lengths, /*heads=*/2), stream);
    const simt::LaunchReport& report = stream.last_report();
    EXPECT_GT(report.shared.requests, 0);
    EXPECT_EQ(report.shared.Excess(), 0) << report;
    for (const simt::LineCounts& line : report.lines) {
      const bool is_tensor = std::string(line.site.file).ends_with("attention_tile.cuh");
      if (line.space == simt::Space::kGlobal && is_tensor) {
        EXPECT_EQ(line.counts.Excess(), 0) << report;
      }
    }
  }
}

TEST_P(AttentionTest, ReadsAndWritesEachElementOfAShortSequenceOnce) {
  const AttentionBatch batch = Make({3, 17, 32}, /*heads=*/2);
  TestStream stream = EveryTestStream().front();
  Run(batch, stream);
  int64_t sectors = 0;
  for (const simt::LineCounts& line : stream.last_report().lines) {
    const bool is_tensor = std::string(line.site.file).ends_with("attention_tile.cuh");
    if (line.space == simt::Space::kGlobal && is_tensor) sectors += line.counts.transactions;
  }
  constexpr int kSectorBytes = 32;
  EXPECT_EQ(sectors, batch.tokens() * 4 * batch.width() * 2 / kSectorBytes);
}

#endif

INSTANTIATE_TEST_SUITE_P(Half, AttentionTest,
                         testing::Combine(testing::Values(DType::kBF16, DType::kF16),
                                          testing::Values(32, 64, 128)),
                         [](const auto& info) {
                           return std::string(Name(std::get<DType>(info.param))) + "Size" +
                                  std::to_string(std::get<int>(info.param));
                         });

}  // namespace
}  // namespace contextpool::kernels::SIMT_BACKEND
