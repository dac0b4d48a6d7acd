// all-MiniLM-L6-v2 against sentence-transformers on real texts.

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/parity/parity.h"

namespace contextpool::engine {
namespace {

constexpr OutputSpec kAsTheModelSays = {TaskKind::kEmbed, Pooling::kMean, true};
constexpr int64_t kTokenBudget = 1536;

double Cosine(const Row& a, const Row& b) {
  double product = 0;
  double squares_a = 0;
  double squares_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    product += static_cast<double>(a[i]) * b[i];
    squares_a += static_cast<double>(a[i]) * a[i];
    squares_b += static_cast<double>(b[i]) * b[i];
  }
  return product / std::sqrt(squares_a * squares_b);
}

class MiniLmTest : public ::testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    const char* directory = std::getenv("CONTEXTPOOL_MINILM_DIR");
    directory_ = directory == nullptr ? "" : directory;
    ASSERT_TRUE(std::filesystem::exists(directory_ / "model.safetensors"))
        << "all-MiniLM-L6-v2 is not at CONTEXTPOOL_MINILM_DIR=" << directory_
        << ": run script/bootstrap, which fetches it";
  }

  std::filesystem::path directory_;
};

TEST_P(MiniLmTest, IsReadAsItsDirectorySays) {
  const TestModel model(directory_, GetParam());
  EXPECT_EQ(model.info().architecture, "BertModel");
  EXPECT_EQ(model.info().pooling, Pooling::kMean);
  EXPECT_TRUE(model.info().normalize);
  EXPECT_EQ(model.info().max_tokens, 256);
  EXPECT_EQ(model.info().embedding_dimensions, 384);
  EXPECT_EQ(model.info().vocabulary_size, 30522);
}

TEST_P(MiniLmTest, EmbedsAsSentenceTransformersDoes) {
  const TestModel model(directory_, GetParam());
  const Golden golden(GoldenFolder() / "minilm.safetensors");
  const std::vector<Row> wanted = golden.Rows("embeddings");
  ASSERT_GE(wanted.size(), 220u);
  const std::vector<Row> found = model.Run(golden.sequences, kAsTheModelSays, kTokenBudget);
  double lowest_cosine = 1;
  ASSERT_EQ(found.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    const double cosine = Cosine(found[i], wanted[i]);
    EXPECT_GT(cosine, 0.99999) << "text " << i;
    lowest_cosine = std::min(lowest_cosine, cosine);
  }
  const double error = MaxError(found, wanted, 1);
  RecordError("one_minus_cosine", 1 - lowest_cosine);
  RecordError("element_error", error);
  EXPECT_LT(error, 1e-4);
}

TEST_P(MiniLmTest, ATextAloneEqualsItselfInABatch) {
  const TestModel model(directory_, GetParam());
  const Golden golden(GoldenFolder() / "minilm.safetensors");
  const double error = MaxError(model.Run(golden.sequences, kAsTheModelSays, kTokenBudget),
                                model.Run(golden.sequences, kAsTheModelSays, 1), 1);
  RecordError("alone_error", error);
  EXPECT_LE(error, 2e-6);
}

INSTANTIATE_TEST_SUITE_P(
    Backends, MiniLmTest,
    ::testing::Values(Backend{"Fastest", {.threads = 2, .isa = {}, .gemm = {}}},
                      Backend{"LibTorch", {.threads = 1, .isa = {}, .gemm = CpuGemm::kLibTorch}}),
    ::testing::PrintToStringParamName());

}  // namespace
}  // namespace contextpool::engine
