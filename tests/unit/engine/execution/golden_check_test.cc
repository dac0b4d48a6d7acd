// The whole check of golden.safetensors: checkpoints of transformers on the CPU device, with what
// transformers computes for them in double precision.

#include <cstdint>
#include <cstring>
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
    directory_.CopyFrom(GoldenCheckpoint(GetParam()));
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
    return executor.AddModel(0, **model, {600, 16}, &**golden, counters);
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

  void EditConfig(const char* key, const json& value) {
    json config = json::parse(ReadFileForTest(directory_.path() + "/config.json"));
    config[key] = value;
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
  EditConfig("hidden_act", GetParam() == std::string("regression_relu_bf16") ? "gelu" : "relu");
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

INSTANTIATE_TEST_SUITE_P(Checkpoints, GoldenCheckTest,
                         ::testing::Values("single_label_gelu_f32", "multi_label_gelu_new_f16",
                                           "regression_relu_bf16", "encoder_gelu_f16"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace contextpool::engine
