#include "server/rpc/call.h"

#include <chrono>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/rpc/message.h"
#include "server/rpc/status.h"

namespace contextpool::server {
namespace {

constexpr char kPriorityKey[] = "contextpool-priority";

engine::TimePoint Now() { return engine::Clock::Real().Now(); }

// gRPC's deadlines are of the wall clock, the engine's of the monotonic one.
std::optional<engine::TimePoint> Deadline(const grpc::CallbackServerContext& context) {
  const auto deadline = context.deadline();
  if (deadline == std::chrono::system_clock::time_point::max()) return std::nullopt;
  const auto left = deadline - std::chrono::system_clock::now();
  // Callers without a deadline may appear with one that is centuries away.
  if (left > std::chrono::hours(24 * 365)) return std::nullopt;
  return Now() + std::chrono::duration_cast<engine::Duration>(left);
}

// Before the message is parsed, which costs many times its bytes.
absl::Status CheckInputCount(const grpc::ByteBuffer& bytes,
                             const google::protobuf::Descriptor& descriptor, int32_t max_inputs) {
  for (const char* name : {"inputs", "texts"}) {
    const google::protobuf::FieldDescriptor* field = descriptor.FindFieldByName(name);
    if (field == nullptr) continue;
    const int64_t count = CountValues(bytes, field->number());
    if (count > max_inputs) return TooManyInputs(name, count, max_inputs);
  }
  return absl::OkStatus();
}

// "inputs[3].text: " of a message that begins with it, else "".
absl::string_view PathOf(absl::string_view message) {
  if (!absl::StartsWith(message, "inputs[") && !absl::StartsWith(message, "texts[")) return "";
  const size_t colon = message.find(": ");
  return colon == absl::string_view::npos ? "" : message.substr(0, colon + 2);
}

}  // namespace

Call::Call(Backend& backend, Endpoint endpoint, grpc::CallbackServerContext& context,
           grpc::ByteBuffer& reply)
    : backend_(backend),
      endpoint_(endpoint),
      context_(context),
      reply_(reply),
      reactor_(context.DefaultReactor()),
      arrived_(Now()),
      decoded_(arrived_) {}

absl::Status Call::Receive(const grpc::ByteBuffer& bytes, google::protobuf::Message& message) {
  const engine::TimePoint start = Now();
  absl::StatusOr<Admission::Ticket> ticket =
      backend_.admission.Admit(static_cast<int64_t>(bytes.Length()));
  admission_time_ = Now() - start;
  if (!ticket.ok()) return ticket.status();
  ticket_ = *std::move(ticket);
  absl::Status status = CheckInputCount(bytes, *message.GetDescriptor(), backend_.max_inputs);
  return status.ok() ? ParseMessage(bytes, message) : status;
}

CallInfo Call::info() const {
  CallInfo info;
  info.max_inputs = backend_.max_inputs;
  info.deadline = Deadline(context_);
  const auto& metadata = context_.client_metadata();
  const auto priority = metadata.find(kPriorityKey);
  if (priority != metadata.end()) {
    info.priority = std::string(priority->second.data(), priority->second.size());
  }
  return info;
}

void Call::SetModel(absl::string_view name, int64_t version) {
  model_ = backend_.metrics.Key(name, version);
}

void Call::MarkDecoded() { decoded_ = Now(); }

void Call::WriteInputError(const absl::Status& status, google::rpc::Status* target) {
  if (IsInternal(status.code())) {
    if (internal_error_.code() == 0) {
      internal_error_ = ToRpcStatus(status, endpoint_name(), backend_.logger);
    }
    *target = internal_error_;
    target->set_message(absl::StrCat(PathOf(status.message()), internal_error_.message()));
  } else {
    *target = ToRpcStatus(status, endpoint_name(), backend_.logger);
  }
  backend_.metrics.CountInputError(model_.first, status.code());
}

absl::Status Call::CheckWanted() const {
  if (!cancelled()) return absl::OkStatus();
  // gRPC cancels calls whose deadline passed.
  if (context_.deadline() <= std::chrono::system_clock::now()) {
    return absl::DeadlineExceededError("the deadline passed before the answer was ready");
  }
  return absl::CancelledError("the caller gave up");
}

engine::Duration Call::elapsed() const { return Now() - arrived_; }

void Call::FinishWith(const google::protobuf::Message& message, engine::TimePoint encoding_began) {
  const absl::Status status = SerializeMessage(message, reply_);
  if (status.ok() && !model_.first.empty()) {
    ServerMetrics& metrics = backend_.metrics;
    metrics.ObserveStage(model_.first, ServerStage::kAdmission, admission_time_);
    metrics.ObserveStage(model_.first, ServerStage::kDecode, decode_time());
    metrics.ObserveStage(model_.first, ServerStage::kEncode, Now() - encoding_began);
  }
  Finish(status);
}

void Call::Finish(const absl::Status& status) {
  const engine::Duration duration = elapsed();
  // Given back and counted first: whoever has the answer may look.
  ticket_ = Admission::Ticket();
  backend_.metrics.CountCall({endpoint_, model_, status.code(), duration});
  if (backend_.logger.enabled(LogLevel::kDebug)) {
    backend_.logger.Log(LogLevel::kDebug, "call",
                        {{"endpoint", endpoint_name()},
                         {"model", model_.first},
                         {"code", absl::StatusCodeToString(status.code())},
                         {"error", status.message()},
                         {"seconds", engine::Seconds(duration)}});
  }
  reactor_->Finish(ToGrpcStatus(status, endpoint_name(), backend_.logger));
}

}  // namespace contextpool::server
