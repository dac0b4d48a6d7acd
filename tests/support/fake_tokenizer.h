// A tokeniser whose tokens can be told by looking: each byte is a token with its value as id. It
// claims to put two special tokens before a text, but puts none.
#pragma once

#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "engine/preprocess/tokenizer.h"

namespace contextpool::testing {

class FakeTokenizer : public engine::Tokenizer {
 public:
  absl::StatusOr<engine::EncodeSummary> Encode(absl::string_view utf8,
                                               const engine::EncodeOptions& options,
                                               std::vector<int32_t>& ids) const override {
    if (utf8 == "refused") return absl::InvalidArgumentError("is refused");
    const auto seen = static_cast<int64_t>(utf8.size());
    const auto used = static_cast<int32_t>(std::min<int64_t>(seen, options.max_tokens));
    for (int32_t i = 0; i < used; ++i) ids.push_back(static_cast<unsigned char>(utf8[i]));
    return engine::EncodeSummary{used, seen, used < seen};
  }
  absl::string_view TokenText(int32_t id) const override {
    static const std::string bytes = [] {
      std::string all(256, 0);
      std::iota(all.begin(), all.end(), 0);
      return all;
    }();
    return id < vocabulary_size() ? absl::string_view(bytes).substr(id, 1) : "";
  }
  int32_t vocabulary_size() const override { return 256; }
  int32_t prefix_tokens() const override { return 2; }
  int32_t suffix_tokens() const override { return 0; }
};

}  // namespace contextpool::testing
