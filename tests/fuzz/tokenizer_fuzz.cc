// Encode on any text: the first three bytes choose the tokeniser and the options.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <map>
#include <memory>
#include <vector>

#include "engine/preprocess/tokenizer.h"
#include "engine/preprocess/unicode.h"
#include "tests/fuzz/tokenizer_fixture.h"

namespace contextpool::engine {
namespace {

void Check(bool condition) {
  if (!condition) std::abort();
}

// All normalisers that differ in kind, with different added tokens; few, as each takes long to
// make.
constexpr uint8_t kFlags[] = {0x00, 0x3F, 0x13, 0x53, 0x93, 0xD5, 0x1D, 0xE3, 0x0F, 0xF2, 0x71};

const Tokenizer& TokenizerFor(uint8_t flags) {
  static auto& cache = *new std::map<uint8_t, std::unique_ptr<Tokenizer>>;
  std::unique_ptr<Tokenizer>& tokenizer = cache[flags];
  if (tokenizer == nullptr) tokenizer = Tokenizer::FromJson(WordPieceJson(flags).dump()).value();
  return *tokenizer;
}

std::vector<int32_t> EncodeWhole(const Tokenizer& tokenizer, absl::string_view text) {
  EncodeOptions options;
  options.add_special_tokens = false;
  options.max_tokens = 1 << 30;
  std::vector<int32_t> whole;
  const auto summary = tokenizer.Encode(text, options, whole);
  Check(summary.ok() && !summary->truncated);
  Check(summary->tokens_used == static_cast<int32_t>(whole.size()));
  return whole;
}

// The same text without a limit is what the limited result must be cut from, on the side asked for.
void CheckAgainstWhole(const std::vector<int32_t>& whole, const EncodeOptions& options,
                       const EncodeSummary& summary, const std::vector<int32_t>& ids) {
  const size_t before = options.add_special_tokens ? 1 : 0;
  Check(static_cast<size_t>(summary.tokens_seen) == whole.size() + 2 * before);
  const size_t room = options.max_tokens - 2 * before;
  const size_t kept = std::min(whole.size(), room);
  Check(ids.size() == kept + 2 * before);
  const size_t skipped = options.truncation == Truncation::kLeft ? whole.size() - kept : 0;
  Check(std::equal(whole.begin() + skipped, whole.begin() + skipped + kept, ids.begin() + before));
}

// Refused is only what is malformed, or cannot fit and must not be cut.
void CheckRefusal(const Tokenizer& tokenizer, absl::string_view text,
                  const EncodeOptions& options) {
  if (FirstInvalidUtf8(text) < text.size()) return;
  const size_t special = options.add_special_tokens ? 2 : 0;
  const auto limit = static_cast<size_t>(options.max_tokens);
  if (limit < special) return;
  Check(options.truncation == Truncation::kReject);
  Check(EncodeWhole(tokenizer, text).size() + special > limit);
}

void FuzzOne(const uint8_t* data, size_t size) {
  if (size < 3) return;
  const Tokenizer& tokenizer = TokenizerFor(kFlags[data[0] % std::size(kFlags)]);
  EncodeOptions options;
  options.max_tokens = data[1] % 64;
  options.truncation = static_cast<Truncation>(data[2] % 3);
  options.add_special_tokens = (data[2] & 4) != 0;
  const absl::string_view text(reinterpret_cast<const char*>(data) + 3, size - 3);

  std::vector<int32_t> ids = {-7};
  const auto summary = tokenizer.Encode(text, options, ids);
  Check(ids[0] == -7);
  ids.erase(ids.begin());
  if (!summary.ok()) {
    Check(ids.empty());
    CheckRefusal(tokenizer, text, options);
    return;
  }
  Check(summary->tokens_used == static_cast<int32_t>(ids.size()));
  Check(summary->tokens_used <= options.max_tokens);
  Check(summary->truncated == (summary->tokens_seen > summary->tokens_used));
  for (const int32_t id : ids) Check(id >= 0 && id < tokenizer.vocabulary_size());
  if (options.add_special_tokens) Check(ids.front() == 2 && ids.back() == 3);
  Check(!summary->truncated || options.truncation != Truncation::kReject);
  CheckAgainstWhole(EncodeWhole(tokenizer, text), options, *summary, ids);
  std::vector<int32_t> again;
  Check(tokenizer.Encode(text, options, again).ok() && again == ids);
}

}  // namespace
}  // namespace contextpool::engine

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  contextpool::engine::FuzzOne(data, size);
  return 0;
}
