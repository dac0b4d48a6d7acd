// A unary call: gRPC's side of one request.
#pragma once

#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/rpc/call.h"

namespace contextpool::server {

// Lives until gRPC is done with it, which is after the answer and after any cancellation.
class UnaryCall final : public grpc::ServerUnaryReactor, private Responder {
 public:
  // Has the handler answer `request`. gRPC keeps what is passed by reference until the call ends.
  static grpc::ServerUnaryReactor* Start(Backend& backend, Endpoint endpoint, Handler handler,
                                         const grpc::CallbackServerContext& context,
                                         const grpc::ByteBuffer& request, grpc::ByteBuffer& reply);

 private:
  UnaryCall(Backend& backend, Endpoint endpoint, const grpc::CallbackServerContext& context,
            grpc::ByteBuffer& reply);

  void Respond(const absl::Status& status, grpc::ByteBuffer reply) override;
  void OnCancel() override { caller_.GiveUp(); }
  void OnDone() override { delete this; }

  Backend& backend_;
  const Endpoint endpoint_;
  const Draining::OpenCall open_;
  Caller caller_;
  grpc::ByteBuffer& reply_;
};

}  // namespace contextpool::server
