// Settings of the engine and of each model. Plain values, validated by whoever parses them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/request.h"

namespace contextpool::engine {

// On two cores 1,024 to 2,048 tokens are fastest: larger batches leave the cache, smaller ones
// starve the matrix products.
inline constexpr int64_t kDefaultBatchTokenBudget = 1536;

// How one model's work is queued and cut into batches.
struct QueueOptions {
  // Tokens that one batch holds at most; 0: kDefaultBatchTokenBudget, or the model's longest input
  // if that is more.
  int64_t batch_token_budget = 0;
  int64_t batch_max_inputs = 256;
  // Bounds on what may wait.
  int64_t max_tokens = 1 << 20;
  int64_t max_inputs = 16384;
  // Also what the explanations of requests that are not answered yet may take together.
  int64_t max_bytes = 64 << 20;
  // Deadline of requests that bring none.
  Duration default_deadline = std::chrono::seconds(60);
};

// One model directory and what the operator wants of it. Unset: as the checkpoint says.
struct ModelSpec {
  std::string name;
  int64_t version = 1;
  std::string directory;
  QueueOptions queue;
  std::optional<Pooling> pooling;
  std::optional<bool> normalize;
  std::optional<int32_t> max_tokens;
  // Largest error against golden.safetensors.
  std::optional<double> golden_tolerance;
  // Special tokens that tokenizer.json puts before a text; set by the engine.
  std::optional<int32_t> prefix_tokens;
};

struct EngineOptions {
  std::vector<ModelSpec> models;
  // Threads of the CPU device; 0: as many as the process may use (its cgroup's quota).
  int32_t cpu_threads = 0;
};

}  // namespace contextpool::engine
