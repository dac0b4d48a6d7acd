// From the words of the command line to inputs.
#pragma once

#include <istream>
#include <memory>

#include "absl/status/statusor.h"
#include "clients/cli/inputs.h"
#include "clients/cli/options.h"
#include "grpcpp/grpcpp.h"

namespace contextpool::cli {

// The inputs of a run, none for the command models. Embed and classify first ask the server whether
// the model that will answer reads images, which decides what the words mean. A server that does
// not say is sent texts, and its refusal of them is the answer.
//
// Errors: as ReadTexts and NameFiles. INVALID_ARGUMENT also: --explain=FILE with a model that reads
// text, or where a picture would replace an input.
absl::StatusOr<std::unique_ptr<InputList>> GatherInputs(
    const Options& options, const std::shared_ptr<grpc::Channel>& channel,
    std::istream& standard_input);

}  // namespace contextpool::cli
