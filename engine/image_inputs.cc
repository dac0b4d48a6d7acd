#include "engine/image_inputs.h"

#include <chrono>
#include <cstdint>
#include <exception>
#include <new>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engine/base/byte_budget.h"
#include "engine/base/retry.h"
#include "engine/input_error.h"

namespace contextpool::engine {
namespace {

constexpr Duration kRetry = std::chrono::milliseconds(100);

absl::Status NoRoom(int64_t bytes, int64_t bound) {
  absl::Status status = absl::ResourceExhaustedError(
      absl::StrCat("inputs: the pixels of the images take ", bytes, " of the ", bound,
                   " bytes that the model's images may take while they are decoded"
                   " (queue.max_bytes), and so many are not free; try again later"));
  SetRetryDelay(status, kRetry);
  return status;
}

absl::Status Prepare(const ServedModel& served, const ImageDecoding& decoding, Call& call,
                     int32_t index, absl::string_view file) try {
  ImageFacts facts;
  const TimePoint start = decoding.clock.Now();
  absl::Status status =
      served.image_processor->Prepare(file, decoding.limits, call.pixels(index), &facts);
  call.counters().Observe(Stage::kDecodeImage, decoding.clock.Now() - start);
  call.counters().image_bytes.Observe(static_cast<double>(file.size()));
  if (const ImageSize& stored = facts.stored; stored.width > 0) {
    call.counters().image_pixels.Observe(static_cast<double>(stored.width) * stored.height);
  }
  if (absl::IsInvalidArgument(status)) call.counters().Count(FaultOf(status));
  if (status.ok() && call.request().explain) {
    Explanation& explanation = call.response().explanations[index];
    explanation.grid_box = facts.seen;
    explanation.image_orientation = facts.orientation;
  }
  return status;
} catch (const std::exception& error) {
  return absl::InternalError(absl::StrCat("decoding ended unexpectedly: ", error.what()));
}

absl::Status Decode(const ServedModel& served, const ImageDecoding& decoding, Call& call,
                    int32_t index) {
  const Input& input = call.request().inputs[index];
  if (const auto* image = std::get_if<ImageInput>(&input)) {
    const absl::Status status = Prepare(served, decoding, call, index, image->file);
    return status.ok() ? status : AtInput(index, "image", status);
  }
  const bool text = std::holds_alternative<TextInput>(input);
  return AtInput(index, text ? "text" : "token_ids",
                 absl::InvalidArgumentError("the model reads images, not text"));
}

// Whether anybody still waits for the answer.
absl::Status CheckWanted(const Call& call, TimePoint deadline, Clock& clock) {
  if (call.request().stop.stop_requested()) {
    return absl::CancelledError("the caller cancelled the request");
  }
  if (deadline > clock.Now()) return absl::OkStatus();
  return absl::DeadlineExceededError("the deadline passed before the images were decoded");
}

void AddTasks(Call& call) {
  const ModelInfo& info = *call.response().model;
  const auto inputs = static_cast<int32_t>(call.request().inputs.size());
  for (int32_t i = 0; i < inputs; ++i) {
    InputResult& result = call.response().results[i];
    if (!result.status.ok()) continue;
    Task& task = call.AddTask(i);
    task.pixels = call.pixels(i);
    task.bytes += task.size_bytes();
    task.cost = info.max_tokens;
    result.tokens_used = info.max_tokens;
    result.tokens_seen = info.max_tokens;
    call.counters().input_tokens.Observe(result.tokens_used);
  }
}

}  // namespace

void DecodeImages(const ImageDecoding& decoding, ServedModel& served, Call& call,
                  TimePoint deadline, absl::AnyInvocable<void()> ready) {
  const Request& request = call.request();
  const int64_t bytes_per_image = served.info->image->bytes();
  const int64_t bytes = bytes_per_image * static_cast<int64_t>(request.inputs.size());
  const int64_t bound = served.spec.queue.max_bytes;
  ByteBudget::Share share = served.decoding.Take(bytes, bound);
  if (!share) {
    call.counters().Count(RejectReason::kQueueFull);
    return call.AnswerNow(NoRoom(bytes, bound));
  }
  try {
    call.ReservePixels(bytes_per_image);
  } catch (const std::bad_alloc&) {
    share = ByteBudget::Share();  // what it counts in may be gone after the answer
    return call.AnswerNow(
        absl::ResourceExhaustedError("there is not enough memory for the pixels"));
  }
  DecodeWork work;
  work.priority = request.priority;
  work.deadline = deadline;
  work.inputs = static_cast<int32_t>(request.inputs.size());
  work.wanted = [&call, deadline, &clock = decoding.clock] {
    return CheckWanted(call, deadline, clock).ok();
  };
  work.decode = [&served, &call, decoding](int32_t index) {
    call.response().results[index].status = Decode(served, decoding, call, index);
  };
  work.done = [&call, deadline, &clock = decoding.clock, share = std::move(share),
               ready = std::move(ready)]() mutable {
    // The queue counts the pixels from now on, and the model may be gone once it has answered.
    share = ByteBudget::Share();
    // What is not wanted never is again, so no input that was left out gets beyond this.
    if (absl::Status status = CheckWanted(call, deadline, clock); !status.ok()) {
      call.counters().CountRefused(status, static_cast<int64_t>(call.request().inputs.size()));
      return call.AnswerNow(std::move(status));
    }
    AddTasks(call);
    ready();
  };
  decoding.pool.Add(std::move(work));
}

}  // namespace contextpool::engine
