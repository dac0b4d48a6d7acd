// Logits -> the scores that a caller asked for.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "contextpool/v1/classification.pb.h"
#include "engine/base/model_info.h"

namespace contextpool::server {

// Softmax, sigmoid or the numbers as they are; no overflow for any finite logits.
std::vector<float> Scores(std::span<const float> logits, engine::ProblemType problem_type);

// Indices of the labels asked for, in the model's order; all if none are named. INVALID_ARGUMENT:
// a name is not the model's or stands twice, or the threshold lies outside of the scores' range.
absl::StatusOr<std::vector<uint32_t>> SelectLabels(const v1::ClassifyOptions& options,
                                                   const engine::ModelInfo& model);

// Fills `result` by falling score, equal scores by index. REQUIRES: `selected` from SelectLabels,
// one finite logit per label of the model.
void FillScores(std::span<const float> logits, const std::vector<uint32_t>& selected,
                const v1::ClassifyOptions& options, const engine::ModelInfo& model,
                v1::Classification& result);

}  // namespace contextpool::server
