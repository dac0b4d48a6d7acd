// Wire requests -> engine requests: every field is checked here, and refused by its name.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "contextpool/v1/classification.pb.h"
#include "contextpool/v1/embedding.pb.h"
#include "contextpool/v1/model.pb.h"
#include "engine/engine.h"

namespace contextpool::server {

// What a call says beside its message.
struct CallInfo {
  // Value of the metadata key "contextpool-priority", if there is one.
  std::optional<std::string> priority;
  std::optional<engine::TimePoint> deadline;
  // --max_inputs
  int32_t max_inputs = 0;
};

struct DecodedRequest {
  // Its views point into the wire message.
  engine::Request request;
  // Inputs that are wrong by themselves, by index. They stand in `request` as empty token ids.
  std::map<size_t, absl::Status> input_faults;
};

// INVALID_ARGUMENT naming the field. Options of the API that this version does not act on are
// refused too, never ignored.
absl::StatusOr<DecodedRequest> Decode(const v1::EmbedRequest& message, const CallInfo& call);
absl::StatusOr<DecodedRequest> Decode(const v1::ClassifyRequest& message, const CallInfo& call);
absl::StatusOr<engine::TokenizeOptions> Decode(const v1::TokenizeRequest& message,
                                               const CallInfo& call);

// INVALID_ARGUMENT naming the field and the flag.
absl::Status TooManyInputs(absl::string_view field, int64_t count, int32_t max_inputs);

// INVALID_ARGUMENT: the version is negative.
absl::Status CheckModelRef(const v1::ModelRef& model);

}  // namespace contextpool::server
