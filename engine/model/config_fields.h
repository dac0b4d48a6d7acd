// Fields of config.json that several architectures share, as checked values. Errors name the key:
// INVALID_ARGUMENT where its value is wrong, UNIMPLEMENTED where it is something that this build
// does not compute.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/json.h"
#include "engine/base/model_info.h"
#include "engine/device/device.h"

namespace contextpool::engine {

absl::Status NotSupported(absl::string_view key, absl::string_view found,
                          absl::string_view supported);

// Refuse the value under `key` if it is there and is not `only`.
absl::Status RequireString(const nlohmann::json& config, const char* key, const std::string& only);
absl::Status RequireFalse(const nlohmann::json& config, const char* key);

// "quantization_config" would change the result and is not computed.
absl::Status RefuseQuantization(const nlohmann::json& config);

// The one name under "architectures", which must be among `known`; without that key the first of
// them.
absl::StatusOr<std::string> ParseArchitecture(const nlohmann::json& config,
                                              std::span<const absl::string_view> known);

// An integer that goes to `*out`; without `fallback` the key must be there.
struct SizeField {
  const char* key;
  IntRange range;
  std::optional<int32_t> fallback;
  int32_t* out;
};
absl::Status ParseSizes(const nlohmann::json& config, std::span<const SizeField> sizes);

absl::StatusOr<kernels::Activation> ParseActivation(const nlohmann::json& config, const char* key,
                                                    const std::string& fallback);

// "layer_norm_eps".
absl::Status ParseLayerNormEps(const nlohmann::json& config, float& eps);

// What a classifier's outputs mean.
struct ClassifierLabels {
  // One per row of the classifier's weight, not empty.
  std::vector<std::string> labels;
  ProblemType problem_type = ProblemType::kNone;
};
absl::StatusOr<ClassifierLabels> ParseClassifierLabels(const nlohmann::json& config);

}  // namespace contextpool::engine
