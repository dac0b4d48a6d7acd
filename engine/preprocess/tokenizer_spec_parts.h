// The sections of a tokenizer.json, one function each. Used by ParseTokenizerJson only.
#pragma once

#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "engine/preprocess/json_field.h"
#include "engine/preprocess/tokenizer_spec.h"

namespace contextpool::engine {

// The ids of the model's vocabulary.
using IdBySpelling = absl::flat_hash_map<std::string, int32_t>;

// Each fills its part of `spec`. REQUIRES: this order, as later ones check ids against the
// vocabulary.
absl::Status ParseNormalizer(const JsonField& field, TokenizerSpec& spec);
absl::Status ParseModel(const JsonField& model, const JsonField& pre_tokenizer, TokenizerSpec& spec,
                        IdBySpelling& ids);
absl::Status ParseAddedTokens(const JsonField& field, const IdBySpelling& ids, TokenizerSpec& spec);
absl::Status ParsePostProcessor(const JsonField& field, TokenizerSpec& spec);

}  // namespace contextpool::engine
