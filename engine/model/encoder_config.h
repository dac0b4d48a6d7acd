// config.json of a BERT-like encoder as a checked value.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/model/transformer_config.h"

namespace contextpool::engine {

struct EncoderConfig : TransformerConfig {
  int32_t vocabulary_size = 0;
  int32_t max_positions = 0;
  int32_t token_types = 0;
};

// `json` is the content of a config.json; `prefix_tokens` as in ContextPoolSurroundings.
// INVALID_ARGUMENT names the key at fault; what this build does not compute (another architecture,
// activation or position embedding) is UNIMPLEMENTED and named.
absl::StatusOr<EncoderConfig> ParseEncoderConfig(absl::string_view json,
                                                 std::optional<int32_t> prefix_tokens);

}  // namespace contextpool::engine
