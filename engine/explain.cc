#include "engine/explain.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/byte_budget.h"
#include "engine/base/retry.h"

namespace contextpool::engine {
namespace {

constexpr Duration kExplainRetry = std::chrono::milliseconds(100);

// What explaining an input takes in memory while it is answered: as the engine holds it, as a
// message and as the message's bytes.
int64_t ExplanationBytes(const ServedModel& served, const Task& task, size_t rows) {
  constexpr size_t kCopies = 3;
  // Of each copy: a string object and a pointer to it.
  constexpr size_t kToken = sizeof(std::string) + sizeof(void*);
  size_t bytes = task.cost * rows * sizeof(float) + task.token_ids.size() * kToken;
  for (int32_t id : task.token_ids) bytes += served.tokenizer->TokenText(id).size();
  return static_cast<int64_t>(kCopies * bytes);
}

absl::Status NoRoomToExplain(int64_t bytes, int64_t bound) {
  if (bytes > bound) {
    return absl::InvalidArgumentError(
        absl::StrCat("options.explain: explaining the request takes ", bytes,
                     " bytes, more than the model's ", "explanations may take together (", bound,
                     ", queue.max_bytes); send fewer inputs at once"));
  }
  absl::Status status = absl::ResourceExhaustedError(
      absl::StrCat("options.explain: explaining the request takes ", bytes, " of the ", bound,
                   " bytes that the model's explanations may take together (queue.max_bytes), and ",
                   "so many are not free; try again later"));
  SetRetryDelay(status, kExplainRetry);
  return status;
}

}  // namespace

absl::Status CheckExplains(const Request& request, const ModelInfo& info) {
  if (!request.explain || !info.context_pool_layers.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("options.explain: the model \"", info.name,
                   "\" has no layer with ContextPool that can be explained; leave it unset"));
}

absl::Status PrepareExplanations(ServedModel& served, Call& call) {
  if (!call.request().explain) return absl::OkStatus();
  const size_t rows = 2 * call.response().model->context_pool_layers.size();
  int64_t bytes = 0;
  for (const Task& task : call.tasks()) bytes += ExplanationBytes(served, task, rows);
  const int64_t bound = served.spec.queue.max_bytes;
  ByteBudget::Share share = served.explaining.Take(bytes, bound);
  if (!share) return NoRoomToExplain(bytes, bound);
  call.Hold(std::move(share));
  for (Task& task : call.tasks()) {
    Explanation& explanation = call.response().explanations[task.index];
    explanation.length = task.cost;
    explanation.tokens.reserve(task.token_ids.size());
    for (int32_t id : task.token_ids) {
      explanation.tokens.emplace_back(served.tokenizer->TokenText(id));
    }
    explanation.context_pool.resize(rows * task.cost);
    task.context_pool = explanation.context_pool;
  }
  return absl::OkStatus();
}

}  // namespace contextpool::engine
