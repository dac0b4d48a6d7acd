// LoadModel on whole directories: what it reads, what it refuses, and that nothing crashes it.

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "engine/device/cpu_device.h"
#include "engine/model/model.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/model/model_files.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

namespace fs = std::filesystem;

constexpr char kRegression[] = "regression_odd_sizes_f32";
constexpr char kEncoder[] = "encoder_gelu_f16";
// Layers 0 and 2 of 3; bottleneck 5, kernel 1, hidden 24, a gate, a prefix of 2.
constexpr char kContextPool[] = "softmax_none_gate_leaky_k1_prefix2_bf16";

class LoadModelTest : public ::testing::Test {
 protected:
  LoadModelTest() : device_(*CreateCpuDevice({.threads = 1, .isa = {}, .gemm = {}})) {}

  absl::StatusOr<std::unique_ptr<Model>> Load() {
    spec_.name = "m";
    spec_.directory = directory_.path();
    return LoadModel(spec_, *device_);
  }

  json Config() const { return json::parse(ReadFileForTest(directory_.path() + "/config.json")); }

  void SetConfig(const char* key, const json& value) {
    json config = Config();
    config[key] = value;
    directory_.Write("config.json", config);
  }

  TempDirectory directory_;
  ModelSpec spec_;
  std::unique_ptr<Device> device_;
};

TEST_F(LoadModelTest, DescribesAClassifier) {
  directory_.CopyFrom(GoldenCheckpoint(kRegression));
  spec_.version = 3;
  auto model = Load();
  ASSERT_TRUE(model.ok()) << model.status();
  const ModelInfo& info = (*model)->info();
  EXPECT_EQ(info.name, "m");
  EXPECT_EQ(info.version, 3);
  EXPECT_EQ(info.architecture, "BertForSequenceClassification");
  EXPECT_EQ(info.layers, 2);
  EXPECT_EQ(info.embedding_dimensions, 36);
  EXPECT_EQ(info.vocabulary_size, 199);
  EXPECT_EQ(info.max_tokens, 40);
  EXPECT_THAT(info.labels, ElementsAre("x", "y", "z", "w"));
  EXPECT_EQ(info.problem_type, ProblemType::kRegression);
  EXPECT_EQ(info.dtype, DType::kF32);
  EXPECT_EQ(info.device, "cpu");
  // 27,476 weights at least: those of the layers.
  EXPECT_GT(info.weight_bytes, 4 * 2 * (4 * 36 * 36 + 2 * 36 * 37));
}

TEST_F(LoadModelTest, TheOperatorsWishesReplaceTheCheckpoints) {
  directory_.CopyFrom(GoldenCheckpoint(kEncoder));
  spec_.pooling = Pooling::kCls;
  spec_.normalize = true;
  spec_.max_tokens = 50;
  auto model = Load();
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ((*model)->info().pooling, Pooling::kCls);
  EXPECT_TRUE((*model)->info().normalize);
  EXPECT_EQ((*model)->info().own_pooling, Pooling::kMean);
  EXPECT_FALSE((*model)->info().own_normalize);
  EXPECT_EQ((*model)->info().max_tokens, 50);
  EXPECT_FALSE((*model)->info().classifies());
}

TEST_F(LoadModelTest, RefusesALongestInputWithoutPositions) {
  directory_.CopyFrom(GoldenCheckpoint(kEncoder));
  for (int32_t length : {0, -1, 81}) {
    spec_.max_tokens = length;
    EXPECT_THAT(Load().status().message(), AllOf(HasSubstr("max_tokens"), HasSubstr("80")));
  }
}

TEST_F(LoadModelTest, ServesTheDirectoryFromMemory) {
  directory_.CopyFrom(GoldenCheckpoint(kEncoder));
  auto model = Load();
  ASSERT_TRUE(model.ok()) << model.status();
  directory_.Write("model.safetensors", absl::string_view(""));
  directory_.Remove("model.safetensors");
  directory_.Remove("config.json");
  const std::vector<int32_t> ids = {1, 2, 3};
  const std::vector<int32_t> cu_lengths = {0, 3};
  const std::vector<OutputSpec> outputs(1);
  const PackedBatch batch = {ids, {}, cu_lengths, outputs, 3};
  auto workspace = Arena::Create(*device_, (*model)->WorkspaceBytes({3, 1}));
  ASSERT_TRUE(workspace.ok());
  EXPECT_TRUE((*model)->Forward(batch, *workspace).ok());
  EXPECT_TRUE(device_->Synchronize().ok());
}

TEST_F(LoadModelTest, SizesThatTheTensorsDoNotHaveAreErrorsThatNameThem) {
  directory_.CopyFrom(GoldenCheckpoint(kRegression));
  const json good = Config();
  const struct {
    const char* key;
    int value;
    const char* tensor;
  } cases[] = {
      {"vocab_size", 1 << 24, "bert.embeddings.word_embeddings.weight"},
      {"hidden_size", 65536, "bert.embeddings.word_embeddings.weight"},
      {"max_position_embeddings", 1 << 20, "bert.embeddings.position_embeddings.weight"},
      {"type_vocab_size", 2, "bert.embeddings.token_type_embeddings.weight"},
      {"num_hidden_layers", 3, "bert.encoder.layer.2."},
      {"intermediate_size", 38, "bert.encoder.layer.0.intermediate.dense.weight"},
  };
  for (const auto& [key, value, tensor] : cases) {
    directory_.Write("config.json", good);
    SetConfig(key, value);
    EXPECT_THAT(Load().status().message(), AllOf(HasSubstr("model.safetensors"), HasSubstr(tensor)))
        << key;
  }
  directory_.Write("config.json", good);
  SetConfig("id2label", {{"0", "a"}, {"1", "b"}, {"2", "c"}});
  EXPECT_THAT(Load().status().message(), AllOf(HasSubstr("\"classifier.weight\""),
                                               HasSubstr("[3, 36]"), HasSubstr("[4, 36]")));
}

TEST_F(LoadModelTest, AClassifierWithoutItsHeadIsAnError) {
  directory_.CopyFrom(GoldenCheckpoint(kEncoder));
  SetConfig("architectures", {"BertForSequenceClassification"});
  EXPECT_THAT(Load().status().message(), HasSubstr("\"classifier.weight\" is missing"));
}

TEST_F(LoadModelTest, TellsTheLayersWithContextPool) {
  directory_.CopyFrom(ContextPoolCheckpoint(kContextPool));
  auto model = Load();
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_THAT((*model)->info().context_pool_layers, ElementsAre(0, 2));
}

TEST_F(LoadModelTest, ContextPoolTensorsThatAreMissingOrMisshapenAreErrorsThatNameThem) {
  directory_.CopyFrom(ContextPoolCheckpoint(kContextPool));
  const json good = Config();
  const struct {
    const char* key;
    json value;
    std::vector<const char*> parts;
  } cases[] = {
      {"kernel_size", 3, {"layer.0.context_pool.conv1.weight", "[5, 24, 3]", "[5, 24, 1]"}},
      {"bottleneck", 4, {"layer.0.context_pool.conv1.weight", "[4, 24, 1]", "[5, 24, 1]"}},
      {"bottleneck", 4096, {"layer.0.context_pool.conv1.weight", "[4096, 24, 1]"}},
      {"layers", {0, 1}, {"\"bert.encoder.layer.1.context_pool.conv1.weight\" is missing"}},
      {"layers", "all", {"\"bert.encoder.layer.1.context_pool.conv1.weight\" is missing"}},
  };
  for (const auto& [key, value, parts] : cases) {
    json config = good;
    config["context_pool"][key] = value;
    directory_.Write("config.json", config);
    const absl::Status status = Load().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << key;
    for (const char* part : parts) EXPECT_THAT(status.message(), HasSubstr(part));
  }
}

TEST_F(LoadModelTest, EveryContextPoolTensorIsNeeded) {
  directory_.CopyFrom(ContextPoolCheckpoint(kContextPool));
  const std::string file = ReadFileForTest(directory_.path() + "/model.safetensors");
  for (const char* name : {"conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "gamma"}) {
    // Under another name of the same length it is not found.
    const std::string full = std::string("bert.encoder.layer.2.context_pool.") + name;
    std::string broken = file;
    broken[broken.find(full) + full.size() - 1] = '~';
    directory_.Write("model.safetensors", absl::string_view(broken));
    EXPECT_THAT(Load().status().message(), HasSubstr("\"" + full + "\" is missing"));
  }
}

TEST_F(LoadModelTest, TheTokenisersPrefixIsTheDefault) {
  directory_.CopyFrom(ContextPoolCheckpoint(kContextPool));
  json config = Config();
  config["context_pool"].erase("num_prefix_tokens");
  directory_.Write("config.json", config);
  EXPECT_THAT(Load().status().message(),
              AllOf(HasSubstr("config.json"), HasSubstr("context_pool.num_prefix_tokens")));
  spec_.prefix_tokens = 2;
  EXPECT_TRUE(Load().ok());
}

TEST_F(LoadModelTest, OddFilesInPlaceOfFilesAreErrors) {
  for (const char* name : {"config.json", "model.safetensors", "tokenizer_config.json",
                           "sentence_bert_config.json", "modules.json"}) {
    TempDirectory directory;
    directory.CopyFrom(GoldenCheckpoint(kEncoder));
    const fs::path file = fs::path(directory.path()) / name;
    spec_.directory = directory.path();

    fs::remove(file);
    fs::create_directory(file);
    EXPECT_THAT(LoadModel(spec_, *device_).status().message(), HasSubstr(name));
    fs::remove(file);
    fs::create_symlink(file, file);
    EXPECT_THAT(LoadModel(spec_, *device_).status().message(), HasSubstr(name));
    fs::remove(file);
    fs::create_symlink("/dev/zero", file);
    EXPECT_THAT(LoadModel(spec_, *device_).status().message(), HasSubstr(name));
    fs::remove(file);
    directory.Write(name, absl::string_view("{}"));
    fs::permissions(file, fs::perms::none);
    // Root may read it all the same, and finds that it says too little or nothing.
    (void)LoadModel(spec_, *device_).status();
  }
}

TEST_F(LoadModelTest, ADirectoryThatIsNoneIsAnError) {
  spec_.directory = directory_.path() + "/missing";
  EXPECT_TRUE(absl::IsNotFound(LoadModel(spec_, *device_).status()));
  directory_.Write("file", absl::string_view("x"));
  spec_.directory = directory_.path() + "/file";
  EXPECT_FALSE(LoadModel(spec_, *device_).ok());
}

}  // namespace
}  // namespace contextpool::engine
