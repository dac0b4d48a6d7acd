#include "engine/execution/executor.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace contextpool::engine {
namespace {

bool AllFinite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(),
                     [](float value) { return std::isfinite(value); });
}

size_t Elements(const TensorView& tensor) { return static_cast<size_t>(tensor.elements()); }

}  // namespace

Executor::Executor(Device& device, Clock& clock) : device_(device), clock_(clock) {}

Executor::~Executor() {
  if (thread_.joinable()) thread_.join();
}

absl::Status Executor::Reserve(const Model& model, const BatchLimits& limits) {
  const size_t bytes = model.WorkspaceBytes(limits);
  if (!workspace_ || workspace_->capacity() < bytes) {
    // The old one goes only when the new one is there: other models compute in it.
    absl::StatusOr<Arena> arena = Arena::Create(device_, bytes);
    if (!arena.ok()) return arena.status();
    workspace_ = *std::move(arena);
  }
  const ModelInfo& info = model.info();
  const auto sequences = static_cast<size_t>(limits.sequences);
  staging_.token_ids.reserve(limits.tokens);
  staging_.cu_lengths.reserve(sequences + 1);
  staging_.outputs.reserve(sequences);
  staging_.embeddings.reserve(sequences * info.embedding_dimensions);
  staging_.logits.reserve(sequences * info.labels.size());
  return absl::OkStatus();
}

absl::Status Executor::WarmUp(const Served& served, const BatchLimits& limits) {
  const ModelInfo& info = served.model->info();
  const int64_t length = std::min<int64_t>(info.max_tokens, limits.tokens);
  const int64_t sequences = std::min(limits.sequences, limits.tokens / length);
  std::vector<Task> tasks(sequences);
  std::vector<Task*> pointers;
  const std::vector<int32_t> token_ids(length, 0);
  for (Task& task : tasks) {
    task.token_ids = token_ids;
    task.output.pooling = info.pooling;
    if (info.classifies()) task.output.task = TaskKind::kClassify;
    pointers.push_back(&task);
  }
  return Compute(served, Pack(pointers));
}

absl::Status Executor::AddModel(QueueId queue, const Model& model, const BatchLimits& limits,
                                ModelCounters& counters) {
  MutexLock lock(step_);
  const Served served{&model, &counters};
  if (absl::Status status = Reserve(model, limits); !status.ok()) return status;
  if (absl::Status status = WarmUp(served, limits); !status.ok()) return status;
  if (served_.size() <= static_cast<size_t>(queue)) served_.resize(queue + 1);
  served_[queue] = served;
  return absl::OkStatus();
}

void Executor::Start(NextBatch source) {
  thread_ = std::thread([this, source = std::move(source)]() mutable { Loop(std::move(source)); });
}

void Executor::Loop(NextBatch source) {
  Batch batch;
  while (source(batch)) RunBatch(batch);
}

PackedBatch Executor::Pack(std::span<Task* const> tasks) {
  staging_.token_ids.clear();
  staging_.cu_lengths.assign(1, 0);
  staging_.outputs.clear();
  PackedBatch packed;
  for (const Task* task : tasks) {
    staging_.token_ids.insert(staging_.token_ids.end(), task->token_ids.begin(),
                              task->token_ids.end());
    staging_.cu_lengths.push_back(static_cast<int32_t>(staging_.token_ids.size()));
    staging_.outputs.push_back(task->output);
    packed.max_length = std::max(packed.max_length, static_cast<int32_t>(task->token_ids.size()));
  }
  packed.token_ids = staging_.token_ids;
  packed.cu_lengths = staging_.cu_lengths;
  packed.outputs = staging_.outputs;
  return packed;
}

absl::Status Executor::Compute(const Served& served, const PackedBatch& packed) {
  times_.begin = clock_.Now();
  workspace_->Reset();
  absl::StatusOr<ModelOutput> output = served.model->Forward(packed, *workspace_);
  absl::Status status = device_.Synchronize();
  if (!output.ok()) return output.status();
  times_.computed = clock_.Now();
  if (!status.ok()) return status;
  staging_.embeddings.resize(Elements(output->embeddings));
  staging_.logits.resize(Elements(output->logits));
  device_.CopyToHost(staging_.embeddings.data(), output->embeddings.data,
                     output->embeddings.bytes());
  device_.CopyToHost(staging_.logits.data(), output->logits.data, output->logits.bytes());
  return device_.Synchronize();
}

void Executor::Deliver(std::span<Task* const> tasks) {
  const float* embedding = staging_.embeddings.data();
  const float* logits = staging_.logits.data();
  for (Task* task : tasks) {
    const float*& row = task->output.task == TaskKind::kEmbed ? embedding : logits;
    std::copy_n(row, task->values.size(), task->values.begin());
    row += task->values.size();
    if (AllFinite(task->values)) {
      task->completion->Finish(*task, absl::OkStatus());
    } else {
      task->completion->Finish(
          *task, absl::InternalError(absl::StrCat("inputs[", task->index,
                                                  "]: the model computed a value that is not "
                                                  "finite; its weights may be damaged")));
    }
  }
}

void Executor::RunBatch(Batch& batch) {
  MutexLock lock(step_);
  const Served& served = served_[batch.queue];
  ModelCounters& counters = *served.counters;
  const TimePoint start = clock_.Now();
  const PackedBatch packed = Pack(batch.tasks);
  counters.batch_inputs.Observe(packed.sequences());
  counters.batch_tokens.Observe(packed.total_tokens());
  const absl::Status status = Compute(served, packed);
  if (!status.ok()) {
    for (Task* task : batch.tasks) task->completion->Abort(*task, status);
    return;
  }
  const TimePoint end = clock_.Now();
  counters.Observe(Stage::kBatchWait, start - batch.tasks.front()->taken);
  counters.Observe(Stage::kHostToDevice, times_.begin - start);
  counters.Observe(Stage::kCompute, times_.computed - times_.begin);
  counters.Observe(Stage::kDeviceToHost, end - times_.computed);
  for (Task* task : batch.tasks) {
    counters.Observe(Stage::kQueue, task->taken - task->enqueued);
    task->compute = times_.computed - times_.begin;
  }
  Deliver(batch.tasks);
}

}  // namespace contextpool::engine
