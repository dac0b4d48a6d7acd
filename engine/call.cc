#include "engine/call.h"

#include <algorithm>
#include <utility>

namespace contextpool::engine {
namespace {

int32_t Width(TaskKind task, const ModelInfo& model) {
  return task == TaskKind::kEmbed ? model.embedding_dimensions
                                  : static_cast<int32_t>(model.labels.size());
}

}  // namespace

Call::Call(Request request, std::shared_ptr<const ModelInfo> model, ModelCounters& counters,
           Engine::Callback done, AtEnd at_end)
    : request_(std::move(request)),
      counters_(counters),
      done_(std::move(done)),
      at_end_(std::move(at_end)) {
  const size_t inputs = request_.inputs.size();
  response_.width = Width(request_.task, *model);
  response_.model = std::move(model);
  response_.results.resize(inputs);
  response_.values.resize(inputs * response_.width);
  if (request_.explain) response_.explanations.resize(inputs);
  tasks_.reserve(inputs);
}

size_t Call::BytesPerTask(TaskKind task, const ModelInfo& model) {
  return sizeof(Task) + Width(task, model) * sizeof(float);
}

void Call::ReservePixels(int64_t bytes_per_image) {
  bytes_per_image_ = bytes_per_image;
  pixels_ = std::make_unique_for_overwrite<uint8_t[]>(request_.inputs.size() * bytes_per_image);
}

std::span<uint8_t> Call::pixels(int32_t index) {
  return {pixels_.get() + index * bytes_per_image_, static_cast<size_t>(bytes_per_image_)};
}

Task& Call::AddTask(int32_t index) {
  const ModelInfo& model = *response_.model;
  Task& task = tasks_.emplace_back();
  task.output = {request_.task, request_.pooling.value_or(model.pooling),
                 request_.normalize.value_or(model.normalize), request_.explain};
  task.index = index;
  task.completion = this;
  task.bytes = static_cast<int64_t>(BytesPerTask(request_.task, model));
  task.canary = request_.canary;
  task.values = std::span<float>(response_.values)
                    .subspan(static_cast<size_t>(index) * response_.width, response_.width);
  return task;
}

void Call::UseCache(ResultCache& cache) {
  cache_ = &cache;
  counters_.cache_hits += std::erase_if(tasks_, [&cache](Task& task) { return cache.Find(task); });
  counters_.cache_misses += tasks_.size();
}

absl::Status Call::Queue(Batcher& batcher, QueueId queue, TimePoint deadline) {
  open_tasks_.store(static_cast<int64_t>(tasks_.size()), std::memory_order_relaxed);
  work_.tasks = tasks_;
  work_.priority = request_.priority;
  work_.deadline = deadline;
  work_.promised = request_.deadline.has_value();
  work_.stop = request_.stop;
  work_.completion = this;
  on_stop_.emplace(request_.stop, LeaveQueue{batcher, work_});
  return batcher.Enqueue(queue, work_);
}

void Call::Finish(Task& task, absl::Status status) {
  if (!status.ok()) {
    std::fill(task.values.begin(), task.values.end(), 0.0f);
    if (request_.explain) response_.explanations[task.index] = {};
  } else if (cache_ != nullptr) {
    cache_->Put(task);
  }
  response_.results[task.index].status = std::move(status);
  TasksDone(1);
}

void Call::Abort(int64_t tasks, absl::Status status) {
  counters_.CountDropped(status.code(), tasks);
  {
    MutexLock lock(mutex_);
    failure_.Update(std::move(status));
  }
  TasksDone(tasks);
}

void Call::TasksDone(int64_t count) {
  if (open_tasks_.fetch_sub(count, std::memory_order_acq_rel) > count) return;
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
    // Batches take a request's tasks in its order, twins of others' tasks aside.
    if (task.taken > batch) response_.timing.compute += task.compute;
    batch = std::max(batch, task.taken);
  }
  response_.timing.queue = last_taken - tasks_.front().enqueued;
}

void Call::AnswerNow(absl::Status status) {
  // If the caller gives up right now, in another thread, this waits for what that thread does here.
  on_stop_.reset();
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
