#include "engine/model/bert.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <span>

#include "engine/device/cpu_device.h"
#include "tests/unit/engine/model/allocations.h"
#include "tests/unit/engine/model/bert_formula.h"
#include "tests/unit/engine/model/model_files.h"

namespace contextpool::engine {
namespace {

using testing::HasSubstr;

constexpr double kTolerance = 5e-6;

struct DeviceChoice {
  const char* name;
  kernels::Isa isa;
  CpuGemm gemm;
};
const DeviceChoice kDevices[] = {{"packed", kernels::Isa::kAvx2, CpuGemm::kPacked},
                                 {"reference", kernels::Isa::kReference, CpuGemm::kPacked},
                                 {"libtorch", kernels::BestIsa(), CpuGemm::kLibTorch}};

class BertTest : public testing::TestWithParam<DeviceChoice> {
 protected:
  void SetUp() override {
    if (GetParam().isa > kernels::BestIsa()) GTEST_SKIP() << "this CPU lacks AVX2";
    device_ = *CreateCpuDevice({.threads = 2, .isa = GetParam().isa, .gemm = GetParam().gemm});
  }

  absl::StatusOr<std::unique_ptr<Model>> Load(const std::map<std::string, TestTensor>& tensors) {
    directory_.Write("config.json", {{"model_type", "bert"},
                                     {"architectures", {"BertForSequenceClassification"}},
                                     {"hidden_size", kHidden},
                                     {"num_hidden_layers", kLayers},
                                     {"num_attention_heads", kHeads},
                                     {"intermediate_size", kInner},
                                     {"vocab_size", kVocabulary},
                                     {"max_position_embeddings", kPositions},
                                     {"hidden_act", "gelu"},
                                     {"id2label", {{"0", "a"}, {"1", "b"}, {"2", "c"}}}});
    directory_.Write("model.safetensors", absl::string_view(SafetensorsBytes(tensors)));
    ModelSpec spec;
    spec.name = "tiny";
    spec.directory = directory_.path();
    return LoadModel(spec, *device_);
  }

  // One output row per sequence: all embeddings or all logits.
  std::vector<std::vector<float>> Run(const Model& model,
                                      const std::vector<std::vector<int32_t>>& sequences,
                                      const OutputSpec& output) {
    std::vector<int32_t> ids, cu_lengths = {0};
    int32_t longest = 0;
    for (const std::vector<int32_t>& sequence : sequences) {
      ids.insert(ids.end(), sequence.begin(), sequence.end());
      cu_lengths.push_back(static_cast<int32_t>(ids.size()));
      longest = std::max(longest, static_cast<int32_t>(sequence.size()));
    }
    const std::vector<OutputSpec> outputs(sequences.size(), output);
    const PackedBatch batch = {ids, {}, cu_lengths, outputs, longest};
    Arena arena =
        *Arena::Create(*device_, model.WorkspaceBytes({batch.total_tokens(), batch.sequences()}));
    const absl::StatusOr<ModelOutput> result = model.Forward(batch, arena);
    EXPECT_TRUE(result.ok()) << result.status();
    EXPECT_TRUE(device_->Synchronize().ok());
    const TensorView& view = output.task == TaskKind::kEmbed ? result->embeddings : result->logits;
    std::vector<std::vector<float>> rows;
    for (int64_t i = 0; i < view.shape[0]; ++i) {
      const float* row = view.as<float>() + i * view.shape[1];
      rows.emplace_back(row, row + view.shape[1]);
    }
    return rows;
  }

  static std::vector<int32_t> Sequence(int length, int seed) {
    std::vector<int32_t> ids(length);
    // Id 29 is left out: a test gives it a NaN.
    for (int i = 0; i < length; ++i) ids[i] = (i * 7 + seed * 11) % (kVocabulary - 1);
    return ids;
  }

  BertFormula weights_;
  TempDirectory directory_;
  std::unique_ptr<Device> device_;
};

INSTANTIATE_TEST_SUITE_P(Devices, BertTest, testing::ValuesIn(kDevices),
                         [](const testing::TestParamInfo<DeviceChoice>& info) {
                           return info.param.name;
                         });

const std::vector<int> kLengths = {1, 2, 5, 6, 7, 8, 16, 17, 31, 40};
constexpr OutputSpec kLogits = {.task = TaskKind::kClassify};

TEST_P(BertTest, LogitsMatchTheFormulaForEveryLength) {
  const auto model = Load(weights_.Tensors());
  ASSERT_TRUE(model.ok()) << model.status();
  std::vector<std::vector<int32_t>> sequences;
  for (int length : kLengths) sequences.push_back(Sequence(length, length));
  const auto found = Run(**model, sequences, kLogits);
  for (size_t i = 0; i < sequences.size(); ++i) {
    const Row expected = weights_.Logits(sequences[i]);
    ASSERT_EQ(found[i].size(), expected.size());
    for (int c = 0; c < kLabels; ++c) EXPECT_NEAR(found[i][c], expected[c], kTolerance);
  }
}

TEST_P(BertTest, EmbeddingsPoolAndNormalizeAsAsked) {
  const auto model = Load(weights_.Tensors());
  ASSERT_TRUE(model.ok()) << model.status();
  const std::vector<int32_t> ids = Sequence(9, 1);
  const std::vector<Row> hidden = weights_.Encode(ids);
  Row mean(kHidden), peak = hidden[0];
  double squares = 0;
  for (int c = 0; c < kHidden; ++c) {
    for (const Row& row : hidden) {
      mean[c] += row[c] / 9;
      peak[c] = std::max(peak[c], row[c]);
    }
    squares += mean[c] * mean[c];
  }
  const auto embed = [&](Pooling pooling, bool normalize) {
    return Run(**model, {ids}, {.pooling = pooling, .normalize = normalize})[0];
  };
  for (int c = 0; c < kHidden; ++c) {
    EXPECT_NEAR(embed(Pooling::kMean, false)[c], mean[c], kTolerance);
    EXPECT_NEAR(embed(Pooling::kMean, true)[c], mean[c] / std::sqrt(squares), kTolerance);
    EXPECT_NEAR(embed(Pooling::kMax, false)[c], peak[c], kTolerance);
    EXPECT_NEAR(embed(Pooling::kCls, false)[c], hidden[0][c], kTolerance);
    EXPECT_NEAR(embed(Pooling::kLastToken, false)[c], hidden[8][c], kTolerance);
  }
}

TEST_P(BertTest, ASequenceAloneEqualsItselfInABatch) {
  const auto model = Load(weights_.Tensors());
  ASSERT_TRUE(model.ok()) << model.status();
  std::vector<std::vector<int32_t>> sequences;
  for (int length : kLengths) sequences.push_back(Sequence(length, length));
  const OutputSpec normalized = {.normalize = true};
  const auto embeddings = Run(**model, sequences, normalized);
  const auto logits = Run(**model, sequences, kLogits);
  for (size_t i = 0; i < sequences.size(); ++i) {
    const auto embedding = Run(**model, {sequences[i]}, normalized)[0];
    const auto logit = Run(**model, {sequences[i]}, kLogits)[0];
    if (GetParam().gemm == CpuGemm::kPacked) {
      EXPECT_EQ(embedding, embeddings[i]) << "bit for bit";
      EXPECT_EQ(logit, logits[i]) << "bit for bit";
    }
    for (int c = 0; c < kHidden; ++c) EXPECT_NEAR(embedding[c], embeddings[i][c], 2e-6);
    for (int c = 0; c < kLabels; ++c) EXPECT_NEAR(logit[c], logits[i][c], 1e-5);
  }
}

TEST_P(BertTest, ANanInOneSequenceChangesNobodyElse) {
  const auto clean = Load(weights_.Tensors());
  ASSERT_TRUE(clean.ok()) << clean.status();
  const std::vector<std::vector<int32_t>> good = {Sequence(5, 1), Sequence(13, 2), Sequence(3, 4)};
  const auto expected = Run(**clean, good, kLogits);
  weights_.at("embeddings.word_embeddings.weight")[29 * kHidden + 3] = std::nanf("");
  const auto poisoned = Load(weights_.Tensors());
  ASSERT_TRUE(poisoned.ok()) << poisoned.status();
  std::vector<int32_t> bad = Sequence(11, 3);
  bad[4] = 29;
  const auto found = Run(**poisoned, {good[0], bad, good[1], bad, good[2]}, kLogits);
  for (int c = 0; c < kLabels; ++c) {
    EXPECT_TRUE(std::isnan(found[1][c]) && std::isnan(found[3][c]));
    EXPECT_NEAR(found[0][c], expected[0][c], 1e-5);
    EXPECT_NEAR(found[2][c], expected[1][c], 1e-5);
    EXPECT_NEAR(found[4][c], expected[2][c], 1e-5);
  }
}

TEST_P(BertTest, EmbeddingsAndLogitsOfOneBatchKeepTheirOrder) {
  const auto model = Load(weights_.Tensors());
  ASSERT_TRUE(model.ok()) << model.status();
  const std::vector<int32_t> a = Sequence(4, 1), b = Sequence(6, 2), c = Sequence(2, 3);
  std::vector<int32_t> ids = a;
  ids.insert(ids.end(), b.begin(), b.end());
  ids.insert(ids.end(), c.begin(), c.end());
  const std::vector<int32_t> cu_lengths = {0, 4, 10, 12};
  const std::vector<OutputSpec> outputs = {kLogits, {.pooling = Pooling::kCls}, kLogits};
  Arena arena = *Arena::Create(*device_, (*model)->WorkspaceBytes({12, 3}));
  const auto result = (*model)->Forward({ids, {}, cu_lengths, outputs, 6}, arena);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->embeddings.shape[0], 1);
  ASSERT_EQ(result->logits.shape[0], 2);
  EXPECT_NEAR(result->embeddings.as<float>()[0], weights_.Encode(b)[0][0], kTolerance);
  EXPECT_NEAR(result->logits.as<float>()[0], weights_.Logits(a)[0], kTolerance);
  EXPECT_NEAR(result->logits.as<float>()[kLabels], weights_.Logits(c)[0], kTolerance);
}

TEST_P(BertTest, AWarmForwardPassDoesNotAllocate) {
  if (GetParam().gemm == CpuGemm::kLibTorch) GTEST_SKIP() << "LibTorch allocates tensor headers";
  const auto plain = Load(weights_.Tensors());
  ASSERT_TRUE(plain.ok()) << plain.status();
  ModelSpec spec;
  spec.directory = ContextPoolCheckpoint("exp_mean_add_after_layer_relu_k5_f16");
  const auto context_pool = LoadModel(spec, *device_);
  ASSERT_TRUE(context_pool.ok()) << context_pool.status();
  const std::vector<int32_t> ids = Sequence(24, 1);
  const std::vector<int32_t> few = {0, 5, 12}, many = {0, 3, 6, 9, 12, 15, 18, 21, 24};
  // More sequences than the first batch had, of one task and of the other.
  const std::vector<OutputSpec> mixed = {kLogits, {}}, embed(8), classify(8, kLogits);
  const std::span<const int32_t> all = ids;
  const PackedBatch warm_up = {all.first(12), {}, few, mixed, 7};
  const PackedBatch batches[] = {warm_up, {all, {}, many, embed, 3}, {all, {}, many, classify, 3}};
  for (const Model* model : {plain->get(), context_pool->get()}) {
    Arena arena = *Arena::Create(*device_, model->WorkspaceBytes({24, 8}));
    ASSERT_TRUE(model->Forward(warm_up, arena).ok());
    for (const PackedBatch& batch : batches) {
      const int64_t before = Allocations();
      arena.Reset();
      const bool good = model->Forward(batch, arena).ok() && device_->Synchronize().ok();
      EXPECT_EQ(Allocations(), before);
      EXPECT_TRUE(good);
    }
  }
}

TEST_P(BertTest, RefusesAWorkspaceThatIsTooSmall) {
  const auto model = Load(weights_.Tensors());
  ASSERT_TRUE(model.ok()) << model.status();
  const std::vector<int32_t> ids = Sequence(12, 1), cu_lengths = {0, 12};
  const std::vector<OutputSpec> outputs(1);
  Arena arena = *Arena::Create(*device_, (*model)->WorkspaceBytes({11, 1}));
  EXPECT_EQ((*model)->Forward({ids, {}, cu_lengths, outputs, 12}, arena).status().code(),
            absl::StatusCode::kInternal);
}

TEST_P(BertTest, NamesTheTensorThatIsMissingOrMisshapen) {
  auto tensors = weights_.Tensors();
  for (const char* name : {"bert.encoder.layer.1.output.dense.bias",
                           "bert.embeddings.LayerNorm.weight", "classifier.weight"}) {
    auto broken = tensors;
    broken.erase(name);
    EXPECT_THAT(std::string(Load(broken).status().message()),
                HasSubstr(std::string(name).substr(name[0] == 'b' ? 5 : 0)));
    broken[name] = F32Tensor({1, 2}, {1, 2});
    const absl::Status status = Load(broken).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("[1, 2]"));
  }
}

TEST_P(BertTest, TellsWhatItLoaded) {
  const auto model = Load(weights_.Tensors());
  ASSERT_TRUE(model.ok()) << model.status();
  const ModelInfo& info = (*model)->info();
  EXPECT_EQ(info.name, "tiny");
  EXPECT_EQ(info.embedding_dimensions, kHidden);
  EXPECT_EQ(info.layers, kLayers);
  EXPECT_EQ(info.labels, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(info.device, "cpu");
  EXPECT_GT(info.weight_bytes, (kVocabulary + kPositions) * kHidden * 4);
}

}  // namespace
}  // namespace contextpool::engine
