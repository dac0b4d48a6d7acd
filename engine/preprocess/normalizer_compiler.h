// What the steps of a normaliser make of a single character.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/preprocess/normalizer.h"

namespace contextpool::engine {

// A mark (combining_class > 0) or text whose first character is a starter. An empty text stands
// for a starter that was dropped after decomposition: it still separates the marks around it.
struct NormalizedPiece {
  uint8_t combining_class = 0;
  std::string utf8;

  friend bool operator==(const NormalizedPiece&, const NormalizedPiece&) = default;
};

// Holds the expanded character data while a Normalizer is built.
class CharacterNormalizer {
 public:
  explicit CharacterNormalizer(const std::vector<NormalizerStep>& steps);

  // Replaces `pieces` by the result for one character.
  void Normalize(char32_t code_point, std::vector<NormalizedPiece>& pieces);

  // Characters with equal keys below kOwnResult behave alike: all of them stay, are dropped or
  // become a space.
  static constexpr uint32_t kOwnResult = 0x100;
  uint32_t BehaviourKey(char32_t code_point) const;

 private:
  struct Character {
    char32_t value;
    uint8_t combining_class;
    bool dropped;
  };

  void Apply(NormalizerStep step);
  void Decompose(char32_t code_point);

  const std::vector<NormalizerStep>& steps_;
  std::vector<int32_t> lowercase_distance_;
  // Index of the record in kDecompositions + 1.
  std::vector<uint16_t> decomposition_;
  std::vector<uint8_t> combining_class_;
  std::vector<Character> current_, next_;
  bool decomposed_ = false;
};

}  // namespace contextpool::engine
