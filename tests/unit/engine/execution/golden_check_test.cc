// The whole check of golden.safetensors: checkpoints of transformers on the CPU device, with what
// transformers computes for them in double precision.

#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "engine/device/cpu_device.h"
#include "engine/execution/executor.h"
#include "engine/model/safetensors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/model/model_files.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;

class GoldenCheckTest : public ::testing::TestWithParam<const char*> {
 protected:
  GoldenCheckTest() : device_(*CreateCpuDevice({.threads = 2, .isa = {}, .gemm = {}})) {
    directory_.CopyFrom(GoldenFolder() / GetParam());
    const auto file = SafetensorsFile::Open(directory_.path(), "expected.safetensors");
    std::map<std::string, TestTensor> tensors = {{"input_ids", Copy(*file, "token_ids")},
                                                 {"cu_lengths", Copy(*file, "cu_lengths")},
                                                 {"embedding", Copy(*file, "mean")}};
    if (file->Find("logits") != nullptr) tensors["logits"] = Copy(*file, "logits");
    directory_.Write("golden.safetensors", absl::string_view(SafetensorsBytes(tensors)));
    spec_.directory = directory_.path();
  }

  static TestTensor Copy(const SafetensorsFile& file, const char* name) {
    const TensorEntry& entry = *file.Find(name);
    std::string bytes(static_cast<size_t>(entry.end - entry.begin), '\0');
    EXPECT_TRUE(file.ReadBytes(entry, std::as_writable_bytes(std::span(bytes))).ok());
    return {entry.dtype, entry.shape, std::move(bytes)};
  }

  absl::Status Load() {
    auto model = LoadModel(spec_, *device_);
    if (!model.ok()) return model.status();
    auto golden = ReadGolden(spec_, (*model)->info());
    if (!golden.ok()) return golden.status();
    if (!golden->has_value()) return absl::NotFoundError("there is no golden file");
    ModelCounters counters;
    Executor executor(*device_, Clock::Real());
    return executor.AddModel(0, **model, {600, 16}, &**golden, counters).status();
  }

  std::string Error() { return std::string(Load().message()); }

  // Zeroes the first bytes of a tensor.
  void Erase(const std::string& tensor) {
    std::string bytes = ReadFileForTest(directory_.path() + "/model.safetensors");
    const auto file = SafetensorsFile::Open(directory_.path(), "model.safetensors");
    const TensorEntry* entry = file->Find(tensor);
    if (entry == nullptr) entry = file->Find("bert." + tensor);
    std::memset(bytes.data() + entry->begin, 0, 64);
    directory_.Write("model.safetensors", absl::string_view(bytes));
  }

  // `pointer`: "/key" or "/object/key".
  void EditConfig(const char* pointer, const json& value) {
    json config = json::parse(ReadFileForTest(directory_.path() + "/config.json"));
    config[json::json_pointer(pointer)] = value;
    directory_.Write("config.json", config);
  }

  TempDirectory directory_;
  ModelSpec spec_;
  std::unique_ptr<Device> device_;
};

TEST_P(GoldenCheckTest, PassesWhereTheModelIsWhole) {
  const absl::Status status = Load();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_P(GoldenCheckTest, PassesWhateverTheOperatorMakesOfTheEmbeddings) {
  spec_.pooling = Pooling::kMax;
  spec_.normalize = true;
  const absl::Status status = Load();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_P(GoldenCheckTest, FindsAFewWeightsThatWereLost) {
  Erase("encoder.layer.0.output.dense.weight");
  EXPECT_THAT(Error(), AllOf(HasSubstr("golden.safetensors: sequence 0, dimension "),
                             HasSubstr(" of \"embedding\": expected "),
                             HasSubstr("copy the whole directory again")));
  spec_.golden_tolerance = 1;
  EXPECT_EQ(Error(), "") << "the operator allows it";
}

TEST_P(GoldenCheckTest, FindsALostClassifier) {
  const auto model = LoadModel(spec_, *device_);
  if (!(*model)->info().classifies()) return;
  Erase("classifier.weight");
  EXPECT_THAT(Error(), AllOf(HasSubstr("golden.safetensors: sequence 0, dimension 0 of \"logits\""),
                             HasSubstr("copy the whole directory again")));
}

TEST_P(GoldenCheckTest, FindsAConfigurationOfAnotherModel) {
  EditConfig("/hidden_act",
             GetParam() == std::string("random/regression_relu_bf16") ? "gelu" : "relu");
  EXPECT_THAT(Error(), HasSubstr("golden.safetensors: sequence 0, dimension "));
}

TEST_P(GoldenCheckTest, FindsAPoolingOfAnotherModel) {
  directory_.Write("modules.json", json::array({{{"type", "Transformer"}, {"path", ""}},
                                                {{"type", "Pooling"}, {"path", "1_Pooling"}}}));
  directory_.Write("1_Pooling/config.json", {{"pooling_mode", "cls"}});
  EXPECT_THAT(Error(), HasSubstr(" of \"embedding\": expected "));
}

TEST_P(GoldenCheckTest, SequencesTheOperatorMadeTooLongAreNamed) {
  spec_.max_tokens = 3;
  EXPECT_THAT(Error(), AllOf(HasSubstr("tokens, but the model reads 3"),
                             HasSubstr("raise max_tokens if serving.textproto sets it")));
}

std::string NameOf(const ::testing::TestParamInfo<const char*>& info) {
  return std::filesystem::path(info.param).filename();
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, GoldenCheckTest,
                         ::testing::Values("random/single_label_gelu_f32",
                                           "random/multi_label_gelu_new_f16",
                                           "random/regression_relu_bf16", "random/encoder_gelu_f16",
                                           "context_pool/defaults_cls_f32"),
                         NameOf);

using ContextPoolGoldenCheckTest = GoldenCheckTest;

TEST_P(ContextPoolGoldenCheckTest, FindsOptionsOfAnotherModel) {
  const json config = json::parse(ReadFileForTest(directory_.path() + "/config.json"));
  EditConfig("/context_pool/r", 0.15);
  EXPECT_THAT(Error(), HasSubstr("golden.safetensors: sequence ")) << "r";
  directory_.Write("config.json", config);
  EditConfig("/context_pool/placement", "after_layer");
  EXPECT_THAT(Error(), HasSubstr("golden.safetensors: sequence ")) << "placement";
  directory_.Write("config.json", config);
  EXPECT_EQ(Error(), "");
}

TEST_P(ContextPoolGoldenCheckTest, FindsALostPartOfTheParameterNetwork) {
  Erase("encoder.layer.0.context_pool.conv2.weight");
  EXPECT_THAT(Error(), HasSubstr("golden.safetensors: sequence "));
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, ContextPoolGoldenCheckTest,
                         ::testing::Values("context_pool/defaults_cls_f32",
                                           "context_pool/one_softmax_size_identity_pool_prefix_f32",
                                           "context_pool/extreme_sizes_f32"),
                         NameOf);

}  // namespace
}  // namespace contextpool::engine
