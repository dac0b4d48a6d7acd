// One token per byte, for character models.
#pragma once

#include "absl/strings/string_view.h"
#include "engine/preprocess/token_sink.h"
#include "engine/preprocess/tokenizer_spec.h"

namespace contextpool::engine {

// Immutable.
class ByteLevel {
 public:
  explicit ByteLevel(const ByteLevelSpec& spec) : spec_(spec) {}

  // REQUIRES: `text` is not empty.
  void Tokenize(absl::string_view text, TokenSink& sink) const {
    if (spec_.add_prefix_space && text.front() != ' ') sink.Add(spec_.ids[' ']);
    for (const char byte : text) {
      sink.Add(spec_.ids[static_cast<uint8_t>(byte)]);
      sink.EndWord();
    }
  }

 private:
  ByteLevelSpec spec_;
};

}  // namespace contextpool::engine
