// Which of the engine's devices a model is loaded onto.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/options.h"
#include "engine/worker.h"

namespace contextpool::engine {

using Workers = std::vector<std::unique_ptr<Worker>>;

// The workers to try: the second one only if the first one's device does not compute such a model.
// The device that the spec names; else the GPU with the least on it, and then the CPU. A spec with
// a dtype leaves only devices that compute in it.
//
// INVALID_ARGUMENT: there is none, with the field's name and what the devices are.
absl::StatusOr<std::vector<Worker*>> PlacesFor(const ModelSpec& spec, const Workers& workers);

}  // namespace contextpool::engine
