#include "engine/text_inputs.h"

#include <cstdint>
#include <span>
#include <variant>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "engine/input_error.h"

namespace contextpool::engine {
namespace {

absl::Status CheckTokenIds(std::span<const int32_t> ids, const ModelInfo& info) {
  if (ids.empty()) return absl::InvalidArgumentError("holds no token id");
  if (ids.size() > static_cast<size_t>(info.max_tokens)) {
    return absl::InvalidArgumentError(absl::StrCat("holds ", ids.size(), " ids, the model reads ",
                                                   info.max_tokens,
                                                   " tokens; token ids are never truncated"));
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= info.vocabulary_size) {
      return absl::InvalidArgumentError(absl::StrCat("ids[", i, "] is ", ids[i],
                                                     ", outside the vocabulary of ",
                                                     info.vocabulary_size, " tokens"));
    }
  }
  return absl::OkStatus();
}

absl::Status AddTask(const ServedModel& served, Call& call, int32_t index) {
  const Request& request = call.request();
  const ModelInfo& info = *served.info;
  InputResult& result = call.response().results[index];
  const Input& input = request.inputs[index];
  if (const auto* ready = std::get_if<TokenIdsInput>(&input)) {
    if (absl::Status status = CheckTokenIds(ready->ids, info); !status.ok()) {
      return AtInput(index, "token_ids", status);
    }
    Task& task = call.AddTask(index);
    task.token_ids = ready->ids;
    task.bytes += static_cast<int64_t>(ready->ids.size_bytes());
    result.tokens_used = static_cast<int32_t>(ready->ids.size());
    result.tokens_seen = result.tokens_used;
    return absl::OkStatus();
  }
  if (std::holds_alternative<ImageInput>(input)) {
    return AtInput(index, "image", absl::InvalidArgumentError("the model reads text, not images"));
  }
  const auto& text = std::get<TextInput>(input);
  const EncodeOptions options{info.max_tokens, request.truncation, true};
  absl::StatusOr<EncodeSummary> summary =
      served.tokenizer->Encode(text.utf8, options, call.token_ids());
  if (!summary.ok()) return AtInput(index, "text", summary.status());
  result.tokens_used = summary->tokens_used;
  result.tokens_seen = summary->tokens_seen;
  result.truncated = summary->truncated;
  if (summary->tokens_used == 0) {
    return AtInput(index, "text", absl::InvalidArgumentError("has no token"));
  }
  call.AddTask(index).bytes += static_cast<int64_t>(text.utf8.size());
  return absl::OkStatus();
}

}  // namespace

void TokenizeInputs(const ServedModel& served, Call& call) {
  Response& response = call.response();
  const auto inputs = static_cast<int32_t>(call.request().inputs.size());
  for (int32_t i = 0; i < inputs; ++i) {
    InputResult& result = response.results[i];
    result.status = AddTask(served, call, i);
    if (!result.status.ok()) continue;
    call.counters().input_tokens.Observe(result.tokens_used);
    if (result.truncated) ++call.counters().truncated_inputs;
  }
  // Ids of texts were appended to one block, which has stopped growing only now.
  const int32_t* next = call.token_ids().data();
  for (Task& task : call.tasks()) {
    const auto tokens = static_cast<size_t>(response.results[task.index].tokens_used);
    if (task.token_ids.empty()) {
      task.token_ids = {next, tokens};
      next += tokens;
    }
    task.cost = static_cast<int64_t>(tokens);
  }
}

}  // namespace contextpool::engine
