// One request from its arrival to its answer: admitted, counted, logged, answered exactly once.
// A unary call brings one request, a stream many.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/base/clock.h"
#include "engine/engine.h"
#include "google/protobuf/message.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/support/byte_buffer.h"
#include "server/admission/admission.h"
#include "server/observe/log.h"
#include "server/observe/server_metrics.h"
#include "server/rpc/caller.h"
#include "server/rpc/draining.h"
#include "server/rpc/reply_threads.h"

namespace contextpool::server {

class ModelControl;

// What every handler needs; all of it outlives the server.
struct Backend {
  engine::Engine& engine;
  Admission& admission;
  ServerMetrics& metrics;
  Logger& logger;
  int32_t max_inputs = 4096;
  engine::Clock& clock = engine::Clock::Real();
  Draining draining{};
  // One may be busy with a reply of many megabytes while others wait for a small one.
  ReplyThreads reply_threads{2};
  // Null: models are not loaded or unloaded on request.
  ModelControl* admin = nullptr;
};

// Where the answer to one request goes.
class Responder {
 public:
  // At most once, before Respond: about how many bytes the reply will have.
  virtual void Expect(int64_t reply_bytes) = 0;

  // Once, from any thread. `reply` holds the message if the status is OK; `ticket` has its bytes as
  // its share, to be kept for as long as the reply takes memory.
  virtual void Respond(const absl::Status& status, grpc::ByteBuffer reply,
                       Admission::Ticket ticket) = 0;

 protected:
  ~Responder() = default;
};

// Answers one request through the responder, now or later. `bytes` are not used afterwards, the
// caller and the responder until the answer.
using Handler = void (*)(Backend& backend, Endpoint endpoint, const Caller& caller,
                         const grpc::ByteBuffer& bytes, Responder& responder);

// Used by one thread at a time.
class Call {
 public:
  Call(Backend& backend, Endpoint endpoint, const Caller& caller, Responder& responder);

  // Admits the request and parses it into `message`.
  absl::Status Receive(const grpc::ByteBuffer& bytes, google::protobuf::Message& message);

  // The model named in the request, then the one that answers. Names that are unknown are not
  // counted, and once counted as received a call stays with its name.
  void SetModel(absl::string_view name, int64_t version);
  void CountReceived();

  // Sets memory aside for the reply; an error of Admission::Ticket::Add: there is none. REQUIRES:
  // the request was admitted.
  absl::Status ExpectReply(int64_t bytes);

  void MarkDecoded();

  // The status of one failed input, counted. Internal errors of one call share one id and one log
  // line.
  void WriteInputError(const absl::Status& status, google::rpc::Status* target);

  // Answers; the responder is not used afterwards. `encoding_began` is of this reply.
  void Fail(const absl::Status& status) { Finish(status, grpc::ByteBuffer()); }
  void Reply(const google::protobuf::Message& message, engine::TimePoint encoding_began);

  engine::TimePoint Now() const { return backend_.clock.Now(); }
  engine::Duration decode_time() const { return decoded_ - arrived_ - admission_time_; }
  engine::Duration elapsed() const { return Now() - arrived_; }
  Backend& backend() { return backend_; }
  const Caller& caller() const { return caller_; }

 private:
  absl::string_view endpoint_name() const { return kEndpointNames[static_cast<size_t>(endpoint_)]; }
  void Finish(const absl::Status& status, grpc::ByteBuffer reply);

  Backend& backend_;
  const Endpoint endpoint_;
  const Caller& caller_;
  Responder& responder_;
  const engine::TimePoint arrived_;
  engine::TimePoint decoded_;
  engine::Duration admission_time_{};
  Admission::Ticket ticket_;
  ModelKey model_{"", 0};
  bool received_ = false;
  google::rpc::Status internal_error_;  // of the first input that has one
};

}  // namespace contextpool::server
