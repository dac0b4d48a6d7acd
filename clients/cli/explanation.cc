#include "clients/cli/explanation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "clients/cli/canvas.h"
#include "clients/cli/utf8.h"

namespace contextpool::cli {
namespace {

constexpr size_t kMaxLines = 4;
constexpr size_t kBarRows = 2;
constexpr size_t kWidestToken = 24;
// A column on either side of the text for the arrows of windows that go on elsewhere.
constexpr size_t kMargin = 1;

// A token in its place on one line of text.
struct Word {
  std::string text;
  size_t width = 0;
  // Whether it follows the word before without a space.
  bool glued = false;
  size_t column = 0;
};

// The words [begin, end).
struct TextLine {
  size_t begin = 0;
  size_t end = 0;
};

// One layer's choices; 0 where the reply has none.
struct Choices {
  explicit Choices(const v1::ContextPoolLayer& layer) : layer(layer) {
    for (size_t i = 0; i < static_cast<size_t>(layer.weight_size()); ++i) {
      if (!pooled(i)) continue;
      if (last == 0) first = i;
      last = i + 1;
      smallest_weight = first == i ? weight(i) : std::min(smallest_weight, weight(i));
      largest_weight = std::max(largest_weight, weight(i));
      smallest_size = first == i ? size(i) : std::min(smallest_size, size(i));
      largest_size = std::max(largest_size, size(i));
    }
  }

  static float At(const google::protobuf::RepeatedField<float>& values, size_t i) {
    const bool there = i < static_cast<size_t>(values.size()) && std::isfinite(values[i]);
    return there ? values[i] : 0.0f;
  }
  float weight(size_t i) const { return At(layer.weight(), i); }
  float size(size_t i) const { return At(layer.support_size(), i); }
  bool pooled(size_t i) const { return weight(i) > 0; }

  const v1::ContextPoolLayer& layer;
  // Bounds of the pooled tokens; none if last is 0.
  size_t first = 0;
  size_t last = 0;
  float smallest_weight = 0;
  float largest_weight = 0;
  float smallest_size = 0;
  float largest_size = 0;
};

// Spells tokens as a person writes them: "##ing" is a part of the word before it; where spaces are
// spelled out (as the letter that byte-level vocabularies use), nothing else divides tokens.
std::vector<Word> Spell(const v1::Explanation& explanation, size_t room) {
  constexpr absl::string_view kSpace = "\u0120";
  const bool spaces = std::any_of(explanation.tokens().begin(), explanation.tokens().end(),
                                  [&](const auto& t) { return absl::StrContains(t, kSpace); });
  std::vector<Word> words;
  for (absl::string_view token : explanation.tokens()) {
    Word word;
    word.glued = words.empty() || spaces;
    if (absl::StartsWith(token, "##") && token.size() > 2) {
      word.glued = true;
      token.remove_prefix(2);
    }
    word.text =
        Printable(absl::StrReplaceAll(token, {{kSpace, " "}}), std::min(room, kWidestToken));
    word.width = DisplayWidth(word.text);
    if (word.width == 0) {
      absl::StrAppend(&word.text, "\u00B7");
      word.width = 1;
    }
    words.push_back(std::move(word));
  }
  return words;
}

// Cuts the words into lines of at most `room` columns and gives each its column.
std::vector<TextLine> Wrap(std::vector<Word>& words, size_t room) {
  std::vector<TextLine> lines;
  size_t column = 0;
  for (size_t i = 0; i < words.size(); ++i) {
    size_t begin = column + (words[i].glued ? 0 : 1);
    if (lines.empty() || begin + words[i].width > room) {
      lines.push_back({i, i});
      begin = 0;
    }
    words[i].column = kMargin + begin;
    column = begin + words[i].width;
    lines.back().end = i + 1;
  }
  return lines;
}

// As few lines as Wrap needs, but about as long as each other.
std::vector<TextLine> WrapEvenly(std::vector<Word>& words, size_t room) {
  std::vector<TextLine> lines = Wrap(words, room);
  const size_t count = lines.size();
  for (size_t narrower = room; count > 1 && narrower > 1; --narrower) {
    if (Wrap(words, narrower - 1).size() > count) return Wrap(words, narrower);
  }
  return lines;
}

// One layer over one line of text.
class LayerDrawing {
 public:
  LayerDrawing(const Choices& choices, const std::vector<Word>& words, const TextLine& line)
      : choices_(choices), words_(words), line_(line) {}

  std::string Draw(size_t indent, bool color) {
    for (size_t i = line_.begin; i < line_.end; ++i) DrawBar(i);
    for (size_t i = line_.begin; i < line_.end; ++i) {
      PutWord(kBarRows, i, words_[i].text);
    }
    for (size_t i = line_.begin; i < line_.end; ++i) {
      if (choices_.pooled(i)) DrawWindow(i);
    }
    return canvas_.Render(indent, color);
  }

 private:
  // In eighths of a row: at least one, so that no pooled token looks passed through.
  void DrawBar(size_t i) {
    static constexpr std::array<absl::string_view, 8> kEighths = {"▁", "▂", "▃", "▄",
                                                                  "▅", "▆", "▇", "█"};
    if (!choices_.pooled(i)) return;
    const float share = choices_.weight(i) / choices_.largest_weight;
    const auto height = std::max<size_t>(std::lround(share * kBarRows * 8), 1);
    for (size_t row = 0; row < kBarRows; ++row) {
      const size_t below = (kBarRows - 1 - row) * 8;
      const size_t eighths = std::min<size_t>(height - std::min(height, below), 8);
      for (size_t c = 0; c < words_[i].width && eighths > 0; ++c) {
        canvas_.Put(row, words_[i].column + c, kEighths[eighths - 1], 1, Ink::kBar);
      }
    }
  }

  void PutWord(size_t row, size_t i, absl::string_view text) {
    const float share = choices_.pooled(i) ? choices_.weight(i) / choices_.largest_weight : 0;
    const Ink ink = share >= 0.5f ? Ink::kBold : share < 0.1f ? Ink::kDim : Ink::kPlain;
    canvas_.Put(row, words_[i].column, text, words_[i].width, ink);
  }

  // The column of a place between tokens: token j reaches from j - 0.5 to j + 0.5, half the spaces
  // beside it included.
  double ColumnOf(double place) const {
    const double inside =
        std::clamp(place + 0.5, static_cast<double>(line_.begin), static_cast<double>(line_.end));
    const size_t j = std::min(static_cast<size_t>(inside), line_.end - 1);
    return Edge(j) + (inside - static_cast<double>(j)) * (Edge(j + 1) - Edge(j));
  }

  // The column where token j begins and the one before it ends.
  double Edge(size_t j) const {
    if (j == line_.begin) return static_cast<double>(words_[j].column);
    const double end = static_cast<double>(words_[j - 1].column + words_[j - 1].width);
    if (j == line_.end) return end;
    return (end + static_cast<double>(words_[j].column)) / 2;
  }

  void DrawWindow(size_t i) {
    const Word& word = words_[i];
    const double place = static_cast<double>(i);
    const double first = static_cast<double>(choices_.first) - 0.5;
    const double last = static_cast<double>(choices_.last) - 0.5;
    const double from = std::max(place - choices_.size(i), first);
    const double to = std::min(place + choices_.size(i), last);
    const bool before = from + 0.5 < static_cast<double>(line_.begin);
    const bool after = to + 0.5 > static_cast<double>(line_.end);
    // In half columns.
    const auto left = static_cast<size_t>(std::lround(2 * ColumnOf(from)));
    const auto right = static_cast<size_t>(std::lround(2 * ColumnOf(to)));
    const size_t begin = std::min(left / 2 - before, word.column);
    const size_t end = std::max((right + 1) / 2 + after, word.column + word.width);
    const size_t row = FreeRow(begin, end);
    for (size_t c = left / 2; c < (right + 1) / 2; ++c) {
      const bool left_half = left <= 2 * c;
      const bool right_half = right >= 2 * c + 2;
      const absl::string_view glyph = left_half && right_half ? "━" : left_half ? "╸" : "╺";
      if (left_half || right_half) canvas_.Put(row, c, glyph, 1, Ink::kWindow);
    }
    if (before) canvas_.Put(row, begin, "◂", 1, Ink::kWindow);
    if (after) canvas_.Put(row, end - 1, "▸", 1, Ink::kWindow);
    PutWord(row, i, word.text == " " ? "␣" : word.text);
  }

  // The first row below the text where the columns are free, with a space before them.
  size_t FreeRow(size_t begin, size_t end) {
    size_t row = 0;
    while (row < taken_.size() && taken_[row] >= begin) ++row;
    if (row == taken_.size()) taken_.push_back(0);
    taken_[row] = end;
    return kBarRows + 1 + row;
  }

  const Choices& choices_;
  const std::vector<Word>& words_;
  const TextLine& line_;
  Canvas canvas_;
  // Of each row of windows the column where its last one ends.
  std::vector<size_t> taken_;
};

std::string Heading(const Choices& choices, bool color) {
  const std::string name = absl::StrCat("layer ", choices.layer.layer());
  const std::string summary =
      choices.last == 0 ? "every token is passed through"
                        : absl::StrFormat("weights %.2g to %.2g, support sizes %.1f to %.1f tokens",
                                          choices.smallest_weight, choices.largest_weight,
                                          choices.smallest_size, choices.largest_size);
  return absl::StrCat(color ? Inked(name, Ink::kBold) : name, "   ",
                      color ? Inked(summary, Ink::kDim) : summary, "\n");
}

}  // namespace

std::string DrawExplanation(const v1::Explanation& explanation, const Terminal& terminal,
                            size_t indent) {
  const size_t columns = std::max<size_t>(terminal.columns, 40);
  const size_t room = columns - indent - 2 * kMargin;
  const std::string spaces(indent, ' ');
  std::vector<Word> words = Spell(explanation, room);
  std::vector<TextLine> lines = WrapEvenly(words, room);
  if (lines.size() > kMaxLines) lines.resize(kMaxLines);
  const size_t drawn = lines.empty() ? 0 : lines.back().end;
  const auto note = [&](absl::string_view text) {
    return absl::StrCat(spaces, terminal.color ? Inked(text, Ink::kDim) : text, "\n");
  };

  std::string picture;
  for (const v1::ContextPoolLayer& layer : explanation.layers()) {
    const Choices choices(layer);
    absl::StrAppend(&picture, "\n", spaces, Heading(choices, terminal.color));
    for (const TextLine& line : lines) {
      if (line.begin > 0) absl::StrAppend(&picture, "\n");
      absl::StrAppend(&picture, LayerDrawing(choices, words, line).Draw(indent, terminal.color));
    }
  }
  absl::StrAppend(&picture, "\n");
  if (drawn < words.size()) {
    absl::StrAppend(&picture, note(absl::StrCat(words.size() - drawn,
                                                " more tokens are not drawn; --json has the "
                                                "numbers of all")));
  }
  absl::StrAppend(&picture, note("bar: how much a token counts; line: how far it looks"));
  return picture;
}

}  // namespace contextpool::cli
