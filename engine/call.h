// One request on its way through the engine: owns the tasks, collects what becomes of them, and
// answers once all are done.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <stop_token>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/base/byte_budget.h"
#include "engine/base/mutex.h"
#include "engine/base/request.h"
#include "engine/base/response.h"
#include "engine/base/task.h"
#include "engine/batching/batcher.h"
#include "engine/engine.h"
#include "engine/result_cache.h"

namespace contextpool::engine {

// Lives from the request's arrival to its answer and deletes itself after answering.
class Call final : public Completion {
 public:
  // Runs after `done`, whatever the answer is.
  using AtEnd = absl::AnyInvocable<void()>;

  // `model` answers; its embedding or label count sets the width of the response. `counters` are
  // that model's.
  Call(Request request, std::shared_ptr<const ModelInfo> model, ModelCounters& counters,
       Engine::Callback done, AtEnd at_end);

  const Request& request() const { return request_; }
  Response& response() { return response_; }
  ModelCounters& counters() { return counters_; }

  // Token ids of every input that has none of its own, appended one after the other.
  std::vector<int32_t>& token_ids() { return token_ids_; }

  // Room for the images of all inputs, each of so many bytes.
  void ReservePixels(int64_t bytes_per_image);
  // Of one input. REQUIRES: there is room.
  std::span<uint8_t> pixels(int32_t index);

  // What a task and its row of the response take.
  static size_t BytesPerTask(TaskKind task, const ModelInfo& model);

  // Makes a task of input `index`, whose example and cost are left to fill in. All tasks are added
  // before any is queued.
  Task& AddTask(int32_t index);
  std::vector<Task>& tasks() { return tasks_; }

  // Answers what `cache` knows, and lets it know what is computed. It must outlive the call.
  void UseCache(ResultCache& cache);

  // Queues the tasks; REQUIRES: there are some. Once this is OK the call may be answered, and gone,
  // at any time. When the caller gives up, what still waits leaves the queue.
  absl::Status Queue(Batcher& batcher, QueueId queue, TimePoint deadline);

  // Gives the share back once the request has been answered.
  void Hold(ByteBudget::Share share) { share_ = std::move(share); }

  // Answers without any task, and deletes this.
  void AnswerNow(absl::Status status);

  void Finish(Task& task, absl::Status status) override;
  void Abort(int64_t tasks, absl::Status status) override;

 private:
  struct LeaveQueue {
    Batcher& batcher;
    Submission& work;
    void operator()() const { batcher.Cancel(work); }
  };

  ~Call() = default;
  void TasksDone(int64_t count);
  void FillTiming();

  ByteBudget::Share share_;
  Request request_;
  ModelCounters& counters_;
  Engine::Callback done_;
  AtEnd at_end_;
  Response response_;
  std::vector<int32_t> token_ids_;
  std::unique_ptr<uint8_t[]> pixels_;
  int64_t bytes_per_image_ = 0;
  std::vector<Task> tasks_;
  Submission work_;
  ResultCache* cache_ = nullptr;
  std::atomic<int64_t> open_tasks_{0};
  Mutex mutex_;
  // The first reason for which the whole request failed.
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  std::optional<std::stop_callback<LeaveQueue>> on_stop_;
};

}  // namespace contextpool::engine
