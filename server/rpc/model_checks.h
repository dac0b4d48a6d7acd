// Faults that show once the model is known: found before any work is done for the request.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "contextpool/v1/classification.pb.h"
#include "contextpool/v1/embedding.pb.h"
#include "engine/engine.h"

namespace contextpool::server {

// The model that the engine would choose for this request; null where there is none or it is not
// ready, which the engine reports better.
std::shared_ptr<const engine::ModelInfo> FindModel(const engine::Engine& engine,
                                                   const engine::Request& request);

// INVALID_ARGUMENT naming the field: an image for a model that reads text, a label or threshold
// that the model does not have. `model`: as FindModel found it.
absl::Status CheckAgainstModel(const engine::ModelInfo* model, const engine::Request& request,
                               const v1::EmbedRequest& message);
absl::Status CheckAgainstModel(const engine::ModelInfo* model, const engine::Request& request,
                               const v1::ClassifyRequest& message);

}  // namespace contextpool::server
