// Engine answers -> wire replies.
#pragma once

#include <functional>

#include "absl/status/status.h"
#include "contextpool/v1/classification.pb.h"
#include "contextpool/v1/embedding.pb.h"
#include "contextpool/v1/model.pb.h"
#include "engine/engine.h"
#include "server/rpc/decode.h"

namespace contextpool::server {

// Writes the status of one failed input.
using InputErrorWriter = std::function<void(const absl::Status&, google::rpc::Status*)>;

// Fill all but the timing. An input that failed, by the server's or the engine's judgement or with
// numbers that are not finite, gets its status; its message names "inputs[i]". An error of the
// return value means the whole call.
absl::Status Encode(const v1::EmbedRequest& message, const DecodedRequest& decoded,
                    const engine::Response& response, const InputErrorWriter& write_error,
                    v1::EmbedResponse& reply);
absl::Status Encode(const v1::ClassifyRequest& message, const DecodedRequest& decoded,
                    const engine::Response& response, const InputErrorWriter& write_error,
                    v1::ClassifyResponse& reply);
void Encode(const engine::TokenizeResponse& response, const InputErrorWriter& write_error,
            v1::TokenizeResponse& reply);
void Encode(const engine::ModelStatus& status, v1::Model& model);

}  // namespace contextpool::server
