#include "server/rpc/unary_call.h"

#include <utility>

#include "server/rpc/status.h"

namespace contextpool::server {

UnaryCall::UnaryCall(Backend& backend, Endpoint endpoint,
                     const grpc::CallbackServerContext& context, grpc::ByteBuffer& reply)
    : backend_(backend),
      endpoint_(endpoint),
      open_(backend.draining),
      caller_(context, backend.max_inputs, backend.clock),
      reply_(reply) {}

grpc::ServerUnaryReactor* UnaryCall::Start(Backend& backend, Endpoint endpoint, Handler handler,
                                           const grpc::CallbackServerContext& context,
                                           const grpc::ByteBuffer& request,
                                           grpc::ByteBuffer& reply) {
  auto* call = new UnaryCall(backend, endpoint, context, reply);
  // gRPC ends no call before it has got the reactor: `call` lives even if it is answered here.
  handler(backend, endpoint, call->caller_, request, *call);
  return call;
}

void UnaryCall::Respond(const absl::Status& status, grpc::ByteBuffer reply,
                        Admission::Ticket ticket) {
  ticket_ = std::move(ticket);
  reply_.Swap(&reply);
  Finish(ToGrpcStatus(status, kEndpointNames[static_cast<size_t>(endpoint_)], backend_.logger));
}

}  // namespace contextpool::server
