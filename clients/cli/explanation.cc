#include "clients/cli/explanation.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "clients/cli/canvas.h"
#include "clients/cli/spelling.h"
#include "clients/cli/utf8.h"

namespace contextpool::cli {
namespace {

constexpr size_t kMaxLines = 4;
constexpr size_t kBarRows = 2;
constexpr size_t kMaxWindowRows = 12;
constexpr size_t kWidestToken = 24;
// A column on either side of the text for the arrows of windows that go on elsewhere.
constexpr size_t kMargin = 1;

// A piece in its place on one line of text.
struct Word {
  std::string text;
  size_t width = 0;
  // Whether it follows the word before without a space.
  bool glued = false;
  size_t column = 0;
  // The tokens [begin, end).
  size_t begin = 0;
  size_t end = 0;
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
  bool pooled(const Word& word) const { return weight(word) > 0; }
  // The largest of its tokens.
  float weight(const Word& word) const {
    float largest = 0;
    for (size_t i = word.begin; i < word.end; ++i) largest = std::max(largest, weight(i));
    return largest;
  }

  const v1::ContextPoolLayer& layer;
  // Bounds of the pooled tokens; none if last is 0.
  size_t first = 0;
  size_t last = 0;
  float smallest_weight = 0;
  float largest_weight = 0;
  float smallest_size = 0;
  float largest_size = 0;
};

std::vector<Word> WordsOf(const v1::Explanation& explanation, size_t room) {
  std::vector<Word> words;
  for (const Piece& piece : Spell(explanation.tokens())) {
    Word word;
    word.glued = piece.glued;
    word.begin = piece.begin;
    word.end = piece.end;
    word.text = Printable(piece.text, std::min(room, kWidestToken));
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

// One layer over one line of text. Draws once.
class LayerDrawing {
 public:
  LayerDrawing(const Choices& choices, const std::vector<Word>& words, const TextLine& line)
      : choices_(choices), words_(words), line_(line) {}

  std::string Draw(size_t indent, bool color) {
    for (size_t i = line_.begin; i < line_.end; ++i) DrawBar(words_[i]);
    for (size_t i = line_.begin; i < line_.end; ++i) PutWord(kBarRows, words_[i], words_[i].text);
    for (size_t i = line_.begin; i < line_.end; ++i) {
      if (choices_.pooled(words_[i])) DrawWindow(words_[i]);
    }
    return canvas_.Render(indent, color);
  }

  // Windows for which there was no row.
  size_t left_out() const { return left_out_; }

 private:
  // Between the middles of tokens, in tokens.
  struct Window {
    double from = 0;
    double to = 0;
  };

  // Where a window ends, and whether it is a word without a line.
  struct Taken {
    size_t end = 0;
    bool bare = false;
  };

  // In eighths of a row: at least one, so that no pooled token looks passed through.
  void DrawBar(const Word& word) {
    static constexpr std::array<absl::string_view, 8> kEighths = {"▁", "▂", "▃", "▄",
                                                                  "▅", "▆", "▇", "█"};
    if (!choices_.pooled(word)) return;
    const float share = choices_.weight(word) / choices_.largest_weight;
    const auto height = std::max<size_t>(std::lround(share * kBarRows * 8), 1);
    for (size_t row = 0; row < kBarRows; ++row) {
      const size_t below = (kBarRows - 1 - row) * 8;
      const size_t eighths = std::min<size_t>(height - std::min(height, below), 8);
      for (size_t c = 0; c < word.width && eighths > 0; ++c) {
        canvas_.Put(row, word.column + c, kEighths[eighths - 1], 1, Ink::kBar);
      }
    }
  }

  void PutWord(size_t row, const Word& word, absl::string_view text) {
    const float share = choices_.pooled(word) ? choices_.weight(word) / choices_.largest_weight : 0;
    const Ink ink = share >= 0.5f ? Ink::kBold : share < 0.1f ? Ink::kDim : Ink::kPlain;
    canvas_.Put(row, word.column, text, word.width, ink);
  }

  // The column of a place between tokens: token j reaches from j - 0.5 to j + 0.5, half the spaces
  // beside its word included.
  double ColumnOf(double place) const {
    const double inside =
        std::clamp(place + 0.5, static_cast<double>(FirstToken()), static_cast<double>(EndToken()));
    size_t j = line_.begin;
    while (j + 1 < line_.end && static_cast<double>(words_[j].end) <= inside) ++j;
    const Word& word = words_[j];
    const double share =
        (inside - static_cast<double>(word.begin)) / static_cast<double>(word.end - word.begin);
    return Edge(j) + share * (Edge(j + 1) - Edge(j));
  }

  // The column where word j begins and the one before it ends.
  double Edge(size_t j) const {
    if (j == line_.begin) return static_cast<double>(words_[j].column);
    const double end = static_cast<double>(words_[j - 1].column + words_[j - 1].width);
    if (j == line_.end) return end;
    return (end + static_cast<double>(words_[j].column)) / 2;
  }

  size_t FirstToken() const { return words_[line_.begin].begin; }
  size_t EndToken() const { return words_[line_.end - 1].end; }

  // How far any of the word's tokens looks, within the tokens that are pooled.
  Window WindowOf(const Word& word) const {
    Window window{static_cast<double>(word.end), static_cast<double>(word.begin)};
    for (size_t i = word.begin; i < word.end; ++i) {
      if (!choices_.pooled(i)) continue;
      window.from = std::min(window.from, static_cast<double>(i) - choices_.size(i));
      window.to = std::max(window.to, static_cast<double>(i) + choices_.size(i));
    }
    return {std::max(window.from, static_cast<double>(choices_.first) - 0.5),
            std::min(window.to, static_cast<double>(choices_.last) - 0.5)};
  }

  void DrawWindow(const Word& word) {
    const Window window = WindowOf(word);
    const bool before = window.from + 0.5 < static_cast<double>(FirstToken());
    const bool after = window.to + 0.5 > static_cast<double>(EndToken());
    // In half columns.
    const auto left = static_cast<size_t>(std::lround(2 * ColumnOf(window.from)));
    const auto right = static_cast<size_t>(std::lround(2 * ColumnOf(window.to)));
    const size_t begin = std::min(left / 2 - before, word.column);
    const size_t end = std::max((right + 1) / 2 + after, word.column + word.width);
    const bool bare = begin == word.column && end == word.column + word.width;
    const size_t row = FreeRow(begin, end, bare);
    if (row == kMaxWindowRows) return;
    const size_t drawn = kBarRows + 1 + row;
    for (size_t c = left / 2; c < (right + 1) / 2; ++c) {
      const bool left_half = left <= 2 * c;
      const bool right_half = right >= 2 * c + 2;
      const absl::string_view glyph = left_half && right_half ? "━" : left_half ? "╸" : "╺";
      if (left_half || right_half) canvas_.Put(drawn, c, glyph, 1, Ink::kWindow);
    }
    if (before) canvas_.Put(drawn, begin, "◂", 1, Ink::kWindow);
    if (after) canvas_.Put(drawn, end - 1, "▸", 1, Ink::kWindow);
    PutWord(drawn, word, word.text == " " ? "␣" : word.text);
  }

  // The first row of windows where the columns are free, with a space before them unless both
  // neighbours are bare words; kMaxWindowRows if there is none, which is counted.
  size_t FreeRow(size_t begin, size_t end, bool bare) {
    const auto is_free = [&](const Taken& taken) {
      return taken.end < begin || (taken.end == begin && taken.bare && bare);
    };
    size_t row = 0;
    while (row < taken_.size() && !is_free(taken_[row])) ++row;
    if (row == kMaxWindowRows) {
      ++left_out_;
      return row;
    }
    if (row == taken_.size()) taken_.emplace_back();
    taken_[row] = {end, bare};
    return row;
  }

  const Choices& choices_;
  const std::vector<Word>& words_;
  const TextLine& line_;
  Canvas canvas_;
  // Of each row of windows its last one.
  std::vector<Taken> taken_;
  size_t left_out_ = 0;
};

// A caption as lines of at most `columns`, each after `indent` spaces.
std::string Caption(absl::string_view text, size_t columns, size_t indent, bool color) {
  std::vector<std::string> lines;
  for (absl::string_view word : absl::StrSplit(text, ' ')) {
    if (lines.empty() || indent + lines.back().size() + 1 + word.size() > columns) {
      lines.emplace_back(word);
    } else {
      absl::StrAppend(&lines.back(), " ", word);
    }
  }
  std::string caption;
  for (const std::string& line : lines) {
    absl::StrAppend(&caption, std::string(indent, ' '), color ? Inked(line, Ink::kDim) : line,
                    "\n");
  }
  return caption;
}

std::string Heading(const Choices& choices, size_t columns, size_t indent, bool color) {
  const auto size = [](float value) {
    return value < 1e4f ? absl::StrFormat("%.1f", value) : absl::StrFormat("%.2g", value);
  };
  const std::string name = absl::StrCat("layer ", choices.layer.layer());
  const std::string summary =
      choices.last == 0 ? "every token is passed through"
                        : absl::StrFormat("weights %.2g to %.2g, support sizes %s to %s tokens",
                                          choices.smallest_weight, choices.largest_weight,
                                          size(choices.smallest_size), size(choices.largest_size));
  const std::string start =
      absl::StrCat(std::string(indent, ' '), color ? Inked(name, Ink::kBold) : name);
  if (indent + name.size() + 3 + summary.size() > columns) {
    return absl::StrCat(start, "\n", Caption(summary, columns, indent, color));
  }
  return absl::StrCat(start, "   ", Caption(summary, columns, 0, color));
}

std::string Count(size_t n, absl::string_view one, absl::string_view many) {
  return absl::StrCat(n, " ", n == 1 ? one : many);
}

}  // namespace

std::string DrawExplanation(const v1::Explanation& explanation, const Terminal& terminal,
                            size_t indent) {
  const size_t columns = std::max<size_t>(terminal.columns, 40);
  const size_t room = columns - indent - 2 * kMargin;
  std::vector<Word> words = WordsOf(explanation, room);
  std::vector<TextLine> lines = WrapEvenly(words, room);
  if (lines.size() > kMaxLines) lines.resize(kMaxLines);
  const auto note = [&](absl::string_view text) {
    return Caption(text, columns, indent, terminal.color);
  };

  std::string picture;
  for (const v1::ContextPoolLayer& layer : explanation.layers()) {
    const Choices choices(layer);
    absl::StrAppend(&picture, "\n", Heading(choices, columns, indent, terminal.color));
    for (const TextLine& line : lines) {
      if (line.begin > 0) absl::StrAppend(&picture, "\n");
      LayerDrawing drawing(choices, words, line);
      absl::StrAppend(&picture, drawing.Draw(indent, terminal.color));
      if (const size_t n = drawing.left_out(); n > 0) {
        absl::StrAppend(&picture, note(Count(n, "window is not drawn", "windows are not drawn")));
      }
    }
  }
  absl::StrAppend(&picture, "\n");
  const size_t all = words.empty() ? 0 : words.back().end;
  const size_t drawn = lines.empty() ? 0 : words[lines.back().end - 1].end;
  if (drawn < all) {
    absl::StrAppend(&picture,
                    note(absl::StrCat(Count(all - drawn, "more token is", "more tokens are"),
                                      " not drawn; --json has the numbers of all")));
  }
  absl::StrAppend(&picture, note("bar: how much a token counts; line: how far it looks"));
  if (all > words.size()) {
    absl::StrAppend(&picture,
                    note("a character of several tokens: its largest bar, all its lines"));
  }
  return picture;
}

}  // namespace contextpool::cli
