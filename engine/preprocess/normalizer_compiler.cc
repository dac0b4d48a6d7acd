#include "engine/preprocess/normalizer_compiler.h"

#include <utility>

#include "engine/preprocess/unicode.h"
#include "engine/preprocess/unicode_tables.h"

namespace contextpool::engine {
namespace {

constexpr char32_t kCapitalIWithDot = 0x130;
constexpr char32_t kCombiningDotAbove = 0x307;
constexpr char32_t kHangulFirst = 0xAC00, kHangulLast = 0xD7A3;

bool IsHangulSyllable(char32_t c) { return c >= kHangulFirst && c <= kHangulLast; }

}  // namespace

CharacterNormalizer::CharacterNormalizer(const std::vector<NormalizerStep>& steps)
    : steps_(steps),
      lowercase_distance_(kCodePoints, 0),
      decomposition_(kCodePoints, 0),
      combining_class_(kCodePoints, 0) {
  for (const LowercaseRange& range : kLowercaseRanges) {
    for (char32_t c = range.first; c <= range.last; c += range.step) {
      lowercase_distance_[c] = range.distance;
    }
  }
  for (const CombiningClassRange& range : kCombiningClassRanges) {
    for (char32_t c = range.first; c <= range.last; ++c) {
      combining_class_[c] = range.combining_class;
    }
  }
  for (size_t i = 0; i < kDecompositions.size(); i += 1 + (kDecompositions[i] >> 24)) {
    decomposition_[kDecompositions[i] & 0xFFFFFF] = static_cast<uint16_t>(i + 1);
  }
}

uint32_t CharacterNormalizer::BehaviourKey(char32_t c) const {
  const uint8_t flags = CodePointFlags()[c];
  const bool own = lowercase_distance_[c] != 0 || decomposition_[c] != 0 ||
                   combining_class_[c] != 0 || (flags & kChinese) != 0 || IsHangulSyllable(c) ||
                   c == kCapitalIWithDot;
  return own ? kOwnResult : flags;
}

void CharacterNormalizer::Normalize(char32_t code_point, std::vector<NormalizedPiece>& pieces) {
  decomposed_ = false;
  current_ = {{code_point, 0, false}};
  for (const NormalizerStep step : steps_) {
    next_.clear();
    Apply(step);
    std::swap(current_, next_);
  }
  pieces.clear();
  for (const Character& c : current_) {
    if (c.combining_class > 0 && c.dropped) continue;
    const bool joins =
        c.combining_class == 0 && !pieces.empty() && pieces.back().combining_class == 0;
    if (!joins) pieces.push_back({c.combining_class, ""});
    if (!c.dropped) AppendUtf8(c.value, pieces.back().utf8);
  }
}

void CharacterNormalizer::Apply(NormalizerStep step) {
  for (Character c : current_) {
    if (c.dropped) {
      next_.push_back(c);
      continue;
    }
    const uint8_t flags = CodePointFlags()[c.value];
    const auto keep_unless = [&](bool drop) {
      c.dropped = drop;
      // Before decomposition a dropped character leaves no trace.
      if (!drop || decomposed_) next_.push_back(c);
    };
    switch (step) {
      case NormalizerStep::kCleanText:
        if ((flags & kWhitespace) != 0 && (flags & kCleanRemoves) == 0) c.value = U' ';
        keep_unless((flags & kCleanRemoves) != 0);
        break;
      case NormalizerStep::kSpaceChinese:
        if ((flags & kChinese) != 0) {
          next_.insert(next_.end(), {{U' ', 0, false}, c, {U' ', 0, false}});
        } else {
          next_.push_back(c);
        }
        break;
      case NormalizerStep::kNfd:
        Decompose(c.value);
        break;
      case NormalizerStep::kStripNonspacing:
        keep_unless((flags & kNonspacingMark) != 0);
        break;
      case NormalizerStep::kStripCombining:
        keep_unless((flags & kCombiningMark) != 0);
        break;
      case NormalizerStep::kLowercase:
        if (c.value == kCapitalIWithDot) {
          c.value = U'i';
          next_.push_back(c);
          next_.push_back({kCombiningDotAbove, 0, false});
        } else {
          c.value =
              static_cast<char32_t>(static_cast<int32_t>(c.value) + lowercase_distance_[c.value]);
          next_.push_back(c);
        }
        break;
    }
  }
  decomposed_ = decomposed_ || step == NormalizerStep::kNfd;
}

// Unicode 15, section 3.12.
void CharacterNormalizer::Decompose(char32_t c) {
  if (IsHangulSyllable(c)) {
    const char32_t index = c - kHangulFirst;
    next_.push_back({0x1100 + index / 588, 0, false});
    next_.push_back({0x1161 + index % 588 / 28, 0, false});
    if (index % 28 != 0) next_.push_back({0x11A7 + index % 28, 0, false});
    return;
  }
  if (decomposition_[c] == 0) {
    next_.push_back({c, combining_class_[c], false});
    return;
  }
  const size_t head = decomposition_[c] - 1u;
  for (const char32_t part : kDecompositions.subspan(head + 1, kDecompositions[head] >> 24)) {
    next_.push_back({part, combining_class_[part], false});
  }
}

}  // namespace contextpool::engine
