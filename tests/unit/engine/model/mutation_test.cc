// Over a thousand damaged model directories: each is refused with a reason or loads and computes.

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/device/cpu_device.h"
#include "engine/model/model.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/model/model_files.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;
using Random = std::mt19937;

constexpr char kCheckpoint[] = "regression_odd_sizes_f32";
constexpr char kContextPool[] = "exp_mean_add_after_layer_relu_k5_f16";

// Values that programs trip over.
std::vector<json> NastyValues() {
  json deep = 1;
  for (int i = 0; i < 60; ++i) deep = json::array({deep});
  return {json(nullptr),
          json(true),
          json(0),
          json(-1),
          json(1),
          json(INT64_MIN),
          json(INT64_MAX),
          json(UINT64_MAX),
          json(int64_t{1} << 32),
          json(1e30),
          json(-1e300),
          json(0.5),
          json(""),
          json(std::string(1, '\0')),
          json("../../../etc/passwd"),
          json(std::string(100000, 'x')),
          json(json::array()),
          json(json::object()),
          json({1, 2, 3}),
          json({{"0", "a"}, {"2", "b"}}),
          json(std::vector<int>(50000, 7)),
          json("softmax"),
          json({{"fixed", 1e9}}),
          json({{"fixed", 1e-40}}),
          deep};
}

// Every place in a document, as a pointer to it.
void Collect(const json& value, const json::json_pointer& place,
             std::vector<json::json_pointer>& places) {
  places.push_back(place);
  if (value.is_object()) {
    for (const auto& [key, child] : value.items()) Collect(child, place / key, places);
  } else if (value.is_array()) {
    for (size_t i = 0; i < value.size(); ++i) Collect(value[i], place / i, places);
  }
}

// One value at or under `root` replaced, removed, or put under another key.
std::string MutateJson(const std::string& text, Random& random,
                       const json::json_pointer& root = json::json_pointer()) {
  static const std::vector<json> nasty = NastyValues();
  json document = json::parse(text);
  std::vector<json::json_pointer> places;
  Collect(document.at(root), root, places);
  const json::json_pointer& place = places[random() % places.size()];
  const json::json_pointer& other = places[random() % places.size()];
  switch (random() % 4) {
    case 0:
      if (!place.empty() && document.at(place.parent_pointer()).is_object()) {
        document.at(place.parent_pointer()).erase(place.back());
        break;
      }
      [[fallthrough]];
    case 1:
      document.at(place) = json(document.at(other));
      break;
    default:
      document.at(place) = nasty[random() % nasty.size()];
  }
  return document.dump();
}

// Damage that knows nothing of the format.
std::string MutateBytes(std::string bytes, Random& random) {
  // Headers and short files deserve most of it.
  const size_t reach = random() % 4 == 0 ? bytes.size() : std::min<size_t>(bytes.size(), 4096);
  switch (random() % 6) {
    case 0:
      return bytes.substr(0, random() % (reach + 1));
    case 1:
      return bytes.insert(random() % (reach + 1), std::string(1 + random() % 9, '\xff'));
    case 2:
      return bytes.erase(random() % (reach + 1), 1 + random() % 9);
    case 3:
      return bytes + bytes.substr(0, reach);
    default:
      for (uint32_t flips = 1 + random() % 4; flips > 0 && reach > 0; --flips) {
        bytes[random() % reach] ^= static_cast<char>(1 << random() % 8);
      }
      return bytes;
  }
}

// A safetensors file whose header was mutated as JSON, data untouched.
std::string MutateSafetensorsHeader(const std::string& file, Random& random) {
  uint64_t size = 0;
  std::memcpy(&size, file.data(), sizeof(size));
  const std::string header = MutateJson(file.substr(sizeof(size), size), random);
  size_t data = sizeof(size) + size;
  size = header.size();
  std::string result(sizeof(size), '\0');
  std::memcpy(result.data(), &size, sizeof(size));
  return result + header + file.substr(data);
}

class MutationBase : public ::testing::Test {
 protected:
  MutationBase() : device_(*CreateCpuDevice({.threads = 1, .isa = {}, .gemm = {}})) {
    spec_.directory = directory_.path();
  }

  // Whether the directory loads; a model that does must compute.
  bool LoadAndRun() {
    auto model = LoadModel(spec_, *device_);
    if (!model.ok()) {
      EXPECT_FALSE(model.status().message().empty());
      EXPECT_LT(model.status().message().size(), 2000u);
      return false;
    }
    const ModelInfo& info = (*model)->info();
    const bool image = info.image.has_value();
    const int32_t length = image ? info.max_tokens : std::min(info.max_tokens, 9);
    const std::vector<int32_t> ids(image ? 0 : static_cast<size_t>(length),
                                   info.vocabulary_size - 1);
    const std::vector<uint8_t> pixels(image ? static_cast<size_t>(info.image->bytes()) : 0, 200);
    const std::vector<int32_t> cu_lengths = {0, length};
    std::vector<OutputSpec> outputs(1);
    outputs[0].task = info.classifies() ? TaskKind::kClassify : TaskKind::kEmbed;
    const PackedBatch batch = {ids, pixels, cu_lengths, outputs, length};
    auto workspace = Arena::Create(*device_, (*model)->WorkspaceBytes({length, 1}));
    EXPECT_TRUE(workspace.ok());
    EXPECT_TRUE((*model)->Forward(batch, *workspace).ok());
    EXPECT_TRUE(device_->Synchronize().ok());
    return true;
  }

  // Tries the directory with each of many variants of one file.
  void TryMutations(const std::string& name,
                    const std::function<std::string(const std::string&, int, Random&)>& mutate) {
    ASSERT_TRUE(LoadAndRun());
    const std::string good = ReadFileForTest(directory_.path() + "/" + name);
    Random random(7);
    int loaded = 0;
    int refused = 0;
    constexpr int kRounds = 250;
    for (int round = 0; round < kRounds; ++round) {
      directory_.Write(name, absl::string_view(mutate(good, round, random)));
      SCOPED_TRACE(name + " round " + std::to_string(round));
      ++(LoadAndRun() ? loaded : refused);
    }
    directory_.Write(name, absl::string_view(good));
    // Both happen, or the mutations are no test.
    EXPECT_GT(refused, kRounds / 10);
    EXPECT_GT(loaded, 0);
  }

  TempDirectory directory_;
  ModelSpec spec_;
  std::unique_ptr<Device> device_;
};

class MutationTest : public MutationBase, public ::testing::WithParamInterface<const char*> {
 protected:
  MutationTest() {
    directory_.CopyFrom(GoldenCheckpoint(kCheckpoint));
    directory_.Write("tokenizer_config.json", json{{"model_max_length", 512}, {"do_lower", true}});
    // tokenizer_config.json is read only where this file says nothing.
    directory_.Write("sentence_bert_config.json",
                     GetParam() == std::string("tokenizer_config.json")
                         ? json{{"do_lower_case", false}}
                         : json{{"max_seq_length", 32}, {"do_lower_case", false}});
    directory_.Write("modules.json",
                     json{{{"idx", 0}, {"path", ""}, {"type", "st.models.Transformer"}},
                          {{"idx", 1}, {"path", "1_Pooling"}, {"type", "st.models.Pooling"}},
                          {{"idx", 2}, {"path", "2_Normalize"}, {"type", "st.models.Normalize"}}});
    directory_.Write("1_Pooling/config.json",
                     json{{"word_embedding_dimension", 36}, {"pooling_mode_mean_tokens", true}});
  }
};

TEST_P(MutationTest, NeverCrashes) {
  const std::string name = GetParam();
  TryMutations(name, [&](const std::string& good, int round, Random& random) {
    if (round % 2 == 0) return MutateBytes(good, random);
    return name == "model.safetensors" ? MutateSafetensorsHeader(good, random)
                                       : MutateJson(good, random);
  });
}

TEST_P(MutationTest, WhatIsNoDocumentIsRefused) {
  const std::string name = GetParam();
  const std::string deep(100000, '[');
  std::string deep_objects;
  for (int i = 0; i < 100000; ++i) deep_objects += "{\"a\":";
  std::string long_header(8, '\0');
  long_header[2] = 2;  // 131,072 bytes
  long_header += deep + std::string(31072, ' ');
  for (const std::string& content :
       {std::string(), std::string(1, '\0'), std::string("null"), std::string("\xef\xbb\xbf"),
        std::string(5, '\xff'), std::string(65536, '\0'), std::string(65536, '\xff'), deep,
        deep + std::string(100000, ']'), deep_objects, long_header}) {
    directory_.Write(name, absl::string_view(content));
    EXPECT_FALSE(LoadAndRun()) << content.substr(0, 20);
  }
}

class ContextPoolMutationTest : public MutationBase {
 protected:
  ContextPoolMutationTest() { directory_.CopyFrom(ContextPoolCheckpoint(kContextPool)); }
};

TEST_F(ContextPoolMutationTest, NeverCrashesForWhateverObject) {
  TryMutations("config.json", [](const std::string& good, int, Random& random) {
    std::string bad = good;
    for (uint32_t changes = 1 + random() % 2; changes > 0; --changes) {
      bad = MutateJson(bad, random, json::json_pointer("/context_pool"));
      if (!json::parse(bad)["context_pool"].is_object()) break;
    }
    return bad;
  });
}

TEST_F(ContextPoolMutationTest, NeverCrashesForWhateverTensors) {
  TryMutations("model.safetensors", [](const std::string& good, int, Random& random) {
    return MutateSafetensorsHeader(good, random);
  });
}

// A folder of tests/golden, a checkpoint in it, and one of its files.
struct ImageFile {
  const char* family;
  const char* checkpoint;
  const char* name;
};

class ImageMutationTest : public MutationBase, public ::testing::WithParamInterface<ImageFile> {
 protected:
  ImageMutationTest() {
    directory_.CopyFrom(GoldenFolder() / GetParam().family / GetParam().checkpoint);
  }
};

TEST_P(ImageMutationTest, NeverCrashes) {
  const std::string name = GetParam().name;
  TryMutations(name, [&](const std::string& good, int round, Random& random) {
    if (round % 2 == 0) return MutateBytes(good, random);
    return name == "model.safetensors" ? MutateSafetensorsHeader(good, random)
                                       : MutateJson(good, random);
  });
}

INSTANTIATE_TEST_SUITE_P(
    Files, ImageMutationTest,
    ::testing::Values(ImageFile{"vit", "deit_teacher_p8_f32", "config.json"},
                      ImageFile{"vit", "deit_teacher_p8_f32", "model.safetensors"},
                      ImageFile{"vit", "dinov2_registers_smaller_f32", "config.json"},
                      ImageFile{"vit", "dinov2_registers_smaller_f32", "preprocessor_config.json"},
                      ImageFile{"vit", "context_pool_classifier_f32", "config.json"},
                      ImageFile{"vit", "context_pool_classifier_f32", "model.safetensors"},
                      ImageFile{"resnet", "bottleneck_early_encoder_bf16", "config.json"},
                      ImageFile{"resnet", "bottleneck_early_encoder_bf16", "model.safetensors"},
                      ImageFile{"resnet", "context_pool_both_f32", "config.json"},
                      ImageFile{"resnet", "context_pool_both_f32", "model.safetensors"},
                      ImageFile{"resnet", "context_pool_both_f32", "preprocessor_config.json"}),
    [](const ::testing::TestParamInfo<ImageFile>& info) {
      const std::string file = info.param.name;
      return absl::StrCat(info.param.family, "_", info.param.checkpoint, "_",
                          file.substr(0, file.find('.')));
    });

INSTANTIATE_TEST_SUITE_P(Files, MutationTest,
                         ::testing::Values("model.safetensors", "config.json", "modules.json",
                                           "1_Pooling/config.json", "sentence_bert_config.json",
                                           "tokenizer_config.json"),
                         [](const ::testing::TestParamInfo<const char*>& info) {
                           std::string name;
                           for (char c : std::string(info.param)) {
                             name += c == '.' || c == '/' ? '_' : c;
                           }
                           return name;
                         });

}  // namespace
}  // namespace contextpool::engine
