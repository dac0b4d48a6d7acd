#include "engine/preprocess/normalizer.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>

#include "engine/preprocess/normalizer_compiler.h"
#include "engine/preprocess/unicode.h"

namespace contextpool::engine {

// Fills the tables of a Normalizer.
class Normalizer::Compiler {
 public:
  Compiler(const std::vector<NormalizerStep>& steps, Normalizer& out) : steps_(steps), out_(out) {}

  void Run() {
    CharacterNormalizer characters(steps_);
    std::vector<uint32_t> actions(kCodePoints, kUnchanged);
    uint32_t previous_key = CharacterNormalizer::kOwnResult;
    for (char32_t c = 0; c < kCodePoints; ++c) {
      const uint32_t key = characters.BehaviourKey(c);
      // Most of the code space is long stretches without any property.
      if (key == previous_key && key != CharacterNormalizer::kOwnResult) {
        actions[c] = actions[c - 1];
        continue;
      }
      previous_key = key;
      characters.Normalize(c, pieces_);
      actions[c] = Action(c);
    }
    for (char32_t c = 0; c < 128; ++c) {
      characters.Normalize(c, pieces_);
      out_.ascii_size_[c] = !pieces_.empty() && !pieces_[0].utf8.empty();
      out_.ascii_[c] = out_.ascii_size_[c] != 0 ? pieces_[0].utf8[0] : '\0';
    }
    out_.actions_ = std::make_unique<const PagedTable<uint32_t>>(actions);
  }

 private:
  // Where the pieces of `c` are, stored if they are new.
  uint32_t Action(char32_t c) {
    std::string same, spaced, key;
    AppendUtf8(c, same);
    spaced = " " + same + " ";
    size_t size = 0;
    for (const NormalizedPiece& piece : pieces_) {
      size += piece.utf8.size();
      key.push_back(static_cast<char>(piece.combining_class));
      key.push_back(static_cast<char>(piece.utf8.size()));
      key += piece.utf8;
    }
    out_.expansion_ = std::max(out_.expansion_, (size + same.size() - 1) / same.size());
    if (pieces_.size() == 1 && pieces_[0] == NormalizedPiece{0, same}) return kUnchanged;
    if (pieces_.size() == 1 && pieces_[0] == NormalizedPiece{0, spaced}) return kSpaced;
    const auto [it, is_new] = known_.try_emplace(std::move(key), out_.mappings_.size());
    if (is_new) Store();
    return kFirstMapping + it->second;
  }

  void Store() {
    out_.mappings_.push_back(
        {static_cast<uint32_t>(out_.pieces_.size()), static_cast<uint32_t>(pieces_.size())});
    for (const NormalizedPiece& piece : pieces_) {
      out_.pieces_.push_back({piece.combining_class, static_cast<uint8_t>(piece.utf8.size()),
                              static_cast<uint32_t>(out_.bytes_.size())});
      out_.bytes_ += piece.utf8;
    }
  }

  const std::vector<NormalizerStep>& steps_;
  Normalizer& out_;
  std::vector<NormalizedPiece> pieces_;
  std::map<std::string, uint32_t> known_;
};

// Appends pieces to the output, keeping every run of marks in canonical order.
class Normalizer::Writer {
 public:
  Writer(const Normalizer& normalizer, Scratch& scratch)
      : bytes_(normalizer.bytes_.data()),
        scratch_(scratch),
        begin_(scratch.text.get()),
        out_(begin_) {
    scratch_.marks.clear();
  }

  bool in_marks() const { return !scratch_.marks.empty(); }
  char* out() { return out_; }
  void set_out(char* out) { out_ = out; }

  // Text that starts with a starter.
  void Put(const char* data, size_t size) {
    EndMarks();
    std::memcpy(out_, data, size);
    out_ += size;
  }

  void Put(const Piece& piece) {
    if (piece.combining_class == 0) {
      Put(bytes_ + piece.offset, piece.size_bytes);
      return;
    }
    if (in_marks() && scratch_.marks.back().combining_class > piece.combining_class) {
      unordered_ = true;
    }
    scratch_.marks.push_back({piece.combining_class, piece.size_bytes, piece.offset});
    std::memcpy(out_, bytes_ + piece.offset, piece.size_bytes);
    out_ += piece.size_bytes;
  }

  absl::string_view Finish() {
    EndMarks();
    return {begin_, static_cast<size_t>(out_ - begin_)};
  }

 private:
  void EndMarks() {
    if (unordered_) Reorder();
    scratch_.marks.clear();
  }

  void Reorder() {
    unordered_ = false;
    std::stable_sort(scratch_.marks.begin(), scratch_.marks.end(),
                     [](const Scratch::Mark& a, const Scratch::Mark& b) {
                       return a.combining_class < b.combining_class;
                     });
    scratch_.sorted.clear();
    for (const Scratch::Mark& mark : scratch_.marks) {
      scratch_.sorted.append(bytes_ + mark.offset, mark.size_bytes);
    }
    std::memcpy(out_ - scratch_.sorted.size(), scratch_.sorted.data(), scratch_.sorted.size());
  }

  const char* const bytes_;
  Scratch& scratch_;
  char* const begin_;
  char* out_;
  bool unordered_ = false;
};

Normalizer::Normalizer(const std::vector<NormalizerStep>& steps) : is_identity_(steps.empty()) {
  if (!is_identity_) Compiler(steps, *this).Run();
}

absl::string_view Normalizer::Normalize(absl::string_view utf8, Scratch& scratch) const {
  if (is_identity_) return utf8;
  const size_t needed = utf8.size() * expansion_;
  if (scratch.capacity < needed) {
    scratch.text = std::make_unique_for_overwrite<char[]>(needed);
    scratch.capacity = needed;
  }
  Writer writer(*this, scratch);
  const char* p = utf8.data();
  const char* const end = p + utf8.size();
  while (p < end) {
    if (static_cast<uint8_t>(*p) < 0x80 && !writer.in_marks()) {
      char* out = writer.out();
      for (; p < end && static_cast<uint8_t>(*p) < 0x80; ++p) {
        *out = ascii_[static_cast<uint8_t>(*p)];
        out += ascii_size_[static_cast<uint8_t>(*p)];
      }
      writer.set_out(out);
      continue;
    }
    const DecodedCodePoint c = DecodeUtf8(p);
    const uint32_t action = (*actions_)[c.value];
    if (action == kUnchanged) {
      writer.Put(p, c.size_bytes);
    } else if (action == kSpaced) {
      writer.Put(" ", 1);
      writer.Put(p, c.size_bytes);
      writer.Put(" ", 1);
    } else {
      const Mapping& mapping = mappings_[action - kFirstMapping];
      for (uint32_t i = 0; i < mapping.pieces; ++i) writer.Put(pieces_[mapping.first_piece + i]);
    }
    p += c.size_bytes;
  }
  return writer.Finish();
}

}  // namespace contextpool::engine
