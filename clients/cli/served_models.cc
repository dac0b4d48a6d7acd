#include "clients/cli/served_models.h"

#include <algorithm>

#include "clients/cli/connection.h"
#include "contextpool/v1/model.grpc.pb.h"

namespace contextpool::cli {
namespace {

bool Offers(const v1::Model& model, Command command) {
  const v1::Task task = command == Command::kEmbed ? v1::TASK_EMBED : v1::TASK_CLASSIFY;
  return std::find(model.tasks().begin(), model.tasks().end(), task) != model.tasks().end();
}

}  // namespace

grpc::Status FetchModels(const Options& options, const std::shared_ptr<grpc::Channel>& channel,
                         v1::ListModelsResponse& list) {
  const auto stub = v1::ModelService::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(DeadlineAfter(options.timeout_s));
  if (options.model.empty()) {
    return stub->ListModels(&context, v1::ListModelsRequest(), &list);
  }
  v1::GetModelRequest request;
  request.mutable_model()->set_name(options.model);
  request.mutable_model()->set_version(options.model_version);
  v1::GetModelResponse response;
  grpc::Status status = stub->GetModel(&context, request, &response);
  if (status.ok()) list.add_models()->Swap(response.mutable_model());
  return status;
}

v1::Modality ModalityOf(const Options& options, const v1::ListModelsResponse& list) {
  v1::Modality modality = v1::MODALITY_UNSPECIFIED;
  for (const v1::Model& model : list.models()) {
    if (options.model.empty() && !Offers(model, options.command)) continue;
    if (model.modality() != v1::MODALITY_IMAGE) return model.modality();
    modality = v1::MODALITY_IMAGE;
  }
  return modality;
}

}  // namespace contextpool::cli
