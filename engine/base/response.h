// What the engine answers: one outcome per input, numbers side by side in one block.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/clock.h"
#include "engine/base/image_config.h"
#include "engine/base/model_info.h"

namespace contextpool::engine {

// The outcome of one input. `status` speaks of this input alone: its fault, or the device's.
struct InputResult {
  absl::Status status;
  int32_t tokens_used = 0;
  // Before truncation, special tokens included.
  int64_t tokens_seen = 0;
  bool truncated = false;
};

// What the model read as one input and what ContextPool chose for it.
struct Explanation {
  int64_t length = 0;  // in tokens
  // As the vocabulary spells them; empty for images.
  std::vector<std::string> tokens;
  // [context_pool_layers, 2, length]: of each such layer the pooling weights, then the support
  // sizes in tokens, or cells of an image's grid. Both are 0 for tokens that are passed through.
  std::vector<float> context_pool;
  // Of images only: where the grid of tokens lies.
  std::optional<ImageBox> grid_box;
  // Of images only: how the file's picture is turned upright, by EXIF from 1 (not at all) to 8.
  int32_t image_orientation = 0;

  std::span<const float> weight(size_t layer) const { return Part(2 * layer); }
  std::span<const float> support_size(size_t layer) const { return Part(2 * layer + 1); }

 private:
  std::span<const float> Part(size_t index) const {
    const auto size = static_cast<size_t>(length);
    return std::span(context_pool).subspan(index * size, size);
  }
};

struct Timing {
  // Until the inputs were ready to be queued: tokenising, or waiting for images and decoding them.
  Duration preprocess{};
  // First input enqueued to last input taken into a batch.
  Duration queue{};
  // Sum over the batches that carried inputs of this request.
  Duration compute{};
};

struct Response {
  // The model that answered; stays valid after the model is replaced.
  std::shared_ptr<const ModelInfo> model;
  std::vector<InputResult> results;
  // [inputs, width] row by row: embeddings or logits. The rows of failed inputs hold zeros.
  std::vector<float> values;
  int32_t width = 0;
  // One per input where the request asked for them, else none. Those of failed inputs are empty.
  std::vector<Explanation> explanations;
  Timing timing;

  std::span<const float> row(size_t input) const {
    return std::span<const float>(values).subspan(input * width, width);
  }
};

}  // namespace contextpool::engine
