// The one handler of Embed, Classify and their streams: decode, one call of the engine, encode.
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
#include "server/rpc/reply_size.h"

namespace contextpool::server {

// Message and Reply are the wire types. Belongs to whoever works on it: this thread, the engine,
// then a reply thread. A call that the caller gave up ends here too, once the engine is done with
// its memory.
template <typename Message, typename Reply>
class InferenceCall {
 public:
  // A Handler.
  static void Start(Backend& backend, Endpoint endpoint, const Caller& caller,
                    const grpc::ByteBuffer& bytes, Responder& responder) {
    std::unique_ptr<InferenceCall> self(new InferenceCall(backend, endpoint, caller, responder));
    if (absl::Status status = self->Prepare(bytes); !status.ok()) {
      return self->call_.Fail(status);
    }
    // A copy: the engine owns its request, the call looks at the inputs again when encoding. Both
    // hold views into the message only.
    engine::Request request = self->decoded_.request;
    request.stop = caller.stop();
    backend.engine.Infer(std::move(request), [self = std::move(self)](auto response) mutable {
      Take(std::move(self), std::move(response));
    });
  }

 private:
  InferenceCall(Backend& backend, Endpoint endpoint, const Caller& caller, Responder& responder)
      : call_(backend, endpoint, caller, responder),
        message_(google::protobuf::Arena::CreateMessage<Message>(&arena_)) {}

  absl::Status Prepare(const grpc::ByteBuffer& bytes) {
    if (absl::Status status = call_.Receive(bytes, *message_); !status.ok()) return status;
    call_.SetModel(message_->model().name(), message_->model().version());
    absl::StatusOr<DecodedRequest> decoded = Decode(*message_, call_.caller().info());
    if (!decoded.ok()) return decoded.status();
    decoded_ = *std::move(decoded);
    const std::shared_ptr<const engine::ModelInfo> model =
        FindModel(call_.backend().engine, decoded_.request);
    if (model != nullptr) call_.SetModel(model->name, model->version);
    call_.CountReceived();
    absl::Status status = CheckAgainstModel(model.get(), decoded_.request, *message_);
    if (status.ok() && model != nullptr) {
      status = call_.ExpectReply(ReplyBytes(*message_, decoded_.request, *model));
    }
    call_.MarkDecoded();
    return status;
  }

  // Errors are a few bytes and often answered from the thread that brought the request. The thread
  // that brings a result is the device's: it must not encode.
  static void Take(std::unique_ptr<InferenceCall> self, absl::StatusOr<engine::Response> response) {
    if (!response.ok()) return self->Fail(response.status());
    self->response_ = *std::move(response);
    ReplyThreads& threads = self->call_.backend().reply_threads;
    threads.Run([self = std::move(self)] { self->Answer(); });
  }

  void Fail(const absl::Status& status) {
    // The engine does not know why the caller gave up.
    const absl::Status wanted =
        absl::IsCancelled(status) ? call_.caller().CheckWanted() : absl::OkStatus();
    call_.Fail(wanted.ok() ? status : wanted);
  }

  void Answer() {
    if (response_.model) call_.SetModel(response_.model->name, response_.model->version);
    if (absl::Status status = call_.caller().CheckWanted(); !status.ok()) return call_.Fail(status);
    const engine::TimePoint began = call_.Now();
    Reply& reply = *google::protobuf::Arena::CreateMessage<Reply>(&arena_);
    const absl::Status status = Encode(
        *message_, decoded_, response_,
        [this](const absl::Status& error, google::rpc::Status* target) {
          call_.WriteInputError(error, target);
        },
        reply);
    if (!status.ok()) return call_.Fail(status);
    FillTiming(response_.timing, *reply.mutable_timing());
    call_.Reply(reply, began);
  }

  void FillTiming(const engine::Timing& timing, v1::Timing& wire) const {
    const auto nanoseconds = [](engine::Duration duration) {
      return static_cast<uint64_t>(
          std::chrono::duration_cast<std::chrono::nanoseconds>(duration).count());
    };
    wire.set_decode_ns(nanoseconds(call_.decode_time() + timing.preprocess));
    wire.set_queue_ns(nanoseconds(timing.queue));
    wire.set_compute_ns(nanoseconds(timing.compute));
    wire.set_total_ns(nanoseconds(call_.elapsed()));
  }

  google::protobuf::Arena arena_;
  Call call_;
  Message* const message_;
  DecodedRequest decoded_;
  engine::Response response_;
};

}  // namespace contextpool::server
