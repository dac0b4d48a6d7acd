#include "server/rpc/model_checks.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/rpc/scores.h"

namespace contextpool::server {
namespace {

bool IsImage(const engine::Input& input) {
  return std::holds_alternative<engine::ImageInput>(input);
}

absl::Status CheckModality(const engine::ModelInfo* model, const engine::Request& request) {
  const auto image = std::find_if(request.inputs.begin(), request.inputs.end(), IsImage);
  if (image == request.inputs.end()) return absl::OkStatus();
  if (model != nullptr && model->modality == engine::Modality::kImage) return absl::OkStatus();
  // A named model that is missing or not ready is the engine's to report.
  if (model == nullptr && !request.model.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "inputs[", image - request.inputs.begin(), "].image: modality not offered: ",
      model == nullptr ? "no model here reads images"
                       : absl::StrCat("model ", model->name, " reads text, not images")));
}

}  // namespace

std::shared_ptr<const engine::ModelInfo> FindModel(const engine::Engine& engine,
                                                   const engine::Request& request) {
  if (!request.model.empty()) {
    const auto status = engine.GetModel(request.model, request.version);
    if (!status.ok() || status->state != engine::ModelState::kReady) return nullptr;
    return status->info;
  }
  const bool image = std::any_of(request.inputs.begin(), request.inputs.end(), IsImage);
  const engine::Modality modality = image ? engine::Modality::kImage : engine::Modality::kText;
  std::shared_ptr<const engine::ModelInfo> only;
  for (const engine::ModelStatus& status : engine.ListModels()) {
    if (status.state != engine::ModelState::kReady || status.info->modality != modality) continue;
    if (request.task == engine::TaskKind::kClassify && !status.info->classifies()) continue;
    if (only != nullptr && only->name != status.info->name) return nullptr;
    only = status.info;
  }
  return only;
}

absl::Status CheckAgainstModel(const engine::ModelInfo* model, const engine::Request& request,
                               const v1::EmbedRequest&) {
  return CheckModality(model, request);
}

absl::Status CheckAgainstModel(const engine::ModelInfo* model, const engine::Request& request,
                               const v1::ClassifyRequest& message) {
  absl::Status status = CheckModality(model, request);
  if (!status.ok() || model == nullptr || !model->classifies()) return status;
  return SelectLabels(message.options(), *model).status();
}

}  // namespace contextpool::server
