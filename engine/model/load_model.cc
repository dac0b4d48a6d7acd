// From a model directory to a model on a device: what all architectures share, and whose turn it
// is.

#include <exception>
#include <new>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/json.h"
#include "engine/model/config_fields.h"
#include "engine/model/file.h"
#include "engine/model/image_config.h"
#include "engine/model/model.h"
#include "engine/model/model_loaders.h"

namespace contextpool::engine {
namespace {

// By "model_type" of config.json.
struct Family {
  absl::string_view model_type;
  absl::StatusOr<std::unique_ptr<Model>> (*load)(const ModelSpec& spec, Device& device);
};
constexpr Family kFamilies[] = {{"bert", LoadBert},  {"resnet", LoadResNet},
                                {"vit", LoadVit},    {"deit", LoadVit},
                                {"dinov2", LoadVit}, {"dinov2_with_registers", LoadVit}};

absl::StatusOr<const Family*> FindFamily(absl::string_view text) {
  absl::StatusOr<nlohmann::json> config = ParseJson(text);
  if (!config.ok()) return config.status();
  absl::StatusOr<std::string> type = StringField(*config, "model_type");
  if (!type.ok()) return type.status();
  for (const Family& family : kFamilies) {
    if (*type == family.model_type) return &family;
  }
  const auto name = [](std::string* out, const Family& family) {
    absl::StrAppend(out, family.model_type);
  };
  return NotSupported("model_type", *type, absl::StrJoin(kFamilies, ", ", name));
}

absl::Status CheckPooling(const ModelInfo& info) {
  if (info.pools(info.pooling)) return absl::OkStatus();
  const auto name = [](std::string* out, Pooling offered) { absl::StrAppend(out, Name(offered)); };
  return absl::InvalidArgumentError(
      absl::StrCat("pooling: this ", info.architecture, " does not offer ", Name(info.pooling),
                   "; it offers ", absl::StrJoin(info.poolings, ", ", name)));
}

absl::StatusOr<std::unique_ptr<Model>> Load(const ModelSpec& spec, Device& device) {
  absl::StatusOr<const Family*> family = ParseConfigFile(spec.directory, kConfigFile, FindFamily);
  if (!family.ok()) return family.status();
  absl::StatusOr<std::unique_ptr<Model>> model = (*family)->load(spec, device);
  if (!model.ok()) return model;
  if (absl::Status status = CheckPooling((*model)->info()); !status.ok()) return status;
  return model;
}

}  // namespace

ModelInfo Describe(const ModelSpec& spec, const OwnReadout& own, const Device& device) {
  ModelInfo info;
  info.name = spec.name;
  info.version = spec.version;
  info.pooling = spec.pooling.value_or(own.pooling);
  info.normalize = spec.normalize.value_or(own.normalize);
  info.own_pooling = own.pooling;
  info.own_normalize = own.normalize;
  info.device = std::string(device.name());
  info.dtype = device.dtype();
  return info;
}

ModelInfo Describe(const ModelSpec& spec, const OwnReadout& own, const Device& device,
                   const TransformerConfig& config) {
  ModelInfo info = Describe(spec, own, device);
  info.architecture = config.architecture;
  info.layers = config.layers;
  info.embedding_dimensions = config.hidden_size;
  info.labels = config.labels;
  info.problem_type = config.problem_type;
  info.context_pool_layers = config.context_pool.layers;
  return info;
}

absl::StatusOr<ImageConfig> ReadImageConfig(const ModelSpec& spec,
                                            std::optional<ImageSize> model_reads) {
  if (spec.max_tokens.has_value()) {
    return absl::InvalidArgumentError(
        "max_tokens is for models that read text; remove it from serving.textproto");
  }
  const auto parse = [&](absl::string_view text) { return ParseImageConfig(text, model_reads); };
  return ParseConfigFile(spec.directory, "preprocessor_config.json", parse);
}

absl::StatusOr<std::unique_ptr<Model>> LoadModel(const ModelSpec& spec, Device& device) {
  try {
    return Load(spec, device);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("there is not enough memory for the model");
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("loading failed: ", error.what()));
  }
}

}  // namespace contextpool::engine
