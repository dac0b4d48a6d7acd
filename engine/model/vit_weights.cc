#include "engine/model/vit_weights.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/model/context_pool_weights.h"
#include "engine/model/position_grid.h"

namespace contextpool::engine {
namespace {

// What DINOv2 calls otherwise than ViT, inside a layer.
struct LayerNames {
  const char* attention_norm;
  const char* feed_forward_norm;
  const char* intermediate;
  const char* output;
};
constexpr LayerNames kVitNames = {"layernorm_before", "layernorm_after", "intermediate.dense",
                                  "output.dense"};
constexpr LayerNames kDinov2Names = {"norm1", "norm2", "mlp.fc1", "mlp.fc2"};

class Loader {
 public:
  Loader(const VitConfig& config, ImageSize grid, const Checkpoint& checkpoint, Device& device)
      : config_(config), grid_(grid), loader_(checkpoint, device) {}

  absl::StatusOr<VitWeights> Load() {
    VitWeights weights;
    weights.patches = Patches("embeddings.patch_embeddings.projection");
    weights.tokens = Tokens();
    for (int32_t i = 0; i < config_.layers && loader_.ok(); ++i) {
      weights.layers.push_back(Layer(absl::StrCat("encoder.layer.", i, ".")));
    }
    for (int32_t i : config_.context_pool.layers) {
      if (!loader_.ok()) break;
      weights.layers[i].context_pool =
          LoadContextPool(loader_, absl::StrCat("encoder.layer.", i, ".context_pool."),
                          config_.hidden_size, config_.context_pool.options);
    }
    weights.norm = loader_.Norm("layernorm", config_.hidden_size, config_.layer_norm_eps);
    weights.pooler = Pooler("pooler.dense");
    if (config_.classifies()) weights.classifier = Classifier();
    if (!loader_.ok()) return loader_.status();
    weights.memory = loader_.TakeMemory();
    return weights;
  }

 private:
  // A convolution's [out, channels, height, width] as [out, height, width, channels].
  std::unique_ptr<LinearWeight> Patches(const std::string& name) {
    const int64_t hidden = config_.hidden_size;
    const int64_t size = config_.patch_size;
    const int64_t area = size * size;
    const std::vector<float> values =
        loader_.Read(name + ".weight", {hidden, kernels::kPixelChannels, size, size});
    const std::vector<float> bias = loader_.Read(name + ".bias", {hidden});
    std::vector<float> turned(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      const int64_t place = static_cast<int64_t>(i) % area;
      const int64_t channel = static_cast<int64_t>(i) / area % kernels::kPixelChannels;
      const int64_t row = static_cast<int64_t>(i) / area / kernels::kPixelChannels;
      turned[(row * area + place) * kernels::kPixelChannels + channel] = values[i];
    }
    return loader_.Prepare(name, turned, bias, hidden);
  }

  TensorView Tokens() {
    const std::string name = "embeddings.position_embeddings";
    const int64_t hidden = config_.hidden_size;
    const ImageSize trained = config_.GridOf(config_.image);
    const int64_t positioned = config_.prefix() - config_.registers;
    const std::vector<float> positions =
        loader_.Read(name, {1, positioned + int64_t{trained.height} * trained.width, hidden});
    std::vector<float> table = loader_.Read("embeddings.cls_token", {1, 1, hidden});
    if (config_.distilled)
      Append(loader_.Read("embeddings.distillation_token", {1, 1, hidden}), table);
    if (!loader_.ok()) return {};
    for (size_t i = 0; i < table.size(); ++i) table[i] += positions[i];
    if (config_.registers > 0) {
      Append(loader_.Read("embeddings.register_tokens", {1, config_.registers, hidden}), table);
    }
    const std::span<const float> patches = std::span(positions).subspan(positioned * hidden);
    if (grid_ == trained) {
      Append(patches, table);
    } else {
      Append(ResizePositionGrid(patches, hidden, trained, grid_,
                                config_.position_resize == PositionResize::kBicubicAntialiased),
             table);
    }
    return loader_.Upload(name, table, {static_cast<int64_t>(table.size()) / hidden, hidden});
  }

  static void Append(std::span<const float> rows, std::vector<float>& table) {
    table.insert(table.end(), rows.begin(), rows.end());
  }

  TransformerLayer Layer(const std::string& name) {
    const int64_t hidden = config_.hidden_size;
    const int64_t inner = config_.intermediate_size;
    const LayerNames& names = config_.layer_scale ? kDinov2Names : kVitNames;
    const std::string attention = name + "attention.attention.";
    TransformerLayer layer;
    layer.qkv =
        loader_.Linear({.names = {attention + "query", attention + "key", attention + "value"},
                        .out_columns = hidden,
                        .in_columns = hidden,
                        .has_bias = config_.qkv_bias});
    layer.attention_output = loader_.Linear({.names = {name + "attention.output.dense"},
                                             .out_columns = hidden,
                                             .in_columns = hidden,
                                             .scale = Scale(name + "layer_scale1")});
    layer.attention_norm = Norm(name + names.attention_norm);
    layer.intermediate = loader_.Linear(
        {.names = {name + names.intermediate}, .out_columns = inner, .in_columns = hidden});
    layer.output = loader_.Linear({.names = {name + names.output},
                                   .out_columns = hidden,
                                   .in_columns = inner,
                                   .scale = Scale(name + "layer_scale2")});
    layer.feed_forward_norm = Norm(name + names.feed_forward_norm);
    return layer;
  }

  std::string Scale(const std::string& name) const {
    return config_.layer_scale ? name + ".lambda1" : "";
  }

  LayerNormWeights Norm(const std::string& name) {
    return loader_.Norm(name, config_.hidden_size, config_.layer_norm_eps);
  }

  std::unique_ptr<LinearWeight> Pooler(const std::string& name) {
    const int64_t hidden = config_.hidden_size;
    if (!config_.pools_with_tanh || !loader_.HasLinear(name, hidden, hidden)) return nullptr;
    return loader_.Linear({.names = {name}, .out_columns = hidden, .in_columns = hidden});
  }

  std::unique_ptr<LinearWeight> Classifier() {
    const auto labels = static_cast<int64_t>(config_.labels.size());
    const int64_t hidden = config_.hidden_size;
    if (config_.averages_classifiers) return AveragedClassifiers(labels);
    const auto parts = static_cast<int64_t>(config_.classifier_parts.size());
    return loader_.Linear(
        {.names = {"classifier"}, .out_columns = labels, .in_columns = parts * hidden});
  }

  // (A x + a + B y + b) / 2 as one layer over x and y side by side.
  std::unique_ptr<LinearWeight> AveragedClassifiers(int64_t labels) {
    const int64_t hidden = config_.hidden_size;
    std::vector<float> weight;
    std::vector<float> bias;
    for (int64_t half = 0; half < 2; ++half) {
      const std::string name = half == 0 ? "cls_classifier" : "distillation_classifier";
      const std::vector<float> values = loader_.Read(name + ".weight", {labels, hidden});
      const std::vector<float> shift = loader_.Read(name + ".bias", {labels});
      if (!loader_.ok()) return nullptr;
      weight.resize(labels * 2 * hidden);
      bias.resize(labels);
      for (int64_t i = 0; i < labels; ++i) {
        bias[i] += shift[i] / 2;
        for (int64_t c = 0; c < hidden; ++c) {
          weight[(2 * i + half) * hidden + c] = values[i * hidden + c] / 2;
        }
      }
    }
    return loader_.Prepare("cls_classifier", weight, bias, labels);
  }

  const VitConfig& config_;
  const ImageSize grid_;
  WeightLoader loader_;
};

}  // namespace

absl::StatusOr<VitWeights> LoadVitWeights(const VitConfig& config, ImageSize grid,
                                          const Checkpoint& checkpoint, Device& device) {
  return Loader(config, grid, checkpoint, device).Load();
}

}  // namespace contextpool::engine
