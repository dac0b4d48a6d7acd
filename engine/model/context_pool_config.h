// The `context_pool` object of config.json as a checked value: docs/contextpool.md.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/json.h"
#include "engine/device/device.h"

namespace contextpool::engine {

// Where in a layer it stands: on the attention block's output (after residual and LayerNorm),
// before the feed-forward block, or on the layer's output.
enum class ContextPoolPlacement : uint8_t { kAfterAttention, kAfterLayer };

// The pooling layers of a ConvNet that it can replace: numbers in ContextPoolConfig::layers.
enum class ContextPoolPlace : int32_t { kStem, kFinal };

struct ContextPoolConfig {
  // Layers or places with ContextPool: from 0, rising. Empty: a plain encoder, and nothing below
  // counts.
  std::vector<int32_t> layers;
  ContextPoolPlacement placement = ContextPoolPlacement::kAfterAttention;
  ContextPoolOptions options;

  // Outputs of the first convolution's taps together.
  int64_t taps() const { return options.learned() ? options.taps() * options.bottleneck : 0; }
};

// What the object's defaults depend on.
struct ContextPoolSurroundings {
  // Layers of the encoder.
  int32_t layers = 0;
  // Whether all that is wanted of the last layer is its first token. Embeddings are pooled as each
  // request says, so of an encoder without a classifier every token is wanted.
  bool reads_first_token = false;
  // Special tokens that the tokeniser puts before a text, or other tokens before the grid; unset:
  // nobody knows, so the object must say. REQUIRES: set where there is a grid.
  std::optional<int32_t> prefix_tokens;
  // Columns of the grid that the other tokens are; 0: none, they lie in one dimension.
  int32_t grid_width = 0;
  // Whether `layers` lists places of a ConvNet instead. Their grids differ: whoever pools there
  // sets grid_width and outputs of the options. REQUIRES: `layers` is 2, there is a grid and no
  // prefix.
  bool convnet = false;
};

// INVALID_ARGUMENT names the key ("context_pool.kernel_size"), what is allowed and what was found.
// Unknown keys are refused. Numbers are bounded so that no size or distance overflows a float; the
// tensors' sizes are still only claims.
absl::StatusOr<ContextPoolConfig> ParseContextPool(const nlohmann::json& object,
                                                   const ContextPoolSurroundings& surroundings);

}  // namespace contextpool::engine
