// From options and inputs to messages.
#pragma once

#include <string>
#include <vector>

#include "clients/cli/inputs.h"
#include "clients/cli/options.h"
#include "contextpool/v1/classification.pb.h"
#include "contextpool/v1/embedding.pb.h"
#include "contextpool/v1/model.pb.h"

namespace contextpool::cli {

// The request that the options ask for, without inputs.
v1::EmbedRequest MakeEmbedRequest(const Options& options);
v1::ClassifyRequest MakeClassifyRequest(const Options& options);
v1::TokenizeRequest MakeTokenizeRequest(const Options& options);

// Loads the inputs of a chunk and adds them to a request. Returns those that cannot be, in order.
std::vector<Refusal> AddInputs(InputList& inputs, const Chunk& chunk,
                               google::protobuf::RepeatedPtrField<v1::Input>& request);
std::vector<Refusal> AddTexts(InputList& inputs, const Chunk& chunk,
                              google::protobuf::RepeatedPtrField<std::string>& request);

}  // namespace contextpool::cli
