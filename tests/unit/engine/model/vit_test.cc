// Loading image transformers and what their batches must be; what they compute is compared with
// transformers in tests/parity.

#include "engine/model/vit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "engine/device/cpu_device.h"
#include "tests/unit/engine/model/allocations.h"
#include "tests/unit/engine/model/model_files.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kClassifier[] = "vit_classifier_p4_f32";
constexpr char kEncoder[] = "vit_encoder_oblong_f16";
constexpr char kDeit[] = "deit_teacher_p8_f32";
constexpr char kDinov2[] = "dinov2_encoder_smaller_f32";
constexpr char kRegisters[] = "dinov2_registers_smaller_f32";
constexpr char kContextPool[] = "context_pool_classifier_f32";

class VitTest : public ::testing::Test {
 protected:
  VitTest() : device_(*CreateCpuDevice({.threads = 2})) {}

  void Copy(const char* checkpoint) { directory_.CopyFrom(GoldenFolder() / "vit" / checkpoint); }

  absl::StatusOr<std::unique_ptr<Model>> Load() {
    spec_.name = "m";
    spec_.directory = directory_.path();
    return LoadModel(spec_, *device_);
  }
  std::string Fault() { return std::string(Load().status().message()); }

  json File(const std::string& name) const {
    return json::parse(ReadFileForTest(directory_.path() + "/" + name));
  }
  void Set(const std::string& name, const char* key, const json& value) {
    json content = File(name);
    content[key] = value;
    directory_.Write(name, content);
  }

  // A batch of `images` black images of what `info` describes.
  struct Batch {
    Batch(const ModelInfo& info, int32_t images)
        : pixels(images * info.image->bytes()), outputs(images) {
      for (int32_t i = 0; i <= images; ++i) cu_lengths.push_back(i * info.max_tokens);
      packed = {.pixels = pixels,
                .cu_lengths = cu_lengths,
                .outputs = outputs,
                .max_length = info.max_tokens};
    }

    std::vector<uint8_t> pixels;
    std::vector<int32_t> cu_lengths;
    std::vector<OutputSpec> outputs;
    PackedBatch packed;
  };

  Arena Workspace(const Model& model, const PackedBatch& batch) {
    return *Arena::Create(*device_,
                          model.WorkspaceBytes({batch.total_tokens(), batch.sequences()}));
  }

  TempDirectory directory_;
  ModelSpec spec_;
  std::unique_ptr<Device> device_;
};

TEST_F(VitTest, TellsWhatItLoaded) {
  Copy(kClassifier);
  const auto model = Load();
  ASSERT_TRUE(model.ok()) << model.status();
  const ModelInfo& info = (*model)->info();
  EXPECT_EQ(info.name, "m");
  EXPECT_EQ(info.architecture, "ViTForImageClassification");
  EXPECT_EQ(info.modality, Modality::kImage);
  EXPECT_EQ(info.image->size, (ImageSize{16, 16}));
  EXPECT_EQ(info.grid_height, 4);
  EXPECT_EQ(info.grid_width, 4);
  EXPECT_EQ(info.max_tokens, 1 + 4 * 4);
  EXPECT_EQ(info.vocabulary_size, 0);
  EXPECT_EQ(info.layers, 2);
  EXPECT_EQ(info.embedding_dimensions, 32);
  EXPECT_EQ(info.pooling, Pooling::kCls);
  EXPECT_FALSE(info.normalize);
  EXPECT_THAT(info.labels, ElementsAre("cat", "dog", "bird", "fish", "horse"));
  EXPECT_EQ(info.problem_type, ProblemType::kSingleLabel);
  EXPECT_GT(info.weight_bytes, 4 * 2 * (4 * 32 * 32 + 2 * 32 * 50));
}

TEST_F(VitTest, OffersThePoolerOfACheckpointThatHasOne) {
  Copy(kClassifier);
  EXPECT_THAT((*Load())->info().poolings, Not(Contains(Pooling::kPooler)));
  spec_.pooling = Pooling::kPooler;
  EXPECT_THAT(
      Fault(),
      HasSubstr("this ViTForImageClassification does not offer POOLER; it offers MEAN, CLS"));
  Copy(kEncoder);
  const auto model = Load();
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->info().pooling, Pooling::kPooler);
  EXPECT_THAT((*model)->info().poolings, Contains(Pooling::kPooler));
}

TEST_F(VitTest, APoolerOfAnotherActivationOrSizeIsNotOffered) {
  Copy(kEncoder);
  Set("config.json", "pooler_act", "relu");
  EXPECT_THAT((*Load())->info().poolings, Not(Contains(Pooling::kPooler)));
  Set("config.json", "pooler_act", "tanh");
  EXPECT_THAT((*Load())->info().poolings, Contains(Pooling::kPooler));
  Set("config.json", "pooler_output_size", 7);
  EXPECT_THAT((*Load())->info().poolings, Not(Contains(Pooling::kPooler)));
}

TEST_F(VitTest, CountsTheTokensBeforeThePatches) {
  Copy(kDeit);
  EXPECT_EQ((*Load())->info().max_tokens, 2 + 4 * 4);
  Copy(kRegisters);
  EXPECT_EQ((*Load())->info().max_tokens, 5 + 3 * 3);
}

TEST_F(VitTest, TheOperatorsWishesReplaceTheCheckpoints) {
  Copy(kClassifier);
  spec_.pooling = Pooling::kMean;
  spec_.normalize = true;
  const auto model = Load();
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->info().pooling, Pooling::kMean);
  EXPECT_TRUE((*model)->info().normalize);
  EXPECT_EQ((*model)->info().own_pooling, Pooling::kCls);
  EXPECT_FALSE((*model)->info().own_normalize);
  spec_.max_tokens = 10;
  EXPECT_THAT(Fault(), HasSubstr("max_tokens"));
}

TEST_F(VitTest, NeedsThePreprocessorsFile) {
  Copy(kClassifier);
  directory_.Remove("preprocessor_config.json");
  EXPECT_THAT(Fault(), HasSubstr("preprocessor_config.json"));
  directory_.Write("preprocessor_config.json", absl::string_view("[]"));
  EXPECT_THAT(Fault(), HasSubstr("preprocessor_config.json"));
}

TEST_F(VitTest, OnlyInterpolatedPositionsFitImagesOfAnotherSize) {
  Copy(kClassifier);
  Set("preprocessor_config.json", "size", {{"height", 20}, {"width", 16}});
  EXPECT_THAT(Fault(), AllOf(HasSubstr("preprocessor_config.json"), HasSubstr("16 x 16")));
  Copy(kDinov2);
  Set("preprocessor_config.json", "crop_size", {{"height", 70}, {"width", 29}});
  const auto model = Load();
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->info().max_tokens, 1 + 5 * 2);
  Set("preprocessor_config.json", "crop_size", {{"height", 70}, {"width", 13}});
  EXPECT_THAT(Fault(), HasSubstr("0 patches"));
}

TEST_F(VitTest, SizesThatTheTensorsDoNotHaveAreErrorsThatNameThem) {
  Copy(kClassifier);
  const json good = File("config.json");
  const struct {
    const char* key;
    json value;
    std::vector<const char*> parts;
  } cases[] = {
      {"hidden_size", 65536, {"vit.embeddings.patch_embeddings.projection.weight", "[65536, 3,"}},
      {"patch_size", 2, {"vit.embeddings.patch_embeddings.projection.weight", "[32, 3, 2, 2]"}},
      {"num_hidden_layers", 3, {"\"vit.encoder.layer.2.", "is missing"}},
      {"intermediate_size", 1 << 20, {"vit.encoder.layer.0.intermediate.dense.weight"}},
      {"id2label", {{"0", "a"}, {"1", "b"}}, {"\"classifier.weight\"", "[2, 32]", "[5, 32]"}},
  };
  for (const auto& [key, value, parts] : cases) {
    directory_.Write("config.json", good);
    Set("config.json", key, value);
    const absl::Status status = Load().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << key << status;
    for (const char* part : parts) EXPECT_THAT(status.message(), HasSubstr(part)) << key;
  }
  directory_.Write("config.json", good);
  Set("config.json", "image_size", 20);
  Set("preprocessor_config.json", "size", {{"height", 20}, {"width", 20}});
  EXPECT_THAT(Fault(), AllOf(HasSubstr("\"vit.embeddings.position_embeddings\""),
                             HasSubstr("[1, 26, 32]"), HasSubstr("[1, 17, 32]")));
}

// Under another name of the same length a tensor is not found.
TEST_F(VitTest, EveryTensorIsNeeded) {
  const std::pair<const char*, std::vector<std::string>> cases[] = {
      {kClassifier,
       {"vit.embeddings.position_embeddings", "classifier.bias",
        "vit.embeddings.patch_embeddings.projection.bias", "vit.layernorm.weight",
        "vit.encoder.layer.1.attention.attention.key.bias",
        "vit.encoder.layer.1.attention.output.dense.weight",
        "vit.encoder.layer.1.layernorm_before.bias", "vit.encoder.layer.1.layernorm_after.weight",
        "vit.encoder.layer.0.output.dense.bias"}},
      {kDeit, {"deit.embeddings.distillation_token", "distillation_classifier.weight"}},
      {kDinov2,
       {"embeddings.cls_token", "encoder.layer.0.layer_scale1.lambda1",
        "encoder.layer.1.layer_scale2.lambda1", "encoder.layer.0.mlp.fc1.weight",
        "encoder.layer.0.norm2.bias"}},
      {kRegisters, {"dinov2_with_registers.embeddings.register_tokens"}},
  };
  for (const auto& [checkpoint, names] : cases) {
    Copy(checkpoint);
    const std::string file = ReadFileForTest(directory_.path() + "/model.safetensors");
    for (const std::string& name : names) {
      std::string broken = file;
      const size_t place = broken.find("\"" + name + "\"");
      ASSERT_NE(place, std::string::npos) << name;
      broken[place + name.size()] = '~';
      directory_.Write("model.safetensors", absl::string_view(broken));
      EXPECT_THAT(Fault(), HasSubstr("\"" + name + "\" is missing"));
    }
  }
}

TEST_F(VitTest, RefusesBatchesThatAreNotOfItsImages) {
  Copy(kDinov2);
  const auto model = Load();
  ASSERT_TRUE(model.ok()) << model.status();
  const auto fault = [&](const PackedBatch& packed) {
    Arena arena = Workspace(**model, packed);
    return (*model)->Forward(packed, arena).status();
  };
  const Batch good((*model)->info(), 2);
  EXPECT_TRUE(fault(good.packed).ok());
  Batch bad((*model)->info(), 2);
  bad.packed.pixels = good.packed.pixels.first(good.pixels.size() - 1);
  EXPECT_EQ(fault(bad.packed).code(), absl::StatusCode::kInternal);
  bad = Batch((*model)->info(), 2);
  --bad.cu_lengths[2];
  EXPECT_EQ(fault(bad.packed).code(), absl::StatusCode::kInternal);
  Batch logits((*model)->info(), 2);
  logits.outputs[1].task = TaskKind::kClassify;
  EXPECT_THAT(fault(logits.packed).message(), HasSubstr("classifier"));
  Arena small = *Arena::Create(*device_, (*model)->WorkspaceBytes({7, 1}));
  EXPECT_EQ((*model)->Forward(good.packed, small).status().code(), absl::StatusCode::kInternal);
}

TEST_F(VitTest, AWarmForwardPassDoesNotAllocate) {
  for (const char* checkpoint : {kClassifier, kDeit, kRegisters, kContextPool}) {
    Copy(checkpoint);
    const auto model = Load();
    ASSERT_TRUE(model.ok()) << model.status();
    // More images than the first batch has, of both tasks.
    const Batch first((*model)->info(), 1);
    Batch batch((*model)->info(), 5);
    for (size_t i = 0; i < 5; i += 2) batch.outputs[i].task = TaskKind::kClassify;
    Arena arena = Workspace(**model, batch.packed);
    const auto run = [&](const Batch& images) {
      arena.Reset();
      return (*model)->Forward(images.packed, arena).ok() && device_->Synchronize().ok();
    };
    ASSERT_TRUE(run(first));
    const int64_t before = Allocations();
    const bool good = run(batch);
    EXPECT_EQ(Allocations(), before) << checkpoint;
    EXPECT_TRUE(good);
  }
}

}  // namespace
}  // namespace contextpool::engine
