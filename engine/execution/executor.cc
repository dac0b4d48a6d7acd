#include "engine/execution/executor.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/execution/context_pool_readout.h"

namespace contextpool::engine {
namespace {

bool AllFinite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(),
                     [](float value) { return std::isfinite(value); });
}

size_t Elements(const TensorView& tensor) { return static_cast<size_t>(tensor.elements()); }

absl::string_view WhyNotFinite(const Device& device) {
  return device.dtype() == DType::kF16
             ? "its weights may be damaged, or float16 too small for it: try --gpu_dtype=bfloat16"
             : "its weights may be damaged";
}

absl::Status NotFinite(const Task& task, const Device& device) {
  return absl::InternalError(absl::StrCat("inputs[", task.index,
                                          "]: the model computed a value that is not finite; ",
                                          WhyNotFinite(device)));
}

// Calls `use` with the task and each of its twins, which may end with that.
template <typename Use>
void ForEachTwin(Task* lead, Use use) {
  for (Task* task = lead; task != nullptr;) {
    Task* const next = task->twin;
    use(*task);
    task = next;
  }
}

bool IsCanary(Task* lead) {
  bool canary = true;
  ForEachTwin(lead, [&](const Task& task) { canary = canary && task.canary; });
  return canary;
}

// What the model is made for.
OutputSpec OwnOutput(const ModelInfo& info) {
  return {.task = info.classifies() ? TaskKind::kClassify : TaskKind::kEmbed,
          .pooling = info.pooling};
}

// What takes the most room on its way to the host; of embeddings, the most segments to read.
OutputSpec WidestOutput(const ModelInfo& info) {
  const auto labels = static_cast<int64_t>(info.labels.size());
  if (labels > info.embedding_dimensions) return OwnOutput(info);
  return {.task = TaskKind::kEmbed,
          .pooling = info.pools(Pooling::kPooler) ? Pooling::kPooler : info.pooling};
}

// One past the last sequence of a batch that starts with `first`.
int64_t BatchEnd(const GoldenFile& golden, int64_t first, const BatchLimits& limits) {
  int64_t end = first + 1;
  while (end < golden.sequences() && end - first < limits.sequences &&
         golden.cu_lengths[end + 1] - golden.cu_lengths[first] <= limits.tokens) {
    ++end;
  }
  return end;
}

}  // namespace

Executor::Executor(Device& device, Clock& clock) : device_(device), clock_(clock) {}

Executor::~Executor() {
  if (thread_.joinable()) thread_.join();
}

Executor::Turn::Turn(Executor& executor, Duration predicted) : executor_(executor) {
  executor_.step_.Lock();
  executor_.steps_.Begin(executor_.clock_.Now(), predicted);
}

Executor::Turn::Turn(Executor& executor) : executor_(executor) {
  executor_.step_.Lock();
  executor_.steps_.BeginLoad(executor_.clock_.Now());
}

Executor::Turn::~Turn() {
  executor_.steps_.End();
  executor_.step_.Unlock();
}

absl::Status Executor::Reserve(const Served& served, const BatchLimits& limits) {
  if (!workspace_ || workspace_->capacity() < served.workspace_bytes) {
    // The old one goes only when the new one is there: other models compute in it.
    absl::StatusOr<Arena> arena = Arena::Create(device_, served.workspace_bytes);
    if (!arena.ok()) return arena.status();
    workspace_ = *std::move(arena);
  }
  const ModelInfo& info = served.model->info();
  const auto sequences = static_cast<size_t>(limits.sequences);
  if (info.image) {
    staging_.pixels.reserve(std::min(limits.sequences, limits.tokens / info.max_tokens) *
                            info.image->bytes());
  } else {
    staging_.token_ids.reserve(limits.tokens);
  }
  staging_.cu_lengths.reserve(sequences + 1);
  staging_.outputs.reserve(sequences);
  staging_.embeddings.reserve(sequences * info.embedding_dimensions);
  staging_.logits.reserve(sequences * info.labels.size());
  staging_.context_pool.reserve(info.context_pool_layers.size() * 2 * limits.tokens);
  return absl::OkStatus();
}

absl::StatusOr<Executor::StepTime> Executor::ComputeBlank(const Served& served, int64_t sequences,
                                                          int64_t tokens,
                                                          const OutputSpec& output) {
  const ModelInfo& info = served.model->info();
  const std::vector<int32_t> token_ids(info.image ? 0 : tokens, 0);
  const std::vector<uint8_t> pixels(info.image ? info.image->bytes() : 0, 0);
  std::vector<Task> tasks(sequences);
  std::vector<Task*> pointers;
  for (Task& task : tasks) {
    const auto index = static_cast<int64_t>(pointers.size());
    task.cost = tokens * (index + 1) / sequences - tokens * index / sequences;
    const size_t ids = info.image ? 0 : task.cost;
    static_cast<Example&>(task) = {std::span(token_ids).first(ids), pixels};
    task.output = output;
    pointers.push_back(&task);
  }
  const Turn turn(*this);
  absl::Status status = Compute(served, Pack(pointers), Wanted::kResultsAndChoices);
  if (!status.ok()) return status;
  if (!AllFinite(staging_.embeddings) || !AllFinite(staging_.logits)) {
    return absl::InternalError(
        absl::StrCat("the model computes values that are not finite; ", WhyNotFinite(device_)));
  }
  return StepTime{tokens, times_.computed - times_.begin};
}

absl::Status Executor::CheckAgainst(const GoldenFile& golden, const Served& served,
                                    const BatchLimits& limits) {
  for (const GoldenTensor& tensor : golden.tensors) {
    int64_t first = 0;
    while (first < golden.sequences()) {
      std::vector<Task> tasks(BatchEnd(golden, first, limits) - first);
      std::vector<Task*> pointers;
      for (Task& task : tasks) {
        const int64_t index = first + static_cast<int64_t>(pointers.size());
        static_cast<Example&>(task) = golden.Input(index);
        task.cost = golden.cu_lengths[index + 1] - golden.cu_lengths[index];
        task.output = tensor.output;
        pointers.push_back(&task);
      }
      const Turn turn(*this);
      absl::Status status = Compute(served, Pack(pointers), Wanted::kResults);
      if (!status.ok()) return status;
      const bool embeds = tensor.output.task == TaskKind::kEmbed;
      status = CheckGolden(golden, tensor, first, embeds ? staging_.embeddings : staging_.logits);
      if (!status.ok()) return status;
      first += static_cast<int64_t>(tasks.size());
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Executor::StepTime> Executor::AddModel(QueueId queue, const Model& model,
                                                      const BatchLimits& limits,
                                                      const GoldenFile* golden,
                                                      ModelCounters& counters) {
  const Served served{&model, &counters, model.WorkspaceBytes(limits)};
  absl::StatusOr<StepTime> warm_up = WarmUp(served, limits);
  absl::Status status = warm_up.status();
  if (status.ok() && golden != nullptr) status = CheckAgainst(*golden, served, limits);
  const Turn turn(*this);
  if (!status.ok()) {
    ShrinkWorkspace();
    return status;
  }
  if (served_.size() <= static_cast<size_t>(queue)) served_.resize(queue + 1);
  served_[queue] = served;
  counters.last_computed = clock_.Now();
  return warm_up;
}

absl::StatusOr<Executor::StepTime> Executor::WarmUp(const Served& served,
                                                    const BatchLimits& limits) {
  {
    const Turn turn(*this);
    if (absl::Status status = Reserve(served, limits); !status.ok()) return status;
  }
  const ModelInfo& info = served.model->info();
  const int64_t length = std::min<int64_t>(info.max_tokens, limits.tokens);
  const int64_t fewest = std::min(limits.sequences, limits.tokens / length);
  const int64_t most = info.image ? fewest : std::min(limits.sequences, limits.tokens);
  const int passes = device_.warm_up_passes();
  const OutputSpec own = OwnOutput(info);
  const OutputSpec widest = WidestOutput(info);
  // A device that has something to learn learns what short sequences and the most rows need, too.
  const bool learns = passes > 1 && (most != fewest || widest != own);
  for (int pass = 0; learns && pass < passes; ++pass) {
    const auto step = ComputeBlank(served, most, std::min(limits.tokens, most * length), widest);
    if (!step.ok()) return step.status();
  }
  absl::StatusOr<StepTime> last;
  for (int pass = 0; pass < passes; ++pass) {
    last = ComputeBlank(served, fewest, fewest * length, own);
    if (!last.ok()) return last.status();
  }
  return last;
}

void Executor::RemoveModel(QueueId queue) {
  const Turn turn(*this);
  served_[queue] = {};
  ShrinkWorkspace();
}

void Executor::ShrinkWorkspace() {
  size_t needed = 0;
  for (const Served& served : served_) needed = std::max(needed, served.workspace_bytes);
  if (!workspace_ || workspace_->capacity() <= Arena::Padded(needed)) return;
  if (needed == 0) return workspace_.reset();
  // Without room for a smaller one the large one stays.
  absl::StatusOr<Arena> arena = Arena::Create(device_, needed);
  if (arena.ok()) workspace_ = *std::move(arena);
}

void Executor::CheckDevice() {
  const Turn turn(*this);
  EndPass().IgnoreError();
}

void Executor::Start(BatchSource& source) {
  thread_ = std::thread([this, &source] { Loop(source); });
}

void Executor::Loop(BatchSource& source) try {
  Batch batch;
  while (source.NextBatch(batch)) RunBatch(batch, source);
} catch (const std::exception& error) {
  // Not of a model or device: tasks may have been lost.
  steps_.Die(clock_.Now(), absl::StrCat("the executor's thread ended: ", error.what()));
}

PackedBatch Executor::Pack(std::span<Task* const> tasks) {
  staging_.token_ids.clear();
  staging_.pixels.clear();
  staging_.cu_lengths.assign(1, 0);
  staging_.outputs.clear();
  PackedBatch packed;
  for (const Task* task : tasks) {
    const auto& [token_ids, pixels] = static_cast<const Example&>(*task);
    staging_.token_ids.insert(staging_.token_ids.end(), token_ids.begin(), token_ids.end());
    staging_.pixels.insert(staging_.pixels.end(), pixels.begin(), pixels.end());
    const auto length = static_cast<int32_t>(task->cost);
    staging_.cu_lengths.push_back(staging_.cu_lengths.back() + length);
    staging_.outputs.push_back(task->output);
    packed.max_length = std::max(packed.max_length, length);
  }
  packed.token_ids = staging_.token_ids;
  packed.pixels = staging_.pixels;
  packed.cu_lengths = staging_.cu_lengths;
  packed.outputs = staging_.outputs;
  return packed;
}

absl::Status Executor::Compute(const Served& served, const PackedBatch& packed, Wanted wanted) {
  times_.begin = clock_.Now();
  workspace_->Reset();
  absl::Status status;
  try {
    const absl::StatusOr<ModelOutput> output = served.model->Forward(packed, *workspace_);
    if (output.ok()) Fetch(*output, wanted);
    status = output.status();
  } catch (...) {
    // What is queued uses the model, which may go.
    EndPass().IgnoreError();
    throw;
  }
  const absl::Status end = EndPass();
  return status.ok() ? end : status;
}

absl::Status Executor::EndPass() {
  absl::Status status = device_.Synchronize();
  times_.computed = clock_.Now();
  if (!absl::IsDataLoss(status)) return status;
  // Whoever waits is answered; the process has to end.
  steps_.Die(times_.computed, std::string(status.message()));
  return absl::InternalError(status.message());
}

void Executor::Fetch(const ModelOutput& output, Wanted wanted) {
  const auto fetch = [this](const TensorView& from, std::vector<float>& to) {
    to.resize(Elements(from));
    device_.CopyToHost(to.data(), from.data, from.bytes());
  };
  fetch(output.embeddings, staging_.embeddings);
  fetch(output.logits, staging_.logits);
  fetch(wanted == Wanted::kResultsAndChoices ? output.context_pool : TensorView(),
        staging_.context_pool);
  if (!staging_.context_pool.empty()) {
    device_.CopyToHost(&staging_.tiles, output.context_pool_tiles, sizeof(staging_.tiles));
  }
}

absl::Status Executor::ComputeNoThrow(const Served& served, const PackedBatch& packed,
                                      Wanted wanted) try {
  const absl::Status status = Compute(served, packed, wanted);
  return status.ok() ? status : absl::InternalError(status.message());
} catch (const std::bad_alloc&) {
  return absl::InternalError("there is not enough memory to compute the batch");
} catch (const std::exception& error) {
  return absl::InternalError(absl::StrCat("computing ended unexpectedly: ", error.what()));
}

void Executor::Deliver(std::span<Task* const> tasks, ModelCounters& counters) {
  const float* embedding = staging_.embeddings.data();
  const float* logits = staging_.logits.data();
  const std::span<const float> chosen = staging_.context_pool;
  const int64_t total_tokens = staging_.cu_lengths.back();
  int64_t begin = 0;
  for (Task* lead : tasks) {
    const float*& row = lead->output.task == TaskKind::kEmbed ? embedding : logits;
    const std::span values(row, lead->values.size());
    row += values.size();
    const int64_t length = lead->cost;
    const bool finite = AllFinite(values);
    if (finite) counters.last_computed = times_.computed;
    ForEachTwin(lead, [&](Task& task) {
      std::ranges::copy(values, task.values.begin());
      if (!task.context_pool.empty() && !chosen.empty()) {
        CopyExplanation(chosen, total_tokens, begin, task.context_pool);
      }
      task.completion->Finish(task, finite ? absl::OkStatus() : NotFinite(task, device_));
    });
    begin += length;  // the task may be gone
  }
}

void Executor::RunBatch(Batch& batch, BatchSource& source) {
  const Turn turn(*this, batch.predicted);
  Served& served = served_[batch.queue];
  const TimePoint start = clock_.Now();
  const PackedBatch packed = Pack(batch.tasks);
  const bool callers =
      std::ranges::any_of(batch.tasks, [](const Task* lead) { return !lead->canary; });
  const bool sampled = callers && served.batches++ % kContextPoolSample == 0;
  const bool explained = std::any_of(packed.outputs.begin(), packed.outputs.end(),
                                     [](const OutputSpec& output) { return output.explain; });
  const absl::Status status = ComputeNoThrow(
      served, packed, sampled || explained ? Wanted::kResultsAndChoices : Wanted::kResults);
  if (status.ok()) batch.took = clock_.Now() - start;
  source.Seal(batch);
  // Twins of callers join until here.
  const bool canary = std::ranges::all_of(batch.tasks, IsCanary);
  ModelCounters& counters = canary ? uncounted_ : *served.counters;
  counters.batch_inputs.Observe(packed.sequences());
  counters.batch_tokens.Observe(packed.total_tokens());
  if (!status.ok()) {
    for (Task* lead : batch.tasks) {
      ForEachTwin(lead, [&](Task& task) { task.completion->Abort(1, status); });
    }
    return;
  }
  const TimePoint end = clock_.Now();
  const Duration compute = times_.computed - times_.begin;
  counters.Observe(Stage::kBatchWait, start - batch.tasks.front()->taken);
  counters.Observe(Stage::kHostToDevice, times_.begin - start);
  counters.Observe(Stage::kCompute, compute);
  counters.Observe(Stage::kDeviceToHost, end - times_.computed);
  for (Task* lead : batch.tasks) {
    ForEachTwin(lead, [&](Task& task) {
      counters.Observe(Stage::kQueue, task.taken - task.enqueued);
      task.compute = compute;
      if (&task != lead) ++counters.coalesced_inputs;
    });
  }
  Deliver(batch.tasks, *served.counters);
  // Nobody waits for this.
  if (sampled && !staging_.context_pool.empty()) {
    Observe(staging_.context_pool, staging_.tiles, counters.context_pool);
  }
}

}  // namespace contextpool::engine
