// Tokenizer::FromJson on documents that are nearly right: the input edits a valid one, since random
// bytes hardly ever get past the JSON parser.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "engine/preprocess/tokenizer.h"
#include "engine/preprocess/tokenizer_spec.h"
#include "tests/fuzz/tokenizer_fixture.h"

namespace contextpool::engine {
namespace {

// Values that a key may get instead of its own.
nlohmann::json Replacement(uint8_t choice, const std::string& text) {
  switch (choice % 12) {
    case 0:
      return nullptr;
    case 1:
      return true;
    case 2:
      return -1;
    case 3:
      return 4294967296;
    case 4:
      return 1.5;
    case 5:
      return text;
    case 6:
      return nlohmann::json::array();
    case 7:
      return nlohmann::json::object();
    case 8:
      return choice;
    case 9:
      return "Sequence";
    case 10:
      return {text, choice};
    default:
      return {{"type", text}, {"id", choice}};
  }
}

// Each edit is two bytes: which value (in document order), and what happens to it.
nlohmann::json Edited(nlohmann::json document, const uint8_t* data, size_t size,
                      const std::string& text) {
  for (size_t i = 0; i + 1 < size && i < 16; i += 2) {
    const nlohmann::json flat = document.flatten();
    if (!flat.is_object() || flat.empty()) break;
    const auto key = std::next(flat.begin(), data[i] % flat.size()).key();
    nlohmann::json::json_pointer pointer(key);
    // Sometimes the container instead of the leaf.
    for (int up = data[i + 1] / 64; up > 0 && !pointer.empty(); --up) pointer.pop_back();
    document[pointer] = Replacement(data[i + 1], text);
  }
  return document;
}

void TryDocument(const std::string& json, bool encode) {
  const auto spec = ParseTokenizerJson(json);
  if (!spec.ok() && spec.status().message().empty()) std::abort();
  // Compiling the normaliser is a thousand times slower than parsing.
  if (!encode) return;
  const auto tokenizer = Tokenizer::FromJson(json);
  if (!tokenizer.ok()) return;
  std::vector<int32_t> ids;
  EncodeOptions options;
  options.max_tokens = 1 << 20;
  if (!(*tokenizer)->Encode("Abc [CLS] <e>!\u4e2d\u00e9", options, ids).ok()) std::abort();
  for (const int32_t id : ids) {
    if (id < 0 || id >= (*tokenizer)->vocabulary_size()) std::abort();
  }
}

void FuzzOne(const uint8_t* data, size_t size) {
  if (size < 2) return;
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (data[0] == '{') {
    TryDocument(text, size % 64 == 0);
    return;
  }
  const std::string tail(reinterpret_cast<const char*>(data) + size / 2, size - size / 2);
  std::string printable;
  for (const char c : tail) printable.push_back(c >= ' ' && c <= '~' ? c : '?');
  TryDocument(Edited(WordPieceJson(data[0]), data + 1, size - 1, printable).dump(),
              data[1] % 128 == 77);
}

}  // namespace
}  // namespace contextpool::engine

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  contextpool::engine::FuzzOne(data, size);
  return 0;
}
