// The value that crosses from batching to execution: sequences of several callers side by side,
// without padding.
#pragma once

#include <cstdint>
#include <span>

#include "engine/base/request.h"

namespace contextpool::engine {

// What one sequence is wanted for.
struct OutputSpec {
  TaskKind task = TaskKind::kEmbed;
  Pooling pooling = Pooling::kMean;
  bool normalize = false;
  // Whether the caller wants to see what ContextPool chose.
  bool explain = false;

  bool operator==(const OutputSpec&) const = default;
};

// Views into the executor's staging memory, valid during one step.
struct PackedBatch {
  // [total_tokens], the sequences one after the other; empty for images.
  std::span<const int32_t> token_ids = {};
  // [sequences, height, width, 3], the images one after the other; empty for texts.
  std::span<const uint8_t> pixels = {};
  // [sequences + 1]: sequence i has the tokens [cu_lengths[i], cu_lengths[i + 1]), an image those
  // that the model makes of it. No empty sequence.
  std::span<const int32_t> cu_lengths;
  // [sequences]
  std::span<const OutputSpec> outputs;
  // Length of the longest sequence.
  int32_t max_length = 0;

  int32_t sequences() const { return static_cast<int32_t>(outputs.size()); }
  int32_t total_tokens() const { return cu_lengths.empty() ? 0 : cu_lengths.back(); }
};

}  // namespace contextpool::engine
