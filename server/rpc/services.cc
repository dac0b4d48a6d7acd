#include "server/rpc/services.h"

#include <vector>

#include "google/protobuf/arena.h"
#include "server/rpc/encode.h"
#include "server/rpc/inference_call.h"
#include "server/rpc/unary_call.h"

namespace contextpool::server {
namespace {

constexpr Handler kEmbed = &InferenceCall<v1::EmbedRequest, v1::EmbedResponse>::Start;
constexpr Handler kClassify = &InferenceCall<v1::ClassifyRequest, v1::ClassifyResponse>::Start;

// Handlers that answer in the calling thread.
absl::Status Answer(Call&, Backend& backend, const v1::ListModelsRequest&,
                    v1::ListModelsResponse& reply) {
  for (const engine::ModelStatus& status : backend.engine.ListModels()) {
    Encode(status, *reply.add_models());
  }
  return absl::OkStatus();
}

absl::Status Answer(Call& call, Backend& backend, const v1::GetModelRequest& message,
                    v1::GetModelResponse& reply) {
  if (absl::Status status = CheckModelRef(message.model()); !status.ok()) return status;
  const v1::ModelRef& ref = message.model();
  call.SetModel(ref.name(), ref.version());
  const absl::StatusOr<engine::ModelStatus> status =
      backend.engine.GetModel(ref.name(), ref.version());
  if (!status.ok()) return status.status();
  call.SetModel(status->info->name, status->info->version);
  Encode(*status, *reply.mutable_model());
  return absl::OkStatus();
}

absl::Status Answer(Call& call, Backend& backend, const v1::TokenizeRequest& message,
                    v1::TokenizeResponse& reply) {
  if (backend.draining.begun()) {
    return absl::UnavailableError("the server is draining; ask another replica");
  }
  call.SetModel(message.model().name(), message.model().version());
  absl::StatusOr<engine::TokenizeOptions> options = Decode(message, call.caller().info());
  if (!options.ok()) return options.status();
  options->max_bytes = backend.admission.limits().max_message_bytes;
  call.MarkDecoded();
  const std::vector<absl::string_view> texts(message.texts().begin(), message.texts().end());
  const absl::StatusOr<engine::TokenizeResponse> response =
      backend.engine.Tokenize(*options, texts);
  if (!response.ok()) return response.status();
  call.SetModel(response->model->name, response->model->version);
  Encode(
      *response,
      [&call](const absl::Status& error, google::rpc::Status* target) {
        call.WriteInputError(error, target);
      },
      reply);
  return absl::OkStatus();
}

// A Handler over them.
template <typename Message, typename Reply>
void AnswerNow(Backend& backend, Endpoint endpoint, const Caller& caller,
               const grpc::ByteBuffer& bytes, Responder& responder) {
  Call call(backend, endpoint, caller, responder);
  google::protobuf::Arena arena;
  auto* message = google::protobuf::Arena::CreateMessage<Message>(&arena);
  auto* reply = google::protobuf::Arena::CreateMessage<Reply>(&arena);
  absl::Status status = call.Receive(bytes, *message);
  call.MarkDecoded();
  if (status.ok()) status = Answer(call, backend, *message, *reply);
  if (!status.ok()) return call.Fail(status);
  call.Reply(*reply, call.Now());
}

}  // namespace

grpc::ServerUnaryReactor* EmbeddingServiceImpl::Embed(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* reply) {
  return UnaryCall::Start(backend_, Endpoint::kEmbed, kEmbed, *context, *request, *reply);
}

RawStream* EmbeddingServiceImpl::EmbedStream(grpc::CallbackServerContext* context) {
  return Stream::Start(backend_, Endpoint::kEmbedStream, kEmbed, *context);
}

grpc::ServerUnaryReactor* ClassificationServiceImpl::Classify(grpc::CallbackServerContext* context,
                                                              const grpc::ByteBuffer* request,
                                                              grpc::ByteBuffer* reply) {
  return UnaryCall::Start(backend_, Endpoint::kClassify, kClassify, *context, *request, *reply);
}

RawStream* ClassificationServiceImpl::ClassifyStream(grpc::CallbackServerContext* context) {
  return Stream::Start(backend_, Endpoint::kClassifyStream, kClassify, *context);
}

grpc::ServerUnaryReactor* ModelServiceImpl::ListModels(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* request,
                                                       grpc::ByteBuffer* reply) {
  return UnaryCall::Start(backend_, Endpoint::kListModels,
                          AnswerNow<v1::ListModelsRequest, v1::ListModelsResponse>, *context,
                          *request, *reply);
}

grpc::ServerUnaryReactor* ModelServiceImpl::GetModel(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* request,
                                                     grpc::ByteBuffer* reply) {
  return UnaryCall::Start(backend_, Endpoint::kGetModel,
                          AnswerNow<v1::GetModelRequest, v1::GetModelResponse>, *context, *request,
                          *reply);
}

grpc::ServerUnaryReactor* ModelServiceImpl::Tokenize(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* request,
                                                     grpc::ByteBuffer* reply) {
  return UnaryCall::Start(backend_, Endpoint::kTokenize,
                          AnswerNow<v1::TokenizeRequest, v1::TokenizeResponse>, *context, *request,
                          *reply);
}

}  // namespace contextpool::server
