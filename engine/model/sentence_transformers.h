// The files that sentence-transformers puts beside a Hugging Face checkpoint, as checked values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/request.h"

namespace contextpool::engine {

// modules.json: a Transformer at the top of the directory, a Pooling, at most one Normalize.
struct SentenceModules {
  // Folder of the Pooling module, for example "1_Pooling".
  std::string pooling_folder;
  bool normalize = false;
};

// The parsers take a file's content. Their errors name the key or the module but not the file.
// UNIMPLEMENTED: a module, a pooling mode or an option that this build does not compute.
absl::StatusOr<SentenceModules> ParseSentenceModules(absl::string_view json);

// config.json of the Pooling module. `hidden_size` is the encoder's.
absl::StatusOr<Pooling> ParsePooling(absl::string_view json, int32_t hidden_size);

// sentence_bert_config.json: `max_seq_length`, if it says one, at most `max_positions`.
absl::StatusOr<std::optional<int32_t>> ParseMaxSeqLength(absl::string_view json,
                                                         int32_t max_positions);

// config_sentence_transformers.json: refuses a prompt that would be put before every text.
absl::Status CheckPrompts(absl::string_view json);

}  // namespace contextpool::engine
