#include "engine/model/resnet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "engine/device/cpu_device.h"
#include "engine/model/model.h"
#include "engine/model/safetensors.h"
#include "tests/unit/engine/model/allocations.h"
#include "tests/unit/engine/model/model_files.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kWeights[] = "model.safetensors";
constexpr char kProcessor[] = "preprocessor_config.json";
constexpr char kVariance[] = "resnet.encoder.stages.1.layers.0.shortcut.normalization.running_var";
constexpr OutputSpec kLogits = {.task = TaskKind::kClassify};

using Tensors = std::map<std::string, TestTensor>;

Tensors ReadTensors(const std::string& directory) {
  const SafetensorsFile file = *SafetensorsFile::Open(directory, kWeights);
  Tensors tensors;
  for (const auto& [name, entry] : file.entries()) {
    TestTensor& tensor = tensors[name] = {entry.dtype, entry.shape, {}};
    tensor.bytes.resize(entry.end - entry.begin);
    EXPECT_TRUE(file.ReadBytes(entry, std::as_writable_bytes(std::span(tensor.bytes))).ok());
  }
  return tensors;
}

// A copy of a committed checkpoint, to be changed: 40 x 40 images, 5 basic layers, 3 labels.
class ResNetTest : public testing::Test {
 protected:
  ResNetTest() {
    directory_.CopyFrom(GoldenFolder() / "resnet" / "basic_f32");
    spec_.name = "tiny";
    spec_.directory = directory_.path();
  }

  absl::StatusOr<std::unique_ptr<Model>> Load() const { return LoadModel(spec_, *device_); }

  // Why a checkpoint with these tensors is refused.
  absl::Status Refusal(const Tensors& tensors) const {
    directory_.Write(kWeights, absl::string_view(SafetensorsBytes(tensors)));
    return Load().status();
  }

  void SetImageSize(int height, int width) const {
    json processor = json::parse(ReadFileForTest(directory_.path() + "/" + kProcessor));
    processor["size"] = {{"height", height}, {"width", width}};
    directory_.Write(kProcessor, processor);
  }

  // The images side by side, `outputs` one for each.
  struct Images {
    Images(const ModelInfo& info, int count, const OutputSpec& output)
        : pixels(count * info.image->bytes()), outputs(count, output) {
      std::mt19937 random(11);
      for (uint8_t& pixel : pixels) pixel = static_cast<uint8_t>(random());
      for (int i = 0; i <= count; ++i) cu_lengths.push_back(i * info.max_tokens);
    }
    PackedBatch Batch(int first, int count) const {
      const size_t bytes = pixels.size() / outputs.size();
      return {.pixels = std::span(pixels).subspan(first * bytes, count * bytes),
              .cu_lengths = std::span(cu_lengths).first(count + 1),
              .outputs = std::span(outputs).subspan(first, count),
              .max_length = cu_lengths[1]};
    }

    std::vector<uint8_t> pixels;
    std::vector<int32_t> cu_lengths;
    std::vector<OutputSpec> outputs;
  };

  // [images, labels].
  std::vector<float> Logits(const Model& model, const PackedBatch& batch) const {
    Arena arena =
        *Arena::Create(*device_, model.WorkspaceBytes({batch.total_tokens(), batch.sequences()}));
    const absl::StatusOr<ModelOutput> output = model.Forward(batch, arena);
    EXPECT_TRUE(output.ok()) << output.status();
    EXPECT_TRUE(device_->Synchronize().ok());
    const float* logits = output->logits.as<float>();
    return std::vector<float>(logits, logits + output->logits.elements());
  }

  const std::unique_ptr<Device> device_ = *CreateCpuDevice({.threads = 2});
  TempDirectory directory_;
  ModelSpec spec_;
};

TEST_F(ResNetTest, TellsWhatItLoaded) {
  const auto model = Load();
  ASSERT_TRUE(model.ok()) << model.status();
  const ModelInfo& info = (*model)->info();
  EXPECT_EQ(info.name, "tiny");
  EXPECT_EQ(info.architecture, "ResNetForImageClassification");
  EXPECT_EQ(info.modality, Modality::kImage);
  EXPECT_EQ(info.layers, 5);
  EXPECT_EQ(info.embedding_dimensions, 36);
  EXPECT_EQ(info.image->size, (ImageSize{40, 40}));
  // Halved by the stem, its pooling and two stages: 20, 10, 5, 3.
  EXPECT_EQ(info.grid_height, 3);
  EXPECT_EQ(info.grid_width, 3);
  EXPECT_EQ(info.max_tokens, 9);
  EXPECT_EQ(info.pooling, Pooling::kMean);
  EXPECT_THAT(info.poolings, ElementsAre(Pooling::kMean));
  EXPECT_THAT(info.labels, ElementsAre("cat", "dog", "horse"));
  EXPECT_EQ(info.problem_type, ProblemType::kSingleLabel);
  // The two 3x3 convolutions of the last layer alone.
  EXPECT_GT(info.weight_bytes, 2 * 9 * 36 * 36 * 4);
}

TEST_F(ResNetTest, NamesTheTensorThatIsMissingOrMisshapen) {
  const Tensors good = ReadTensors(directory_.path());
  for (const char* name : {"resnet.embedder.embedder.normalization.weight",
                           "resnet.encoder.stages.0.layers.0.shortcut.convolution.weight",
                           "resnet.encoder.stages.2.layers.1.layer.1.normalization.running_mean",
                           "classifier.1.bias"}) {
    Tensors broken = good;
    broken.erase(name);
    EXPECT_THAT(std::string(Refusal(broken).message()), HasSubstr(name));
    broken[name] = F32Tensor({1, 2}, {1, 2});
    const absl::Status status = Refusal(broken);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("[1, 2]"));
  }
}

TEST_F(ResNetTest, RefusesAVarianceThatIsNone) {
  Tensors tensors = ReadTensors(directory_.path());
  for (float value : {-1e-6f, std::nanf("")}) {
    std::memcpy(tensors.at(kVariance).bytes.data() + 3 * sizeof(float), &value, sizeof(float));
    const absl::Status status = Refusal(tensors);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(kVariance).substr(7)));
  }
}

TEST_F(ResNetTest, NothingIsAllocatedByAConfigurationThatTheTensorsDoNotConfirm) {
  json config = json::parse(ReadFileForTest(directory_.path() + "/config.json"));
  config["hidden_sizes"] = {65536, 65536, 65536};
  config["depths"] = {300, 300, 300};
  directory_.Write("config.json", config);
  const absl::Status status = Load().status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("65536"));
}

TEST_F(ResNetTest, RefusesAPoolingThatIsNotTheMean) {
  spec_.pooling = Pooling::kMean;
  EXPECT_TRUE(Load().ok());
  for (Pooling pooling : {Pooling::kCls, Pooling::kMax, Pooling::kLastToken}) {
    spec_.pooling = pooling;
    const absl::Status status = Load().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("it offers MEAN"));
  }
}

TEST_F(ResNetTest, ManyLargeImagesNeedBoundedMemoryAndEqualThemselvesAlone) {
  SetImageSize(256, 250);
  const auto model = Load();
  ASSERT_TRUE(model.ok()) << model.status();
  constexpr int kImages = 100;
  const Images images((*model)->info(), kImages, kLogits);
  // One image's first feature map is 128 x 125 x 12.
  const size_t bytes = (*model)->WorkspaceBytes({kImages * (*model)->info().max_tokens, kImages});
  EXPECT_LT(bytes, size_t{kImages} * 128 * 125 * 12 * 4);
  const std::vector<float> together = Logits(**model, images.Batch(0, kImages));
  ASSERT_EQ(together.size(), size_t{kImages} * 3);
  for (int i = 0; i < kImages; i += 7) {
    const std::vector<float> alone = Logits(**model, images.Batch(i, 1));
    EXPECT_THAT(alone, ElementsAre(together[3 * i], together[3 * i + 1], together[3 * i + 2]));
  }
}

TEST_F(ResNetTest, AWarmForwardPassDoesNotAllocate) {
  for (const char* checkpoint : {"basic_f32", "context_pool_both_f32"}) {
    directory_.CopyFrom(GoldenFolder() / "resnet" / checkpoint);
    const auto model = Load();
    ASSERT_TRUE(model.ok()) << model.status();
    const Images images((*model)->info(), 8, kLogits);
    Arena arena =
        *Arena::Create(*device_, (*model)->WorkspaceBytes({8 * (*model)->info().max_tokens, 8}));
    ASSERT_TRUE((*model)->Forward(images.Batch(0, 2), arena).ok());
    const PackedBatch batch = images.Batch(0, 8);
    arena.Reset();
    const int64_t before = Allocations();
    const bool good = (*model)->Forward(batch, arena).ok() && device_->Synchronize().ok();
    EXPECT_EQ(Allocations(), before) << checkpoint;
    EXPECT_TRUE(good);
  }
}

TEST_F(ResNetTest, ContextPoolNeedsItsTensors) {
  directory_.CopyFrom(GoldenFolder() / "resnet" / "context_pool_both_f32");
  const Tensors good = ReadTensors(directory_.path());
  for (const char* name :
       {"resnet.embedder.context_pool.conv1.weight", "resnet.context_pool.conv2.bias"}) {
    Tensors broken = good;
    broken.erase(name);
    EXPECT_THAT(std::string(Refusal(broken).message()), HasSubstr(name));
  }
}

}  // namespace
}  // namespace contextpool::engine
