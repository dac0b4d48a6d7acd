// From a checkpoint's tensors to a device's weights.

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/model/bert.h"
#include "engine/model/context_pool_weights.h"

namespace contextpool::engine {
namespace {

class Loader {
 public:
  Loader(const EncoderConfig& config, const Checkpoint& checkpoint, Device& device)
      : config_(config), loader_(checkpoint, device) {}

  absl::StatusOr<BertWeights> Load() {
    const int64_t hidden = config_.hidden_size;
    BertWeights weights;
    weights.embeddings = Embeddings();
    for (int32_t i = 0; i < config_.layers && loader_.ok(); ++i) {
      weights.layers.push_back(Layer(absl::StrCat("encoder.layer.", i, ".")));
    }
    for (int32_t i : config_.context_pool.layers) {
      if (!loader_.ok()) break;
      weights.layers[i].context_pool =
          LoadContextPool(loader_, absl::StrCat("encoder.layer.", i, ".context_pool."), hidden,
                          config_.context_pool.options);
    }
    if (config_.classifies() || loader_.HasLinear("pooler.dense", hidden, hidden)) {
      weights.pooler = Linear({"pooler.dense"}, hidden, hidden);
    }
    if (config_.classifies()) {
      weights.classifier =
          Linear({"classifier"}, static_cast<int64_t>(config_.labels.size()), hidden);
    }
    if (!loader_.ok()) return loader_.status();
    weights.memory = loader_.TakeMemory();
    return weights;
  }

 private:
  EmbeddingTables Embeddings() {
    const int64_t hidden = config_.hidden_size;
    EmbeddingTables tables;
    tables.words = loader_.Table("embeddings.word_embeddings.weight", config_.vocabulary_size,
                                 hidden, config_.vocabulary_size);
    tables.positions = loader_.Table("embeddings.position_embeddings.weight", config_.max_positions,
                                     hidden, config_.max_positions);
    // Every token is of type 0.
    tables.token_type =
        loader_.Table("embeddings.token_type_embeddings.weight", config_.token_types, hidden, 1);
    tables.norm = Norm("embeddings.LayerNorm");
    return tables;
  }

  TransformerLayer Layer(const std::string& name) {
    const int64_t hidden = config_.hidden_size;
    const int64_t inner = config_.intermediate_size;
    const std::string attention = name + "attention.self.";
    TransformerLayer layer;
    layer.qkv =
        Linear({attention + "query", attention + "key", attention + "value"}, hidden, hidden);
    layer.attention_output = Linear({name + "attention.output.dense"}, hidden, hidden);
    layer.attention_norm = Norm(name + "attention.output.LayerNorm");
    layer.intermediate = Linear({name + "intermediate.dense"}, inner, hidden);
    layer.output = Linear({name + "output.dense"}, hidden, inner);
    layer.feed_forward_norm = Norm(name + "output.LayerNorm");
    return layer;
  }

  std::unique_ptr<LinearWeight> Linear(std::vector<std::string> names, int64_t out, int64_t in) {
    return loader_.Linear({.names = std::move(names), .out_columns = out, .in_columns = in});
  }

  LayerNormWeights Norm(const std::string& name) {
    return loader_.Norm(name, config_.hidden_size, config_.layer_norm_eps);
  }

  const EncoderConfig& config_;
  WeightLoader loader_;
};

}  // namespace

absl::StatusOr<BertWeights> LoadBertWeights(const EncoderConfig& config,
                                            const Checkpoint& checkpoint, Device& device) {
  return Loader(config, checkpoint, device).Load();
}

}  // namespace contextpool::engine
