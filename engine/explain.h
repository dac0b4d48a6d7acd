// Room for what ContextPool will choose, for requests that ask to see it.
#pragma once

#include "absl/status/status.h"
#include "engine/base/model_info.h"
#include "engine/base/request.h"
#include "engine/call.h"
#include "engine/served_model.h"

namespace contextpool::engine {

// INVALID_ARGUMENT if the request asks for what the model does not have.
absl::Status CheckExplains(const Request& request, const ModelInfo& info);

// Gives every task of a request that asks for it the room of its explanation, and fills in the
// tokens. INVALID_ARGUMENT: more than the model's max_bytes alone. RESOURCE_EXHAUSTED with a retry
// delay: together with what others have explained now.
absl::Status PrepareExplanations(ServedModel& served, Call& call);

}  // namespace contextpool::engine
