#include "server/rpc/admin_service.h"

#include <memory>
#include <type_traits>
#include <utility>

#include "server/models/model_control.h"
#include "server/rpc/decode.h"
#include "server/rpc/encode.h"
#include "server/rpc/unary_call.h"

namespace contextpool::server {
namespace {

// One call from its arrival to its answer. It belongs to whoever works on it; a caller that gave up
// changes nothing, since what it asked for is carried out all the same.
template <typename Message, typename Reply>
class AdminCall {
 public:
  // A Handler.
  static void Start(Backend& backend, Endpoint endpoint, const Caller& caller,
                    const grpc::ByteBuffer& bytes, Responder& responder) {
    std::unique_ptr<AdminCall> self(new AdminCall(backend, endpoint, caller, responder));
    if (absl::Status status = self->Prepare(bytes); !status.ok()) {
      return self->call_.Fail(status);
    }
    Ask(*backend.admin, std::move(self));
  }

 private:
  AdminCall(Backend& backend, Endpoint endpoint, const Caller& caller, Responder& responder)
      : call_(backend, endpoint, caller, responder) {}

  absl::Status Prepare(const grpc::ByteBuffer& bytes) {
    if (absl::Status status = call_.Receive(bytes, message_); !status.ok()) return status;
    call_.MarkDecoded();
    // Not PERMISSION_DENIED: no other credentials would help.
    if (call_.backend().admin == nullptr) {
      return absl::UnimplementedError(
          "this server does not load or unload models on request; start it with --enable_admin");
    }
    call_.SetModel(message_.model().name(), message_.model().version());
    return CheckModelRef(message_.model());
  }

  // Has the request carried out; `self` is answered then.
  static void Ask(ModelControl& models, std::unique_ptr<AdminCall> self) {
    const v1::ModelRef ref = self->message_.model();
    if constexpr (std::is_same_v<Message, v1::UnloadModelRequest>) {
      models.UnloadModel(ref.name(), ref.version(), [self = std::move(self)](absl::Status status) {
        if (!status.ok()) return self->call_.Fail(status);
        self->call_.Reply(Reply(), self->call_.Now());
      });
    } else if constexpr (std::is_same_v<Message, v1::LoadModelRequest>) {
      models.LoadModel(ref.name(), ref.version(), AnswerWithModel(std::move(self)));
    } else {
      models.ReloadModel(ref.name(), ref.version(), AnswerWithModel(std::move(self)));
    }
  }

  static ModelControl::LoadCallback AnswerWithModel(std::unique_ptr<AdminCall> self) {
    return [self = std::move(self)](absl::StatusOr<engine::ModelStatus> model) {
      // Once more: only now is it known to those who count.
      const v1::ModelRef& ref = self->message_.model();
      self->call_.SetModel(ref.name(), ref.version());
      if (!model.ok()) return self->call_.Fail(model.status());
      Reply reply;
      Encode(*model, *reply.mutable_model());
      self->call_.Reply(reply, self->call_.Now());
    };
  }

  Call call_;
  Message message_;
};

}  // namespace

grpc::ServerUnaryReactor* AdminServiceImpl::LoadModel(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* reply) {
  return UnaryCall::Start(backend_, Endpoint::kLoadModel,
                          AdminCall<v1::LoadModelRequest, v1::LoadModelResponse>::Start, *context,
                          *request, *reply);
}

grpc::ServerUnaryReactor* AdminServiceImpl::UnloadModel(grpc::CallbackServerContext* context,
                                                        const grpc::ByteBuffer* request,
                                                        grpc::ByteBuffer* reply) {
  return UnaryCall::Start(backend_, Endpoint::kUnloadModel,
                          AdminCall<v1::UnloadModelRequest, v1::UnloadModelResponse>::Start,
                          *context, *request, *reply);
}

grpc::ServerUnaryReactor* AdminServiceImpl::ReloadModel(grpc::CallbackServerContext* context,
                                                        const grpc::ByteBuffer* request,
                                                        grpc::ByteBuffer* reply) {
  return UnaryCall::Start(backend_, Endpoint::kReloadModel,
                          AdminCall<v1::ReloadModelRequest, v1::ReloadModelResponse>::Start,
                          *context, *request, *reply);
}

}  // namespace contextpool::server
