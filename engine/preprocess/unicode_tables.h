// Character data of Hugging Face `tokenizers`, as generate_unicode_tables.py found it.
#pragma once

#include <cstdint>
#include <span>

namespace contextpool::engine {

// What the normalisers and pre-tokenisers do with a code point; a set of bits.
enum CodePointFlag : uint8_t {
  kCleanRemoves = 1 << 0,    // clean_text drops it (controls, formats, private use, U+FFFD).
  kWhitespace = 1 << 1,      // A boundary; clean_text makes it a space unless it drops it.
  kPunctuation = 1 << 2,     // A token of its own for the BERT pre-tokeniser.
  kChinese = 1 << 3,         // handle_chinese_chars puts spaces around it.
  kNonspacingMark = 1 << 4,  // strip_accents drops it.
  kCombiningMark = 1 << 5,   // The StripAccents normaliser drops it.
  kWordCharacter = 1 << 6,   // \w: what a single_word added token must not touch.
};

// Every range is [first, last].
struct FlagRange {
  char32_t first, last;
  CodePointFlag flag;
};
struct CombiningClassRange {
  char32_t first, last;
  uint8_t combining_class;
};
// Every `step`-th code point of the range moves by `distance`. U+0130 is not listed: it becomes
// U+0069 U+0307, the only lowercase form of two code points.
struct LowercaseRange {
  char32_t first, last;
  uint32_t step;
  int32_t distance;
};

extern const std::span<const FlagRange> kFlagRanges;
extern const std::span<const CombiningClassRange> kCombiningClassRanges;
extern const std::span<const LowercaseRange> kLowercaseRanges;
// Records of one head, `count << 24 | code point`, and `count` code points: the full canonical
// decomposition. Ascending by code point. Hangul syllables are computed instead.
extern const std::span<const char32_t> kDecompositions;

}  // namespace contextpool::engine
