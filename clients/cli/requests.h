// From options and texts to messages.
#pragma once

#include <string>
#include <vector>

#include "clients/cli/inputs.h"
#include "clients/cli/options.h"
#include "contextpool/v1/classification.pb.h"
#include "contextpool/v1/embedding.pb.h"
#include "contextpool/v1/model.pb.h"

namespace contextpool::cli {

// The request for the texts of one chunk.
v1::EmbedRequest MakeEmbedRequest(const Options& options, const std::vector<std::string>& texts,
                                  const Chunk& chunk);
v1::ClassifyRequest MakeClassifyRequest(const Options& options,
                                        const std::vector<std::string>& texts, const Chunk& chunk);
v1::TokenizeRequest MakeTokenizeRequest(const Options& options,
                                        const std::vector<std::string>& texts, const Chunk& chunk);

}  // namespace contextpool::cli
