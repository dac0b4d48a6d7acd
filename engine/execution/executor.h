// Runs batches on one device: owns its thread, its workspace and its staging memory.
//
// All models of a device share one executor, so a step has the whole device to itself and the most
// urgent work of any model is next. Nothing is allocated per batch by this code once warm.
//
// A model that is loaded takes turns with the batches of those that serve: a batch waits for one
// pass of the load at most, a pass for one batch. Both are watched while they have the device, not
// while they wait for it.
//
// What ContextPool chose is copied to the host for batches that somebody wants explained, and for
// one in kContextPoolSample of each model, the first included, for its metrics.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/batch.h"
#include "engine/base/clock.h"
#include "engine/base/stats.h"
#include "engine/device/arena.h"
#include "engine/device/device.h"
#include "engine/execution/fair_mutex.h"
#include "engine/execution/step_watch.h"
#include "engine/model/golden.h"
#include "engine/model/model.h"

namespace contextpool::engine {

class Executor {
 public:
  struct StepTime {
    int64_t tokens = 0;
    Duration took{};
  };

  static constexpr uint64_t kContextPoolSample = 64;

  // `device` and `clock` must outlive the executor.
  Executor(Device& device, Clock& clock);
  // Waits for the thread: the source must come to its end.
  ~Executor();

  // Makes room for the model's largest batch, computes such batches to warm up and check the way,
  // compares the model with `golden` if there is one, and from then on accepts batches of `queue`.
  // Each of these passes waits for one batch of the others at most, and they for one pass.
  // `model` and `counters` must outlive the executor.
  // Says what the warm-up took: the first that is known of the model's steps.
  absl::StatusOr<StepTime> AddModel(QueueId queue, const Model& model, const BatchLimits& limits,
                                    const GoldenFile* golden, ModelCounters& counters);

  // Forgets the model, and gives back workspace that only it needed. Waits for the running step.
  // REQUIRES: nothing of the queue is to be computed, and no model is being added.
  void RemoveModel(QueueId queue);

  // To be called when a load failed otherwise: dies if that was because the device is lost.
  void CheckDevice() ABSL_LOCKS_EXCLUDED(step_);

  // Starts the thread that takes batches from `source`, which must outlive the executor.
  // REQUIRES: called once.
  void Start(BatchSource& source);

  // What has the device, and for how long.
  const StepWatch& steps() const { return steps_; }

 private:
  struct Served {
    const Model* model = nullptr;
    ModelCounters* counters = nullptr;
    size_t workspace_bytes = 0;
    // Batches run.
    uint64_t batches = 0;
  };

  // The device, its memory and the models to oneself, watched from when one has them until the end
  // of the scope.
  class ABSL_SCOPED_LOCKABLE Turn {
   public:
    // For a batch.
    Turn(Executor& executor, Duration predicted) ABSL_EXCLUSIVE_LOCK_FUNCTION(executor.step_);
    // For a load.
    explicit Turn(Executor& executor) ABSL_EXCLUSIVE_LOCK_FUNCTION(executor.step_);
    ~Turn() ABSL_UNLOCK_FUNCTION();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    Executor& executor_;
  };

  // What a step brings to the host: embeddings and logits, or what ContextPool chose too.
  enum class Wanted : uint8_t { kResults, kResultsAndChoices };

  // When the device began and ended the pass of the running step.
  struct StepTimes {
    TimePoint begin{};
    TimePoint computed{};
  };

  // Staging memory on the host for one batch.
  struct Staging {
    std::vector<int32_t> token_ids;
    std::vector<uint8_t> pixels;
    std::vector<int32_t> cu_lengths;
    std::vector<OutputSpec> outputs;
    std::vector<float> embeddings;
    std::vector<float> logits;
    // As ModelOutput has them; empty unless they were wanted of a model with ContextPool.
    std::vector<float> context_pool;
    kernels::ContextPoolTiles tiles;
  };

  void Loop(BatchSource& source);
  void RunBatch(Batch& batch, BatchSource& source) ABSL_LOCKS_EXCLUDED(step_);
  PackedBatch Pack(std::span<Task* const> tasks) ABSL_EXCLUSIVE_LOCKS_REQUIRED(step_);
  // AddModel without the golden values: makes room and computes the largest batches, of the longest
  // sequences and, where the device has something to learn, of the most; after which it is as fast
  // as ever, and has all memory that any batch needs. How long the last pass over the longest took.
  absl::StatusOr<StepTime> WarmUp(const Served& served, const BatchLimits& limits)
      ABSL_LOCKS_EXCLUDED(step_);
  // Gives back workspace that no model needs.
  void ShrinkWorkspace() ABSL_EXCLUSIVE_LOCKS_REQUIRED(step_);
  // Queues the forward pass and the copies of what is wanted, and waits for them: nothing is waited
  // for in between. What is wanted is then in staging memory.
  absl::Status Compute(const Served& served, const PackedBatch& packed, Wanted wanted)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(step_);
  void Fetch(const ModelOutput& output, Wanted wanted) ABSL_EXCLUSIVE_LOCKS_REQUIRED(step_);
  // Waits for the device, and dies if that is lost.
  absl::Status EndPass() ABSL_EXCLUSIVE_LOCKS_REQUIRED(step_);
  // Compute for callers: all errors are INTERNAL, and so are exceptions of models and devices.
  absl::Status ComputeNoThrow(const Served& served, const PackedBatch& packed, Wanted wanted)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(step_);
  // Gives every task and its twins their row, or the error of their input.
  void Deliver(std::span<Task* const> tasks, ModelCounters& counters)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(step_);
  absl::Status Reserve(const Served& served, const BatchLimits& limits)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(step_);
  // One pass over so many tokens, all of them 0, in sequences of about the same length: how long it
  // took.
  absl::StatusOr<StepTime> ComputeBlank(const Served& served, int64_t sequences, int64_t tokens,
                                        const OutputSpec& output) ABSL_LOCKS_EXCLUDED(step_);
  absl::Status CheckAgainst(const GoldenFile& golden, const Served& served,
                            const BatchLimits& limits) ABSL_LOCKS_EXCLUDED(step_);

  Device& device_;
  Clock& clock_;
  // Held during a step.
  FairMutex step_;
  std::vector<Served> served_ ABSL_GUARDED_BY(step_);  // by QueueId
  std::optional<Arena> workspace_ ABSL_GUARDED_BY(step_);
  Staging staging_ ABSL_GUARDED_BY(step_);
  StepTimes times_ ABSL_GUARDED_BY(step_);
  // What batches of canaries alone would have added to the counters of their model.
  ModelCounters uncounted_ ABSL_GUARDED_BY(step_);
  StepWatch steps_;
  std::thread thread_;
};

}  // namespace contextpool::engine
