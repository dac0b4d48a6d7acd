#include "server/rpc/call.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/rpc/message.h"
#include "server/rpc/status.h"

namespace contextpool::server {
namespace {

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

Call::Call(Backend& backend, Endpoint endpoint, const Caller& caller, Responder& responder)
    : backend_(backend),
      endpoint_(endpoint),
      caller_(caller),
      responder_(responder),
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

void Call::SetModel(absl::string_view name, int64_t version) {
  ModelKey key = backend_.metrics.Key(name, version);
  if (!received_ || key.first == model_.first) model_ = std::move(key);
}

void Call::CountReceived() {
  if (!std::exchange(received_, true)) backend_.metrics.CountReceived(endpoint_, model_.first);
}

absl::Status Call::ExpectReply(int64_t bytes) {
  absl::Status status = ticket_.Add(bytes);
  if (status.ok()) responder_.Expect(bytes);
  return status;
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

void Call::Reply(const google::protobuf::Message& message, engine::TimePoint encoding_began) {
  grpc::ByteBuffer reply;
  const absl::Status status = SerializeMessage(message, reply);
  if (status.ok() && !model_.first.empty()) {
    ServerMetrics& metrics = backend_.metrics;
    metrics.ObserveStage(model_.first, ServerStage::kAdmission, admission_time_);
    metrics.ObserveStage(model_.first, ServerStage::kDecode, decode_time());
    metrics.ObserveStage(model_.first, ServerStage::kEncode, Now() - encoding_began);
  }
  Finish(status, std::move(reply));
}

void Call::Finish(const absl::Status& status, grpc::ByteBuffer reply) {
  const engine::Duration duration = elapsed();
  // Given back and counted first: whoever has the answer may look.
  ticket_.Answered(static_cast<int64_t>(reply.Length()));
  CountReceived();
  backend_.metrics.CountCall({endpoint_, model_, status.code(), duration});
  if (backend_.logger.enabled(LogLevel::kDebug)) {
    backend_.logger.Log(LogLevel::kDebug, "call",
                        {{"endpoint", endpoint_name()},
                         {"model", model_.first},
                         {"code", absl::StatusCodeToString(status.code())},
                         {"error", status.message()},
                         {"seconds", engine::Seconds(duration)}});
  }
  responder_.Respond(status, std::move(reply), std::move(ticket_));
}

}  // namespace contextpool::server
