// What the engine answers: one outcome per input, numbers side by side in one block.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/clock.h"
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

struct Timing {
  Duration tokenize{};
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
  Timing timing;

  std::span<const float> row(size_t input) const {
    return std::span<const float>(values).subspan(input * width, width);
  }
};

}  // namespace contextpool::engine
