// A unary call: gRPC's side of one request.
#pragma once

#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/call.h"

namespace contextpool::server {

// Lives until gRPC is done with it, which is after any cancellation, and after the reply has left
// for the client: one that does not read keeps its reply, and the reply's share of Admission, until
// the call's deadline.
class UnaryCall final : public grpc::ServerUnaryReactor, private Responder {
 public:
  // Has the handler answer `request`. gRPC keeps what is passed by reference until the call ends.
  static grpc::ServerUnaryReactor* Start(Backend& backend, Endpoint endpoint, Handler handler,
                                         const grpc::CallbackServerContext& context,
                                         const grpc::ByteBuffer& request, grpc::ByteBuffer& reply);

 private:
  UnaryCall(Backend& backend, Endpoint endpoint, const grpc::CallbackServerContext& context,
            grpc::ByteBuffer& reply);

  void Expect(int64_t) override {}
  void Respond(const absl::Status& status, grpc::ByteBuffer reply,
               Admission::Ticket ticket) override;
  void OnCancel() override { caller_.GiveUp(); }
  void OnDone() override { delete this; }

  Backend& backend_;
  const Endpoint endpoint_;
  const Draining::OpenCall open_;
  Caller caller_;
  grpc::ByteBuffer& reply_;
  Admission::Ticket ticket_;  // of the reply
};

}  // namespace contextpool::server
