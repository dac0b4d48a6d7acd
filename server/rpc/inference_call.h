// The one handler of Embed and Classify: decode, one call of the engine, encode.
#pragma once

#include <chrono>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "google/protobuf/arena.h"
#include "server/rpc/call.h"
#include "server/rpc/decode.h"
#include "server/rpc/encode.h"
#include "server/rpc/model_checks.h"

namespace contextpool::server {

// Message and Reply are the wire types. The engine's callback owns the call, so a call that the
// caller gave up still ends here, once the engine is done with its memory.
template <typename Message, typename Reply>
class InferenceCall {
 public:
  static grpc::ServerUnaryReactor* Start(Backend& backend, Endpoint endpoint,
                                         grpc::CallbackServerContext& context,
                                         const grpc::ByteBuffer& bytes, grpc::ByteBuffer& reply) {
    std::unique_ptr<InferenceCall> self(new InferenceCall(backend, endpoint, context, reply));
    grpc::ServerUnaryReactor* const reactor = self->call_.reactor();
    if (absl::Status status = self->Prepare(bytes); !status.ok()) {
      self->call_.Finish(status);
      return reactor;
    }
    // A copy: the engine owns its request, the call looks at the inputs again when encoding. Both
    // hold views into the message only.
    engine::Request request = self->decoded_.request;
    request.cancelled = [call = &self->call_] { return call->cancelled(); };
    backend.engine.Infer(std::move(request), [self = std::move(self)](auto response) {
      self->Answer(std::move(response));
    });
    return reactor;
  }

 private:
  InferenceCall(Backend& backend, Endpoint endpoint, grpc::CallbackServerContext& context,
                grpc::ByteBuffer& reply)
      : call_(backend, endpoint, context, reply),
        message_(google::protobuf::Arena::CreateMessage<Message>(&arena_)) {}

  absl::Status Prepare(const grpc::ByteBuffer& bytes) {
    if (absl::Status status = call_.Receive(bytes, *message_); !status.ok()) return status;
    call_.SetModel(message_->model().name(), message_->model().version());
    absl::StatusOr<DecodedRequest> decoded = Decode(*message_, call_.info());
    if (!decoded.ok()) return decoded.status();
    decoded_ = *std::move(decoded);
    absl::Status status = CheckAgainstModel(call_.backend().engine, decoded_.request, *message_);
    call_.MarkDecoded();
    return status;
  }

  void Answer(absl::StatusOr<engine::Response> response) {
    if (!response.ok()) return call_.Finish(response.status());
    if (response->model) call_.SetModel(response->model->name, response->model->version);
    if (absl::Status status = call_.CheckWanted(); !status.ok()) return call_.Finish(status);
    const engine::TimePoint began = engine::Clock::Real().Now();
    Reply& reply = *google::protobuf::Arena::CreateMessage<Reply>(&arena_);
    const absl::Status status = Encode(
        *message_, decoded_, *response,
        [this](const absl::Status& error, google::rpc::Status* target) {
          call_.WriteInputError(error, target);
        },
        reply);
    if (!status.ok()) return call_.Finish(status);
    FillTiming(response->timing, *reply.mutable_timing());
    call_.FinishWith(reply, began);
  }

  void FillTiming(const engine::Timing& timing, v1::Timing& wire) const {
    const auto nanoseconds = [](engine::Duration duration) {
      return static_cast<uint64_t>(
          std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count());
    };
    wire.set_decode_ns(nanoseconds(call_.decode_time() + timing.tokenize));
    wire.set_queue_ns(nanoseconds(timing.queue));
    wire.set_compute_ns(nanoseconds(timing.compute));
    wire.set_total_ns(nanoseconds(call_.elapsed()));
  }

  google::protobuf::Arena arena_;
  Call call_;
  Message* const message_;
  DecodedRequest decoded_;
};

}  // namespace contextpool::server
