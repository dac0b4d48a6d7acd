// What the configuration files of a model directory say together. Tensors are not read here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "engine/base/request.h"
#include "engine/model/encoder_config.h"

namespace contextpool::engine {

struct ModelDirectory {
  EncoderConfig encoder;
  // As sentence-transformers' files say; a plain Hugging Face directory says nothing: the mean,
  // not normalised.
  Pooling pooling = Pooling::kMean;
  bool normalize = false;
  // Of the longest input, special tokens included: `max_seq_length`, else the smaller of
  // `model_max_length` and `max_position_embeddings`.
  int32_t max_tokens = 0;
};

// `prefix_tokens` as in ContextPoolSurroundings. Reads config.json and, where they exist,
// tokenizer_config.json, sentence_bert_config.json, modules.json and the Pooling module's
// config.json. Errors name the file and the key; UNIMPLEMENTED is what this build does not compute,
// such as a Dense module.
absl::StatusOr<ModelDirectory> ReadModelDirectory(const std::string& directory,
                                                  std::optional<int32_t> prefix_tokens);

}  // namespace contextpool::engine
