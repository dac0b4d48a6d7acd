// Text -> token ids, exactly as the Hugging Face tokeniser of the same tokenizer.json.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/request.h"

namespace contextpool::engine {

struct EncodeOptions {
  // Longest result, special tokens included. REQUIRES: room for the special tokens.
  int32_t max_tokens = 512;
  Truncation truncation = Truncation::kRight;
  bool add_special_tokens = true;
};

// What happened to one text.
struct EncodeSummary {
  int32_t tokens_used = 0;
  // Before truncation, special tokens included.
  int64_t tokens_seen = 0;
  bool truncated = false;
};

// Immutable after construction, so every thread may use one at the same time.
class Tokenizer {
 public:
  // `json` is the content of a tokenizer.json. Parts that are not supported are INVALID_ARGUMENT
  // errors that name the part; the `truncation` and `padding` sections are ignored.
  static absl::StatusOr<std::unique_ptr<Tokenizer>> FromJson(absl::string_view json);

  virtual ~Tokenizer() = default;

  // Appends the tokens of `utf8` to `ids`. On error `ids` is unchanged. INVALID_ARGUMENT: not
  // UTF-8, or longer than max_tokens with Truncation::kReject. Work and memory are linear in the
  // text's size.
  virtual absl::StatusOr<EncodeSummary> Encode(absl::string_view utf8, const EncodeOptions& options,
                                               std::vector<int32_t>& ids) const = 0;

  // The vocabulary's spelling of a token; empty for an unknown id.
  virtual absl::string_view TokenText(int32_t id) const = 0;

  // Largest id + 1, added tokens included.
  virtual int32_t vocabulary_size() const = 0;

  // Special tokens that the post-processor puts before and after a single text.
  virtual int32_t prefix_tokens() const = 0;
  virtual int32_t suffix_tokens() const = 0;
};

}  // namespace contextpool::engine
