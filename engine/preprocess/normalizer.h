// Text normalisation ahead of tokenising, compiled to one table look-up per character.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "engine/preprocess/paged_table.h"

namespace contextpool::engine {

enum class NormalizerStep : uint8_t {
  kCleanText,        // Drop kCleanRemoves, white space becomes U+0020.
  kSpaceChinese,     // A space before and after kChinese.
  kNfd,              // Canonical decomposition and order. At most once in a list of steps.
  kStripNonspacing,  // Drop kNonspacingMark.
  kStripCombining,   // Drop kCombiningMark.
  kLowercase,        // Character by character, without context (no final sigma).
};

// Applies a list of steps. All of them work on single characters except for the canonical order of
// combining marks, so construction runs every character through the steps once and Normalize only
// copies the results, sorting the marks that survive. Immutable.
class Normalizer {
 public:
  // What Normalize reuses from call to call. Plain memory, no meaning between calls.
  struct Scratch {
    struct Mark {
      uint8_t combining_class;
      uint8_t size_bytes;
      uint32_t offset;
    };
    std::unique_ptr<char[]> text;
    size_t capacity = 0;
    std::vector<Mark> marks;
    std::string sorted;

    // Gives back what is larger. Invalidates the last result.
    void ShrinkTo(size_t bytes) {
      if (capacity + marks.capacity() * sizeof(Mark) + sorted.capacity() > bytes) *this = {};
    }
  };

  // REQUIRES: kNfd at most once in `steps`.
  explicit Normalizer(const std::vector<NormalizerStep>& steps);

  // The normalised text; it points into `scratch`, or is `utf8` itself where there is nothing to
  // do. REQUIRES: well-formed UTF-8. Linear, except for n log n in a run of n unordered marks.
  absl::string_view Normalize(absl::string_view utf8, Scratch& scratch) const;

 private:
  // A piece of output: text that starts with a starter (or is empty and only ends a run of
  // marks), or a single combining mark.
  struct Piece {
    uint8_t combining_class;
    uint8_t size_bytes;
    uint32_t offset;  // Into bytes_.
  };
  struct Mapping {
    uint32_t first_piece;
    uint32_t pieces;
  };
  class Compiler;
  class Writer;

  static constexpr uint32_t kUnchanged = 0;
  static constexpr uint32_t kSpaced = 1;  // Unchanged, between two spaces.
  static constexpr uint32_t kFirstMapping = 2;

  bool is_identity_;
  // Longest growth of a character, output bytes per input byte, rounded up.
  size_t expansion_ = 1;
  // An ASCII byte becomes ascii_[b], if ascii_size_[b] is 1, or nothing.
  std::array<char, 128> ascii_;
  std::array<uint8_t, 128> ascii_size_;
  // kUnchanged, kSpaced or kFirstMapping + index into mappings_.
  std::unique_ptr<const PagedTable<uint32_t>> actions_;
  std::vector<Mapping> mappings_;
  std::vector<Piece> pieces_;
  std::string bytes_;
};

}  // namespace contextpool::engine
