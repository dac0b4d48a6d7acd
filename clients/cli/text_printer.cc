#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "clients/cli/canvas.h"
#include "clients/cli/explanation.h"
#include "clients/cli/grid_explanation.h"
#include "clients/cli/printer.h"
#include "clients/cli/table.h"
#include "clients/cli/utf8.h"

namespace contextpool::cli {
namespace {

constexpr size_t kIndent = 3;
constexpr size_t kUnbounded = std::numeric_limits<size_t>::max();

absl::string_view NameOf(const std::string& name, absl::string_view prefix) {
  return absl::StripPrefix(name, prefix);
}

class TextPrinter : public Printer {
 public:
  TextPrinter(const Options& options, const InputList& inputs, const Terminal& terminal,
              std::ostream& out, std::ostream& err)
      : options_(options), inputs_(inputs), terminal_(terminal), out_(out), err_(err) {}

  void Embedded(size_t index, const v1::EmbedResult& result) override {
    Headline(index, Tokens(result.usage()));
    const auto& values = result.embedding().values();
    const std::vector<float> vector(values.begin(), values.end());
    constexpr size_t kShown = 6;
    const size_t shown = std::min(kShown, vector.size());
    const std::string first =
        absl::StrJoin(vector.begin(), vector.begin() + shown, ", ",
                      [](std::string* out, float x) { absl::StrAppendFormat(out, "%.4f", x); });
    out_ << Indent() << "[" << first << (shown < vector.size() ? ", ..." : "") << "]  "
         << vector.size() << " dimensions, norm " << absl::StrFormat("%.4f", Norm(vector)) << "\n";
    if (result.has_explanation()) Explain(result.explanation());
  }

  void Classified(size_t index, const v1::ClassifyResult& result) override {
    Headline(index, Tokens(result.usage()));
    const auto& scores = result.classification().scores();
    if (scores.empty()) out_ << Indent() << "no label reaches the threshold\n";
    std::vector<std::string> labels;
    size_t label_width = 0;
    for (const v1::LabelScore& score : scores) {
      labels.push_back(Printable(score.label(), std::max<size_t>(terminal_.columns / 3, 8)));
      label_width = std::max(label_width, DisplayWidth(labels.back()));
    }
    const bool bars = AreShares(scores);
    for (int i = 0; i < scores.size(); ++i) {
      const v1::LabelScore& score = scores[i];
      out_ << Indent() << PadRight(labels[i], label_width);
      if (bars) out_ << "  " << Bar(score.score(), BarColumns(label_width));
      out_ << "  "
           << (bars ? absl::StrFormat("%.4f", score.score())
                    : absl::StrFormat("%9.4f", score.score()));
      if (score.has_logit()) out_ << absl::StrFormat("  logit %9.4f", score.logit());
      out_ << "\n";
    }
    if (result.has_explanation()) Explain(result.explanation());
  }

  void Tokenized(size_t index, const v1::TokenizeResult& result) override {
    Headline(index, Tokens(result.usage()));
    const auto& tokens = result.tokens();
    Table table({{}, {.right = true}});
    for (int i = 0; i < std::min(tokens.tokens_size(), tokens.ids_size()); ++i) {
      table.AddRow({Printable(tokens.tokens(i), Room()), absl::StrCat(tokens.ids(i))});
    }
    out_ << table.Render(kIndent);
  }

  void Failed(size_t first, size_t count, const Failure& failure) override {
    err_ << "contextpool: input " << first;
    if (count > 1) err_ << " to " << first + count - 1;
    if (count == 1 && inputs_.are_images()) {
      err_ << " (" << Printable(inputs_.name(first), kUnbounded) << ")";
    }
    err_ << ": " << failure.code << ": " << Printable(failure.message, kUnbounded) << "\n";
  }

  void RequestFailed(const Failure& failure) override {
    err_ << "contextpool: " << failure.code << ": " << Printable(failure.message, kUnbounded)
         << "\n";
  }

  void Compared(const EmbeddingMatrix& vectors) override;
  void Saved(const std::string& path, const EmbeddingMatrix& vectors) override {
    out_ << "wrote float32 [" << vectors.rows() << ", " << vectors.dimensions() << "] to " << path;
    if (vectors.filled() < vectors.rows()) {
      out_ << "; " << vectors.rows() - vectors.filled() << " rows of failed inputs are NaN";
    }
    out_ << "\n";
  }

  void Drawn(const std::string& path) override { out_ << Indent() << "wrote " << path << "\n"; }

  void Listed(const google::protobuf::RepeatedPtrField<v1::Model>& models) override;

 private:
  static std::string Indent() { return std::string(kIndent, ' '); }

  static std::string Tokens(const v1::InputUsage& usage) {
    std::string tokens =
        absl::StrCat(usage.tokens_used(), usage.tokens_used() == 1 ? " token" : " tokens");
    if (usage.truncated()) absl::StrAppend(&tokens, " of ", usage.tokens_seen(), ", cut");
    return tokens;
  }

  // Columns for a text beside what stands on its line anyway.
  size_t Room() const { return std::max<size_t>(terminal_.columns, 40) - 30; }

  void Headline(size_t index, const std::string& note) {
    const std::string number = absl::StrCat(index);
    const std::string name = Name(index, Room());
    out_ << Bold(PadRight(number, kIndent - 1)) << " " << (name.empty() ? "(empty)" : name) << "  ("
         << note << ")\n";
  }

  // The beginning of a text, the end of a file's name.
  std::string Name(size_t index, size_t columns) const {
    const std::string& name = inputs_.name(index);
    return inputs_.are_images() ? PrintableEnd(name, columns) : Printable(name, columns);
  }

  void Explain(const v1::Explanation& explanation) {
    if (explanation.grid_width() == 0) {
      out_ << DrawExplanation(explanation, terminal_, kIndent);
    } else if (options_.explain_file.empty()) {
      out_ << "\n" << TabulateExplanation(explanation, kIndent);
    }
  }

  std::string Bold(const std::string& text) const {
    return terminal_.color ? Inked(text, Ink::kBold) : text;
  }

  // True if the scores are shares or probabilities that a bar can show: a person looks, and it is
  // not the single number of a regression.
  bool AreShares(const google::protobuf::RepeatedPtrField<v1::LabelScore>& scores) const {
    const bool all_labels = !options_.top_k && !options_.threshold && options_.labels.empty();
    if (!terminal_.is_tty || (scores.size() == 1 && all_labels)) return false;
    return std::all_of(scores.begin(), scores.end(), [](const v1::LabelScore& score) {
      return score.score() >= 0 && score.score() <= 1;
    });
  }

  size_t BarColumns(size_t label_width) const {
    constexpr size_t kWidest = 40;
    const size_t used = kIndent + label_width + 10 + (options_.logits ? 17 : 0);
    return std::min(kWidest, terminal_.columns > used + 4 ? terminal_.columns - used : 4);
  }

  // `share` of the columns filled, to an eighth of a column.
  std::string Bar(float share, size_t columns) const {
    static constexpr std::array<absl::string_view, 8> kEighths = {"",  "▏", "▎", "▍",
                                                                  "▌", "▋", "▊", "▉"};
    const auto eighths = static_cast<size_t>(std::lround(share * columns * 8));
    std::string bar;
    for (size_t i = 0; i < eighths / 8; ++i) absl::StrAppend(&bar, "█");
    absl::StrAppend(&bar, kEighths[eighths % 8]);
    const std::string padded = PadRight(bar, columns);
    return terminal_.color ? Inked(padded, Ink::kBar) : padded;
  }

  const Options& options_;
  const InputList& inputs_;
  const Terminal terminal_;
  std::ostream& out_;
  std::ostream& err_;
};

void TextPrinter::Compared(const EmbeddingMatrix& vectors) {
  constexpr size_t kCellColumns = 7;
  const size_t label_columns = terminal_.is_tty ? std::min<size_t>(terminal_.columns / 3, 30) : 30;
  const size_t room = terminal_.columns - std::min(terminal_.columns, label_columns + kIndent + 1);
  const size_t per_block = terminal_.is_tty ? std::max<size_t>(room / kCellColumns, 1) : kUnbounded;
  for (size_t begin = 0; begin < vectors.rows();) {
    const size_t count = std::min(per_block, vectors.rows() - begin);
    out_ << "\ncosine" << std::string(kIndent + label_columns - 5, ' ');
    for (size_t j = begin; j < begin + count; ++j) out_ << absl::StrFormat("%7d", j);
    out_ << "\n";
    for (size_t i = 0; i < vectors.rows(); ++i) {
      out_ << PadRight(absl::StrCat(i), kIndent)
           << PadRight(Name(i, label_columns), label_columns + 1);
      for (size_t j = begin; j < begin + count; ++j) {
        const double cosine = Cosine(vectors.row(i), vectors.row(j));
        out_ << (std::isnan(cosine) ? "      -" : absl::StrFormat("%7.3f", cosine));
      }
      out_ << "\n";
    }
    begin += count;
  }
}

// "text", or "images 224x224": what images are brought to.
std::string Reads(const v1::Model& model) {
  if (model.modality() == v1::MODALITY_TEXT) return "text";
  if (model.modality() != v1::MODALITY_IMAGE) return "-";
  return absl::StrCat("images ", model.image_width(), "x", model.image_height());
}

void TextPrinter::Listed(const google::protobuf::RepeatedPtrField<v1::Model>& models) {
  if (models.empty()) out_ << "The server has no model.\n";
  Table table({{.title = "MODEL"},
               {.title = "VERSION", .right = true},
               {.title = "STATE"},
               {.title = "TASKS"},
               {.title = "READS"},
               {.title = "DIMS", .right = true},
               {.title = "LABELS", .right = true},
               {.title = "MAX TOKENS", .right = true},
               {.title = "DTYPE"},
               {.title = "DEVICE"}});
  const auto number = [](uint64_t n) { return n == 0 ? std::string("-") : absl::StrCat(n); };
  for (const v1::Model& model : models) {
    const std::string state = v1::ModelState_Name(model.state());
    const std::string tasks = absl::StrJoin(model.tasks(), ",", [](std::string* out, int task) {
      absl::StrAppend(out, absl::AsciiStrToLower(NameOf(v1::Task_Name(v1::Task(task)), "TASK_")));
    });
    table.AddRow({Printable(model.ref().name(), Room()), number(model.ref().version()),
                  absl::AsciiStrToLower(NameOf(state, "MODEL_STATE_")), tasks.empty() ? "-" : tasks,
                  Reads(model), number(model.embedding_dimensions()), number(model.labels_size()),
                  number(model.max_tokens()),
                  model.dtype().empty() ? "-" : Printable(model.dtype(), 12),
                  model.device().empty() ? "-" : Printable(model.device(), 12)});
    if (!model.reason().empty()) {
      table.AddNote(absl::StrCat("   ", Printable(model.reason(), kUnbounded)));
    }
  }
  if (!models.empty()) out_ << table.Render(0);
}

}  // namespace

std::unique_ptr<Printer> MakeTextPrinter(const Options& options, const InputList& inputs,
                                         const Terminal& terminal, std::ostream& out,
                                         std::ostream& err) {
  return std::make_unique<TextPrinter>(options, inputs, terminal, out, err);
}

}  // namespace contextpool::cli
