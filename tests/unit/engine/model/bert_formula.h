// BERT by its formula, in double precision: what the model under test must compute.
//
// Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language
// Understanding", 2019.
#pragma once

#include <cmath>
#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/unit/engine/model/model_files.h"

namespace contextpool::engine {

// No size is a multiple of a vector.
inline constexpr int kHidden = 20, kHeads = 4, kInner = 27, kLayers = 2, kVocabulary = 30,
                     kPositions = 40;
inline constexpr int kLabels = 3;

using Row = std::vector<double>;

// Random weights by name; as a file for the model and as numbers for the formula.
class BertFormula {
 public:
  BertFormula() {
    Add("embeddings.word_embeddings.weight", kVocabulary, kHidden);
    Add("embeddings.position_embeddings.weight", kPositions, kHidden);
    Add("embeddings.token_type_embeddings.weight", 2, kHidden);
    AddNorm("embeddings.LayerNorm");
    for (int i = 0; i < kLayers; ++i) {
      const std::string layer = absl::StrCat("encoder.layer.", i, ".");
      for (const char* part : {"query", "key", "value"}) {
        AddLinear(absl::StrCat(layer, "attention.self.", part), kHidden, kHidden);
      }
      AddLinear(layer + "attention.output.dense", kHidden, kHidden);
      AddNorm(layer + "attention.output.LayerNorm");
      AddLinear(layer + "intermediate.dense", kInner, kHidden);
      AddLinear(layer + "output.dense", kHidden, kInner);
      AddNorm(layer + "output.LayerNorm");
    }
    AddLinear("pooler.dense", kHidden, kHidden);
    AddLinear("classifier", kLabels, kHidden);
  }

  std::vector<float>& at(const std::string& name) { return values_.at(name); }

  std::map<std::string, TestTensor> Tensors() const {
    std::map<std::string, TestTensor> tensors;
    for (const auto& [name, values] : values_) {
      const std::string prefix = name.starts_with("classifier") ? "" : "bert.";
      tensors[prefix + name] = F32Tensor(shapes_.at(name), values);
    }
    return tensors;
  }

  // The model's logits for one sequence, in double precision.
  Row Logits(const std::vector<int32_t>& ids) {
    Row pooled = Linear("pooler.dense", Encode(ids)[0]);
    for (double& v : pooled) v = std::tanh(v);
    return Linear("classifier", pooled);
  }

  // The last layer's output.
  std::vector<Row> Encode(const std::vector<int32_t>& ids) {
    std::vector<Row> rows(ids.size(), Row(kHidden));
    for (size_t t = 0; t < ids.size(); ++t) {
      for (int c = 0; c < kHidden; ++c) {
        rows[t][c] =
            static_cast<double>(at("embeddings.word_embeddings.weight")[ids[t] * kHidden + c]) +
            at("embeddings.position_embeddings.weight")[t * kHidden + c] +
            at("embeddings.token_type_embeddings.weight")[c];
      }
      rows[t] = Norm("embeddings.LayerNorm", rows[t]);
    }
    for (int i = 0; i < kLayers; ++i) rows = Layer(absl::StrCat("encoder.layer.", i, "."), rows);
    return rows;
  }

 private:
  void Add(const std::string& name, int rows, int columns) {
    std::uniform_real_distribution<float> uniform(-0.5f, 0.5f);
    std::vector<float> values(rows * columns);
    for (float& value : values) value = uniform(random_);
    shapes_[name] = columns == 1 ? TensorShape{rows} : TensorShape{rows, columns};
    values_[name] = std::move(values);
  }
  void AddLinear(const std::string& name, int out, int in) {
    Add(name + ".weight", out, in);
    Add(name + ".bias", out, 1);
  }
  void AddNorm(const std::string& name) {
    Add(name + ".weight", kHidden, 1);
    Add(name + ".bias", kHidden, 1);
  }

  Row Linear(const std::string& name, const Row& x) {
    const std::vector<float>& weight = at(name + ".weight");
    const std::vector<float>& bias = at(name + ".bias");
    Row out(bias.begin(), bias.end());
    for (size_t i = 0; i < out.size(); ++i) {
      for (size_t k = 0; k < x.size(); ++k) out[i] += weight[i * x.size() + k] * x[k];
    }
    return out;
  }

  Row Norm(const std::string& name, Row x) {
    double mean = 0, variance = 0;
    for (double v : x) mean += v / kHidden;
    for (double v : x) variance += (v - mean) * (v - mean) / kHidden;
    for (int c = 0; c < kHidden; ++c) {
      x[c] = (x[c] - mean) / std::sqrt(variance + 1e-12) * at(name + ".weight")[c] +
             at(name + ".bias")[c];
    }
    return x;
  }

  static Row Sum(Row a, const Row& b) {
    for (size_t i = 0; i < a.size(); ++i) a[i] += b[i];
    return a;
  }

  std::vector<Row> Layer(const std::string& layer, const std::vector<Row>& x) {
    std::vector<Row> q, k, v, out;
    for (const Row& row : x) {
      q.push_back(Linear(layer + "attention.self.query", row));
      k.push_back(Linear(layer + "attention.self.key", row));
      v.push_back(Linear(layer + "attention.self.value", row));
    }
    for (size_t i = 0; i < x.size(); ++i) {
      const Row context = Attend(q[i], k, v);
      const Row attended = Norm(layer + "attention.output.LayerNorm",
                                Sum(Linear(layer + "attention.output.dense", context), x[i]));
      Row inner = Linear(layer + "intermediate.dense", attended);
      for (double& value : inner) value *= 0.5 * std::erfc(-value / std::sqrt(2.0));
      out.push_back(
          Norm(layer + "output.LayerNorm", Sum(Linear(layer + "output.dense", inner), attended)));
    }
    return out;
  }

  static Row Attend(const Row& q, const std::vector<Row>& k, const std::vector<Row>& v) {
    constexpr int kSize = kHidden / kHeads;
    Row out(kHidden);
    for (int begin = 0; begin < kHidden; begin += kSize) {
      double sum = 0;
      for (size_t j = 0; j < k.size(); ++j) {
        double score = 0;
        for (int d = begin; d < begin + kSize; ++d) score += q[d] * k[j][d];
        const double weight = std::exp(score / std::sqrt(static_cast<double>(kSize)));
        sum += weight;
        for (int d = begin; d < begin + kSize; ++d) out[d] += weight * v[j][d];
      }
      for (int d = begin; d < begin + kSize; ++d) out[d] /= sum;
    }
    return out;
  }

  std::mt19937 random_{3};
  std::map<std::string, std::vector<float>> values_;
  std::map<std::string, TensorShape> shapes_;
};

}  // namespace contextpool::engine
