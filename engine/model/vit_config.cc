#include "engine/model/vit_config.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/json.h"
#include "engine/model/config_fields.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;

constexpr IntRange kImageRange = {1, 1 << 14};
constexpr IntRange kPatchRange = {1, 1 << 12};
constexpr IntRange kMlpRatioRange = {1, 64};
constexpr IntRange kRegisterRange = {0, 1 << 10};
constexpr IntRange kChannelRange = {1, 1 << 16};
constexpr absl::string_view kTeacher = "DeiTForImageClassificationWithTeacher";
constexpr absl::string_view kRegisters = "dinov2_with_registers";
// So that neither positions nor scores of attention take all memory.
constexpr int64_t kMaxPatches = 1 << 16;

// What the families of one kind of encoder differ in.
struct Family {
  absl::string_view model_type;
  // The bare model, then those with a head.
  std::array<absl::string_view, 3> architectures;
  int32_t patch_size;
  float layer_norm_eps;
  bool distilled = false;
  // DINOv2: layer scale, a ratio instead of intermediate_size, a classifier that reads the class
  // token and the mean of the patches.
  bool dinov2 = false;
  PositionResize position_resize = PositionResize::kNone;
};

constexpr std::array<Family, 4> kFamilies = {{
    {.model_type = "vit",
     .architectures = {"ViTModel", "ViTForImageClassification"},
     .patch_size = 16,
     .layer_norm_eps = 1e-12f},
    {.model_type = "deit",
     .architectures = {"DeiTModel", "DeiTForImageClassification", kTeacher},
     .patch_size = 16,
     .layer_norm_eps = 1e-12f,
     .distilled = true},
    {.model_type = "dinov2",
     .architectures = {"Dinov2Model", "Dinov2ForImageClassification"},
     .patch_size = 14,
     .layer_norm_eps = 1e-6f,
     .dinov2 = true,
     .position_resize = PositionResize::kBicubic},
    {.model_type = kRegisters,
     .architectures = {"Dinov2WithRegistersModel", "Dinov2WithRegistersForImageClassification"},
     .patch_size = 16,
     .layer_norm_eps = 1e-6f,
     .dinov2 = true,
     .position_resize = PositionResize::kBicubicAntialiased},
}};

absl::StatusOr<const Family*> ParseFamily(const json& config) {
  absl::StatusOr<std::string> type = StringField(config, "model_type");
  if (!type.ok()) return type.status();
  for (const Family& family : kFamilies) {
    if (*type == family.model_type) return &family;
  }
  return NotSupported("model_type", *type, "vit, deit, dinov2, dinov2_with_registers");
}

absl::Status ParseFamilyArchitecture(const json& config, const Family& family, VitConfig& result) {
  const auto end =
      std::find(family.architectures.begin(), family.architectures.end(), absl::string_view());
  const std::span known(family.architectures.begin(), end);
  absl::StatusOr<std::string> architecture = ParseArchitecture(config, known);
  if (!architecture.ok()) return architecture.status();
  result.architecture = *std::move(architecture);
  return absl::OkStatus();
}

// One number for both, or [height, width].
absl::Status ParseSize(const json& config, const char* key, IntRange range, int32_t fallback,
                       ImageSize& size) {
  const json* field = FindField(config, key);
  if (field == nullptr || !field->is_array()) {
    absl::StatusOr<int32_t> side = IntField(config, key, range, fallback);
    if (!side.ok()) return side.status();
    size = {*side, *side};
    return absl::OkStatus();
  }
  if (field->size() != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", key, "\" must be an integer or an array of height and width, found ",
                     Excerpt(*field)));
  }
  for (const auto& [index, side] : {std::pair(0, &size.height), std::pair(1, &size.width)}) {
    absl::StatusOr<int32_t> value = IntField(json{{key, (*field)[index]}}, key, range);
    if (!value.ok()) return value.status();
    *side = *value;
  }
  return absl::OkStatus();
}

absl::Status ParseImage(const json& config, const Family& family, VitConfig& result) {
  absl::StatusOr<int32_t> channels = IntField(config, "num_channels", kChannelRange, 3);
  if (!channels.ok()) return channels.status();
  if (*channels != kernels::kPixelChannels) {
    return NotSupported("num_channels", absl::StrCat(*channels), "3");
  }
  absl::Status status = ParseSize(config, "image_size", kImageRange, 224, result.image);
  if (!status.ok()) return status;
  ImageSize patch;
  status = ParseSize(config, "patch_size", kPatchRange, family.patch_size, patch);
  if (!status.ok()) return status;
  if (patch.height != patch.width) {
    return NotSupported("patch_size", Excerpt(*FindField(config, "patch_size")), "squares");
  }
  result.patch_size = patch.height;
  if (status = CheckGrid(result, result.image); !status.ok()) return status;
  // Interpolation takes the table for a square.
  if (family.position_resize == PositionResize::kNone ||
      result.GridOf(result.image).height == result.GridOf(result.image).width) {
    return status;
  }
  return NotSupported("image_size", Excerpt(*FindField(config, "image_size")),
                      "as many rows as columns of patches");
}

absl::Status ParseFeedForward(const json& config, const Family& family, VitConfig& result) {
  if (!family.dinov2) {
    const SizeField size = {"intermediate_size", kIntermediateRange, std::nullopt,
                            &result.intermediate_size};
    return ParseSizes(config, {&size, 1});
  }
  if (absl::Status status = RequireFalse(config, "use_swiglu_ffn"); !status.ok()) return status;
  absl::StatusOr<int32_t> ratio = IntField(config, "mlp_ratio", kMlpRatioRange, 4);
  if (!ratio.ok()) return ratio.status();
  result.intermediate_size = result.hidden_size * *ratio;
  return absl::OkStatus();
}

// An activation or a size of its own is none that is computed: such a model has no pooler here.
bool PoolsWithTanh(const json& config, int32_t hidden_size) {
  const json* activation = FindField(config, "pooler_act");
  const json* size = FindField(config, "pooler_output_size");
  return (activation == nullptr || *activation == "tanh") &&
         (size == nullptr || *size == hidden_size);
}

absl::Status ParseTokens(const json& config, const Family& family, VitConfig& result) {
  result.distilled = family.distilled;
  result.layer_scale = family.dinov2;
  result.pools_with_tanh = PoolsWithTanh(config, result.hidden_size);
  result.position_resize = family.position_resize;
  absl::StatusOr<bool> qkv_bias = BoolField(config, "qkv_bias", true);
  if (!qkv_bias.ok()) return qkv_bias.status();
  result.qkv_bias = *qkv_bias;
  if (family.model_type != kRegisters) return absl::OkStatus();
  const SizeField size = {"num_register_tokens", kRegisterRange, 4, &result.registers};
  return ParseSizes(config, {&size, 1});
}

// Which vectors the classifier reads. Only a head that reads the class token alone can read the
// mean of all tokens instead.
absl::Status ParseClassifier(const json& config, const Family& family, VitConfig& result) {
  if (absl::Status status = ParseClassifierPooling(config, result); !status.ok()) return status;
  if (result.architecture == family.architectures[0]) return absl::OkStatus();
  if (absl::Status status = ParseHead(config, result); !status.ok()) return status;
  result.averages_classifiers = result.architecture == kTeacher;
  if (!family.dinov2 && !result.averages_classifiers) {
    result.classifier_parts = {{0, result.classifier_pooling}};
    return absl::OkStatus();
  }
  const ReadoutPart second =
      family.dinov2 ? ReadoutPart{result.prefix(), Pooling::kMean} : ReadoutPart{1, Pooling::kCls};
  result.classifier_parts = {{0, Pooling::kCls}, second};
  return RequireString(config, "classifier_pooling", "cls");
}

bool ReadsPrefixOnly(const VitConfig& config) {
  return config.classifies() &&
         std::all_of(config.classifier_parts.begin(), config.classifier_parts.end(),
                     [](const ReadoutPart& part) { return part.pooling == Pooling::kCls; });
}

}  // namespace

absl::Status CheckGrid(const VitConfig& config, const ImageSize& image) {
  const ImageSize grid = config.GridOf(image);
  const int64_t patches = int64_t{grid.height} * grid.width;
  if (patches >= 1 && patches <= kMaxPatches) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("\"patch_size\" cuts an image of ", image.height, " x ", image.width, " into ",
                   patches, " patches; from 1 to ", kMaxPatches, " are supported"));
}

absl::StatusOr<VitConfig> ParseVitConfig(absl::string_view text) {
  absl::StatusOr<json> config = ParseJson(text);
  if (!config.ok()) return config.status();
  absl::StatusOr<const Family*> family = ParseFamily(*config);
  if (!family.ok()) return family.status();
  VitConfig result;
  result.layer_norm_eps = (*family)->layer_norm_eps;
  absl::Status status = ParseFamilyArchitecture(*config, **family, result);
  if (status.ok()) status = RefuseQuantization(*config);
  if (status.ok()) status = ParseLayers(*config, result);
  if (status.ok()) status = ParseFeedForward(*config, **family, result);
  if (status.ok()) status = ParseImage(*config, **family, result);
  if (status.ok()) status = ParseTokens(*config, **family, result);
  if (status.ok()) status = ParseClassifier(*config, **family, result);
  if (status.ok()) {
    status = ParsePools(*config,
                        {.layers = result.layers,
                         .reads_first_token = ReadsPrefixOnly(result),
                         .prefix_tokens = result.prefix(),
                         .grid_width = result.GridOf(result.image).width},
                        result);
  }
  if (!status.ok()) return status;
  return result;
}

}  // namespace contextpool::engine
