// One call from its arrival to its end: admitted, counted, logged, finished exactly once.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/base/clock.h"
#include "engine/engine.h"
#include "google/protobuf/message.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/admission/admission.h"
#include "server/observe/log.h"
#include "server/observe/server_metrics.h"
#include "server/rpc/decode.h"

namespace contextpool::server {

// What every handler needs; all of it outlives the server.
struct Backend {
  engine::Engine& engine;
  Admission& admission;
  ServerMetrics& metrics;
  Logger& logger;
  int32_t max_inputs = 4096;
};

// Used by one thread at a time. gRPC keeps the context and the buffers until Finish.
class Call {
 public:
  Call(Backend& backend, Endpoint endpoint, grpc::CallbackServerContext& context,
       grpc::ByteBuffer& reply);

  // Admits the request and parses it into `message`.
  absl::Status Receive(const grpc::ByteBuffer& bytes, google::protobuf::Message& message);

  // From the metadata and gRPC's deadline.
  CallInfo info() const;

  // The model named in the request, then the one that answered. Unknown names are not counted.
  void SetModel(absl::string_view name, int64_t version);

  void MarkDecoded();

  // The status of one failed input, counted. Internal errors of one call share one id and one log
  // line.
  void WriteInputError(const absl::Status& status, google::rpc::Status* target);

  // Ends the call; nothing of it may be touched afterwards. `encoding` is when encoding began.
  void Finish(const absl::Status& status);
  void FinishWith(const google::protobuf::Message& message, engine::TimePoint encoding_began);

  // Whether the caller gave up or its deadline passed.
  bool cancelled() const { return context_.IsCancelled(); }

  // CANCELLED or DEADLINE_EXCEEDED: nobody waits for the answer any more.
  absl::Status CheckWanted() const;

  engine::Duration decode_time() const { return decoded_ - arrived_ - admission_time_; }
  engine::Duration elapsed() const;
  Backend& backend() { return backend_; }
  grpc::ServerUnaryReactor* reactor() { return reactor_; }

 private:
  absl::string_view endpoint_name() const { return kEndpointNames[static_cast<size_t>(endpoint_)]; }

  Backend& backend_;
  const Endpoint endpoint_;
  grpc::CallbackServerContext& context_;
  grpc::ByteBuffer& reply_;
  // The context's own, so that it lives as long as the context.
  grpc::ServerUnaryReactor* const reactor_;
  const engine::TimePoint arrived_;
  engine::TimePoint decoded_;
  engine::Duration admission_time_{};
  Admission::Ticket ticket_;
  ModelKey model_{"", 0};
  google::rpc::Status internal_error_;  // of the first input that has one
};

}  // namespace contextpool::server
