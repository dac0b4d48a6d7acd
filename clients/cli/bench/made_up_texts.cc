#include "clients/cli/bench/made_up_texts.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace contextpool::cli::bench {
namespace {

// A power of two of them, so that each is as likely as the others.
constexpr std::array<absl::string_view, 128> kWords = {
    "the",     "of",     "and",      "a",        "to",      "in",       "is",      "that",
    "it",      "was",    "for",      "on",       "are",     "with",     "as",      "they",
    "be",      "at",     "one",      "have",     "this",    "from",     "had",     "by",
    "word",    "but",    "what",     "some",     "we",      "can",      "out",     "other",
    "were",    "all",    "there",    "when",     "up",      "use",      "your",    "how",
    "said",    "each",   "she",      "which",    "their",   "time",     "will",    "way",
    "about",   "many",   "then",     "them",     "write",   "would",    "like",    "these",
    "her",     "long",   "make",     "thing",    "see",     "him",      "two",     "has",
    "look",    "more",   "day",      "could",    "go",      "come",     "did",     "number",
    "sound",   "no",     "most",     "people",   "my",      "over",     "know",    "water",
    "than",    "call",   "first",    "who",      "may",     "down",     "side",    "been",
    "now",     "find",   "river",    "garden",   "letter",  "question", "winter",  "music",
    "station", "price",  "company",  "doctor",   "weather", "history",  "science", "market",
    "teacher", "bridge", "mountain", "language", "village", "evening",  "morning", "window",
    "kitchen", "horse",  "paper",    "silver",   "quiet",   "simple",   "careful", "strange",
    "walked",  "opened", "answered", "remember", "believe", "carried",  "against", "between"};

double StandardNormal(Random& random) {
  // Box and Muller's transform; 1 - u keeps the logarithm away from 0.
  const double radius = std::sqrt(-2 * std::log(1 - Uniform01(random)));
  return radius * std::cos(2 * std::numbers::pi * Uniform01(random));
}

uint32_t DrawLength(const TextLengths& lengths, Random& random) {
  if (lengths.shape == TextLengths::Shape::kLognormal) {
    // Parameters of the logarithm from mean and deviation of the length itself.
    const double ratio = lengths.deviation / lengths.mean;
    const double variance = std::log1p(ratio * ratio);
    const double mu = std::log(lengths.mean) - variance / 2;
    const double length = std::exp(mu + std::sqrt(variance) * StandardNormal(random));
    return static_cast<uint32_t>(std::clamp<double>(std::round(length), lengths.min, lengths.max));
  }
  const double choices = static_cast<double>(lengths.max - lengths.min) + 1;
  return lengths.min + static_cast<uint32_t>(Uniform01(random) * choices);
}

}  // namespace

std::vector<std::string> MakeUpTexts(const TextLengths& lengths, size_t count, Random& random) {
  std::vector<std::string> texts(count);
  for (std::string& text : texts) {
    for (uint32_t words = DrawLength(lengths, random); words > 0; --words) {
      absl::StrAppend(&text, text.empty() ? "" : " ", kWords[random() % kWords.size()]);
    }
  }
  return texts;
}

}  // namespace contextpool::cli::bench
