// A sequence that turns to NaN inside a batch changes no other.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "gtest/gtest.h"
#include "tests/parity/parity.h"
#include "tests/unit/engine/model/model_files.h"

namespace contextpool::engine {
namespace {

constexpr char kCheckpoint[] = "single_label_gelu_f32";
constexpr int32_t kPoisoned = 7;
constexpr int32_t kHealthy = 8;

std::vector<TokenIds> WithToken(std::vector<TokenIds> sequences, int32_t from, int32_t to) {
  for (TokenIds& sequence : sequences) std::replace(sequence.begin(), sequence.end(), from, to);
  return sequences;
}

bool AllNan(const Row& row) {
  return std::all_of(row.begin(), row.end(), [](float value) { return std::isnan(value); });
}

class NanNeighbourTest : public ::testing::TestWithParam<Backend> {};

TEST_P(NanNeighbourTest, ChangesNobodyElse) {
  TempDirectory directory;
  CopyPoisoned(GoldenCheckpoint(kCheckpoint), directory, kPoisoned);
  const TestModel model(directory.path(), GetParam());
  const Golden golden(GoldenCheckpoint(kCheckpoint) / "expected.safetensors");
  const std::vector<TokenIds> healthy = WithToken(golden.sequences, kPoisoned, kHealthy);
  const std::vector<TokenIds> batch(healthy.begin() + 5, healthy.begin() + 25);

  for (const OutputSpec& output : {OutputSpec{TaskKind::kEmbed, Pooling::kMean, true},
                                   OutputSpec{TaskKind::kEmbed, Pooling::kMax, false},
                                   OutputSpec{TaskKind::kClassify, Pooling::kMean, false}}) {
    const std::vector<OutputSpec> outputs(batch.size(), output);
    const std::vector<Row> wanted = model.RunBatch(batch, outputs);
    for (size_t ill = 0; ill < batch.size(); ++ill) {
      std::vector<TokenIds> poisoned = batch;
      poisoned[ill][poisoned[ill].size() / 2] = kPoisoned;
      const std::vector<Row> found = model.RunBatch(poisoned, outputs);
      for (size_t i = 0; i < batch.size(); ++i) {
        if (i == ill) {
          EXPECT_TRUE(AllNan(found[i])) << "sequence " << i << " hides its NaN";
        } else {
          EXPECT_EQ(found[i], wanted[i]) << "sequence " << i << " beside " << ill;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, NanNeighbourTest, ::testing::ValuesIn(Backends()),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace contextpool::engine
