#include "server/rpc/scores.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/rpc/status.h"

namespace contextpool::server {
namespace {

std::vector<float> Softmax(std::span<const float> logits) {
  std::vector<float> scores(logits.size());
  if (logits.empty()) return scores;
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  std::transform(logits.begin(), logits.end(), scores.begin(),
                 [&](float logit) { return static_cast<float>(std::exp(logit - largest) / sum); });
  return scores;
}

float Sigmoid(double logit) {
  // The exponent is never positive, so it cannot overflow.
  const double small = std::exp(-std::abs(logit));
  return static_cast<float>((logit < 0 ? small : 1) / (1 + small));
}

}  // namespace

std::vector<float> Scores(std::span<const float> logits, engine::ProblemType problem_type) {
  if (problem_type == engine::ProblemType::kSingleLabel) return Softmax(logits);
  std::vector<float> scores(logits.begin(), logits.end());
  if (problem_type == engine::ProblemType::kMultiLabel) {
    std::transform(scores.begin(), scores.end(), scores.begin(), Sigmoid);
  }
  return scores;
}

absl::StatusOr<std::vector<uint32_t>> SelectLabels(const v1::ClassifyOptions& options,
                                                   const engine::ModelInfo& model) {
  const bool probabilities = model.problem_type != engine::ProblemType::kRegression;
  if (probabilities && (options.threshold() < 0 || options.threshold() > 1)) {
    return absl::InvalidArgumentError(absl::StrCat("options.threshold: ", options.threshold(),
                                                   " is out of range; the scores of model ",
                                                   model.name, " are from 0 to 1"));
  }
  std::vector<uint32_t> selected;
  if (options.labels().empty()) {
    selected.resize(model.labels.size());
    std::iota(selected.begin(), selected.end(), 0);
    return selected;
  }
  if (static_cast<size_t>(options.labels_size()) > model.labels.size()) {
    return absl::InvalidArgumentError(absl::StrCat("options.labels: ", options.labels_size(),
                                                   " given, model ", model.name, " has ",
                                                   model.labels.size(), "; name each once"));
  }
  for (int i = 0; i < options.labels_size(); ++i) {
    const auto found = std::find(model.labels.begin(), model.labels.end(), options.labels(i));
    if (found == model.labels.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat("options.labels[", i, "]: model ", model.name, " has no label ",
                       Quoted(options.labels(i)), "; it has ", absl::StrJoin(model.labels, ", ")));
    }
    selected.push_back(static_cast<uint32_t>(found - model.labels.begin()));
  }
  std::vector<uint32_t> sorted = selected;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
    return absl::InvalidArgumentError("options.labels: a label stands twice; name each once");
  }
  return sorted;
}

void FillScores(std::span<const float> logits, const std::vector<uint32_t>& selected,
                const v1::ClassifyOptions& options, const engine::ModelInfo& model,
                v1::Classification& result) {
  const std::vector<float> scores = Scores(logits, model.problem_type);
  std::vector<uint32_t> order;
  for (const uint32_t index : selected) {
    if (!options.has_threshold() || scores[index] >= options.threshold()) order.push_back(index);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return scores[a] > scores[b]; });
  if (options.has_top_k() && order.size() > options.top_k()) order.resize(options.top_k());
  for (const uint32_t index : order) {
    v1::LabelScore& score = *result.add_scores();
    score.set_label(model.labels[index]);
    score.set_index(index);
    score.set_score(scores[index]);
    if (options.logits()) score.set_logit(logits[index]);
  }
}

}  // namespace contextpool::server
