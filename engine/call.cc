#include "engine/call.h"

#include <algorithm>
#include <utility>

namespace contextpool::engine {

Call::Call(Request request, std::shared_ptr<const ModelInfo> model, ModelCounters& counters,
           Engine::Callback done, AtEnd at_end)
    : request_(std::move(request)),
      counters_(counters),
      done_(std::move(done)),
      at_end_(std::move(at_end)) {
  const size_t inputs = request_.inputs.size();
  response_.width = request_.task == TaskKind::kEmbed ? model->embedding_dimensions
                                                      : static_cast<int32_t>(model->labels.size());
  response_.model = std::move(model);
  response_.results.resize(inputs);
  response_.values.resize(inputs * response_.width);
  if (request_.explain) response_.explanations.resize(inputs);
  tasks_.reserve(inputs);
}

Task& Call::AddTask(int32_t index) {
  Task& task = tasks_.emplace_back();
  task.index = index;
  task.completion = this;
  task.priority = request_.priority;
  task.cancelled = &request_.cancelled;
  task.values = std::span<float>(response_.values)
                    .subspan(static_cast<size_t>(index) * response_.width, response_.width);
  open_tasks_.store(tasks_.size(), std::memory_order_relaxed);
  return task;
}

void Call::Finish(Task& task, absl::Status status) {
  if (!status.ok()) {
    std::fill(task.values.begin(), task.values.end(), 0.0f);
    if (request_.explain) response_.explanations[task.index] = {};
  }
  response_.results[task.index].status = std::move(status);
  TaskDone();
}

void Call::Abort(Task&, absl::Status status) {
  if (absl::IsDeadlineExceeded(status)) counters_.Count(DropReason::kDeadline);
  if (absl::IsCancelled(status)) counters_.Count(DropReason::kCancelled);
  {
    MutexLock lock(mutex_);
    failure_.Update(std::move(status));
  }
  TaskDone();
}

void Call::TaskDone() {
  if (open_tasks_.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
  absl::Status failure;
  {
    MutexLock lock(mutex_);
    failure = failure_;
  }
  AnswerNow(std::move(failure));
}

void Call::FillTiming() {
  if (tasks_.empty()) return;
  TimePoint last_taken = tasks_.front().taken;
  TimePoint batch{};
  for (const Task& task : tasks_) {
    last_taken = std::max(last_taken, task.taken);
    // Tasks of one batch stand side by side: a queue keeps a request's order.
    if (task.taken != batch) response_.timing.compute += task.compute;
    batch = task.taken;
  }
  response_.timing.queue = last_taken - tasks_.front().enqueued;
}

void Call::AnswerNow(absl::Status status) {
  if (status.ok()) {
    FillTiming();
    done_(std::move(response_));
  } else {
    done_(std::move(status));
  }
  share_ = ByteBudget::Share();  // what it counts in may be gone after the end
  at_end_();
  delete this;
}

}  // namespace contextpool::engine
