// Settings of the engine and of each model. Plain values, validated by whoever parses them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/clock.h"
#include "engine/base/dtype.h"
#include "engine/base/image_config.h"
#include "engine/base/request.h"

namespace contextpool::engine {

// Tokens of a batch unless serving.textproto says otherwise, on the device that takes the smallest
// batches: a CPU. Where there are two cores 1,024 to 2,048 tokens are fastest: larger batches leave
// the cache, smaller ones starve the matrix products.
inline constexpr int64_t kDefaultBatchTokenBudget = 1536;

// Bounds on what may wait.
struct QueueBounds {
  int64_t max_tokens = 1 << 20;
  int64_t max_inputs = 16384;
  // Of one model: also what the explanations of requests that are not answered yet may take
  // together.
  int64_t max_bytes = 64 << 20;

  bool operator==(const QueueBounds&) const = default;
};

// How one model's work is queued and cut into batches; max_tokens and so on bound what waits for
// it.
struct QueueOptions : QueueBounds {
  // Tokens that one batch holds at most; 0: what the device likes best, at most max_tokens, or the
  // model's longest input if that is more.
  int64_t batch_token_budget = 0;
  int64_t batch_max_inputs = 256;
  // Longest time for which an idle device may wait for company; 0: it never waits.
  Duration max_wait = std::chrono::milliseconds(2);
  // Shares of the device where both classes wait: bulk gets bulk_weight tokens for every
  // interactive_weight tokens of interactive work.
  int32_t interactive_weight = 8;
  int32_t bulk_weight = 1;
  // Deadline of requests that bring none.
  Duration default_deadline = std::chrono::seconds(60);
  // Memory for exact results of inputs that were computed before; 0: none are kept.
  int64_t result_cache_bytes = 0;

  bool operator==(const QueueOptions&) const = default;
};

// One model directory and what the operator wants of it. Unset: as the checkpoint says.
struct ModelSpec {
  std::string name;
  int64_t version = 1;
  std::string directory;
  // One of the engine's; empty: the engine chooses.
  std::string device;
  // What that device must compute in.
  std::optional<DType> dtype;
  QueueOptions queue;
  std::optional<Pooling> pooling;
  std::optional<bool> normalize;
  std::optional<int32_t> max_tokens;
  // Largest error against golden.safetensors.
  std::optional<double> golden_tolerance;
  // Special tokens that tokenizer.json puts before a text; set by the engine.
  std::optional<int32_t> prefix_tokens;

  bool operator==(const ModelSpec&) const = default;
};

struct EngineOptions {
  std::vector<ModelSpec> models;
  // "cpu", "cuda:<index>" and "cuda" for every GPU, no device twice; or "auto": every GPU that can
  // be used, then the CPU. Models that name none are spread over the GPUs; a CPU beside them gets
  // what they do not compute.
  std::vector<std::string> devices = {"cpu"};
  // What GPUs compute in: kBF16 or kF16.
  DType gpu_dtype = DType::kBF16;
  // On what waits for all models of a device together.
  QueueBounds queue{.max_tokens = 4 << 20, .max_inputs = 65536, .max_bytes = 256 << 20};
  // Threads of the CPU device; 0: as many as the process may use (its cgroup's quota).
  int32_t cpu_threads = 0;
  // Threads that decode images, beside those; 0: half as many as the process may use.
  int32_t decode_threads = 0;
  ImageLimits image_limits;
  // A model that computed nothing for so long is asked by the engine itself whether it still
  // answers; 0: never.
  Duration canary_interval{};
};

}  // namespace contextpool::engine
