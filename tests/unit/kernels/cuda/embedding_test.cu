// Embedding + LayerNorm against its formula in double precision.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "kernels/embedding.h"
#include "tests/unit/kernels/cuda/half_test.cuh"

namespace contextpool::kernels::SIMT_BACKEND {
namespace {

constexpr float kEps = 1e-5f;
constexpr int32_t kVocabulary = 11;

// Where each sequence begins, and their end.
std::vector<int32_t> CumulativeLengths(const std::vector<int32_t>& lengths) {
  std::vector<int32_t> result = {0};
  for (const int32_t length : lengths) result.push_back(result.back() + length);
  return result;
}

struct Tables {
  std::vector<uint16_t> words;
  std::vector<uint16_t> positions;
  std::vector<uint16_t> token_type;
  std::vector<uint16_t> gamma;
  std::vector<uint16_t> beta;
};

class EmbeddingTest : public HalfTest {
 protected:
  // Word 0 is NaN.
  Tables RandomTables(int64_t positions, int64_t columns, bool has_token_type) {
    Tables tables = {.words = Random(kVocabulary * columns, 2),
                     .positions = Random(positions * columns),
                     .token_type = has_token_type ? Random(columns) : std::vector<uint16_t>(),
                     .gamma = Random(columns),
                     .beta = Random(columns)};
    std::fill_n(tables.words.begin(), columns, Half(kNan));
    return tables;
  }

  // Any word but 0.
  std::vector<int32_t> RandomIds(int64_t tokens) {
    std::vector<int32_t> ids(tokens);
    for (int32_t& id : ids) id = 1 + static_cast<int32_t>(random_() % (kVocabulary - 1));
    return ids;
  }

  // The rows of out, of `tokens` tokens if there are more than the lengths say.
  std::vector<uint16_t> Run(const Tables& tables, std::vector<int32_t> ids,
                            const std::vector<int32_t>& lengths, TestStream& stream) {
    const auto columns = static_cast<int64_t>(tables.gamma.size());
    const auto tokens = static_cast<int64_t>(ids.size());
    TestBuffer<uint16_t> words(tables.words), positions(tables.positions),
        token_type(tables.token_type), gamma(tables.gamma), beta(tables.beta),
        out(tokens * columns);
    TestBuffer<int32_t> device_ids(ids), cu_lengths(CumulativeLengths(lengths));
    const EmbeddingParams params = {
        .ids = device_ids.data(),
        .cu_lengths = cu_lengths.data(),
        .words = words.data(),
        .positions = positions.data(),
        .token_type = tables.token_type.empty() ? nullptr : token_type.data(),
        .gamma = gamma.data(),
        .beta = beta.data(),
        .out = out.data(),
        .dtype = GetParam(),
        .sequences = static_cast<int64_t>(lengths.size()),
        .tokens = tokens,
        .columns = columns,
        .eps = kEps};
    EXPECT_EQ(Embedding(params, stream.handle()), Status::kOk);
    EXPECT_EQ(stream.Finish(), "");
    return out.ToHost();
  }

  void RunAndCompare(const Tables& tables, const std::vector<int32_t>& ids,
                     const std::vector<int32_t>& lengths, std::vector<TestStream> streams) {
    const auto columns = static_cast<int64_t>(tables.gamma.size());
    const std::vector<int32_t> begins = CumulativeLengths(lengths);
    for (TestStream& stream : streams) {
      SCOPED_TRACE(testing::Message() << columns << " columns, " << stream);
      const std::vector<uint16_t> found = Run(tables, ids, lengths, stream);
      for (int32_t token = 0; token < begins.back(); ++token) {
        const int32_t begin = *(std::ranges::upper_bound(begins, token) - 1);
        std::vector<double> row(columns);
        for (int64_t i = 0; i < columns; ++i) {
          row[i] = At(tables.words, ids[token] * columns + i) + At(tables.token_type, i) +
                   At(tables.positions, (token - begin) * columns + i);
        }
        row = Normalized(row, tables.gamma, tables.beta, kEps);
        for (int64_t i = 0; i < columns; ++i) {
          // Rounded once, after a computation in float.
          ASSERT_NEAR(At(found, token * columns + i), row[i],
                      RoundingError(GetParam(), row[i]) + 1e-5)
              << "token " << token << " column " << i;
        }
      }
    }
  }
};

TEST_P(EmbeddingTest, MatchesItsFormulaOnEveryScheduleWithAnyLengths) {
  struct Case {
    std::vector<int32_t> lengths;
    int64_t columns;
    bool has_token_type;
  };
  for (const Case& c : {Case{{1}, 8, false},
                        {{3, 1, 1, 12, 2, 7}, 264, true},
                        {{2, 3}, 384, true},
                        {{1, 4}, 768, false},
                        {{2, 1}, 1024, true},
                        {{1, 2}, 2048, true},
                        {{40, 1, 70}, 8, true}}) {
    const int64_t longest = std::ranges::max(c.lengths);
    const Tables tables = RandomTables(longest, c.columns, c.has_token_type);
    RunAndCompare(tables, RandomIds(std::accumulate(c.lengths.begin(), c.lengths.end(), 0)),
                  c.lengths, EveryTestStream());
    if (HasFatalFailure()) return;
  }
}

TEST_P(EmbeddingTest, MatchesItsFormulaForLongSequences) {
  // A long one, and more of them than a warp has lanes.
  const Tables tables = RandomTables(2048, 8, true);
  RunAndCompare(tables, RandomIds(2049), {1, 2048}, FewTestStreams());
  const std::vector<int32_t> lengths(70, 3);
  RunAndCompare(tables, RandomIds(210), lengths, FewTestStreams());
}

TEST_P(EmbeddingTest, MatchesItsFormulaForExtremeWords) {
  for (const int64_t columns : {8, 264}) {
    Tables tables = RandomTables(3, columns, false);
    tables.words = ExtremeRows(columns);
    tables.positions.assign(3 * columns, 0);
    RunAndCompare(tables, {5, 4, 3, 2, 1, 0}, {2, 1, 3}, EveryTestStream());
  }
}

TEST_P(EmbeddingTest, SequencesDoNotDependOnTheirNeighboursBitForBit) {
  constexpr int64_t kColumns = 264;
  const Tables tables = RandomTables(8, kColumns, true);
  const std::vector<int32_t> own = RandomIds(5);
  TestStream alone = EveryTestStream().front();
  const std::vector<uint16_t> expected = Run(tables, own, {5}, alone);
  // Neighbours of word 0, which is NaN.
  std::vector<int32_t> ids(3 + 5 + 8, 0);
  std::ranges::copy(own, ids.begin() + 3);
  for (TestStream& stream : EveryTestStream()) {
    const std::vector<uint16_t> found = Run(tables, ids, {3, 5, 8}, stream);
    EXPECT_EQ(Part(found, 3 * kColumns, 5 * kColumns), expected) << stream;
  }
}

TEST_P(EmbeddingTest, TokensBeyondTheLastSequenceAreNeitherReadNorWritten) {
  constexpr int64_t kColumns = 16;
  const Tables tables = RandomTables(3, kColumns, false);
  std::vector<int32_t> ids = RandomIds(4);
  TestStream exact = EveryTestStream().front();
  const std::vector<uint16_t> expected = Run(tables, ids, {3, 1}, exact);
  ids.resize(11, -1);
  for (TestStream& stream : EveryTestStream()) {
    // Sequences, too, may be fewer than stated: empty ones, more of them than there are tokens.
    const std::vector<uint16_t> found =
        Run(tables, ids, {0, 3, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0}, stream);
    EXPECT_EQ(Part(found, 0, 4 * kColumns), expected) << stream;
    EXPECT_EQ(Part(found, 4 * kColumns, 7 * kColumns), std::vector<uint16_t>(7 * kColumns, 0xffff))
        << stream;
  }
}

TEST_P(EmbeddingTest, LoadsAndStoresWholeSectors) {
  for (const int64_t columns : {16, 384, 768}) {
    TestStream stream = EveryTestStream().front();
    Run(RandomTables(6, columns, true), RandomIds(9), {6, 3}, stream);
    ExpectNoExcess(stream);
  }
}

TEST(EmbeddingLimitsTest, RefusesWhatItCannotTake) {
  const auto status = [](auto change) {
    EmbeddingParams params = {.dtype = DType::kBF16, .sequences = 0, .tokens = 0, .columns = 384};
    change(params);
    return Embedding(params, EveryTestStream().front().handle());
  };
  EXPECT_EQ(status([](EmbeddingParams&) {}), Status::kOk);
  EXPECT_EQ(status([](EmbeddingParams& p) { p.columns = 12; }), Status::kBadShape);
  EXPECT_EQ(status([](EmbeddingParams& p) { p.columns = 2056; }), Status::kBadShape);
  EXPECT_EQ(status([](EmbeddingParams& p) { p.columns = 0; }), Status::kBadShape);
  // Sequences that are all empty, and tokens of none.
  EXPECT_EQ(status([](EmbeddingParams& p) { p.sequences = 1; }), Status::kOk);
  EXPECT_EQ(status([](EmbeddingParams& p) { p.tokens = 1; }), Status::kOk);
  EXPECT_EQ(status([](EmbeddingParams& p) { p.sequences = -1; }), Status::kBadShape);
  EXPECT_EQ(status([](EmbeddingParams& p) { p.tokens = -1; }), Status::kBadShape);
  EXPECT_EQ(status([](EmbeddingParams& p) { p.words = reinterpret_cast<const void*>(8); }),
            Status::kBadShape);
  EXPECT_EQ(status([](EmbeddingParams& p) {
              p.dtype = DType::kF32;
              p.tokens = p.sequences = 1;
            }),
            Status::kBadDType);
}

CONTEXTPOOL_TEST_EVERY_HALF(EmbeddingTest);

}  // namespace
}  // namespace contextpool::kernels::SIMT_BACKEND
