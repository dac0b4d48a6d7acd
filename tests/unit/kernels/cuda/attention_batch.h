// Packed batches for tests of attention, and what it should make of them.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/dtype.h"
#include "tests/unit/kernels/cuda/half_values.h"

namespace contextpool::kernels {

// The parts of a row of qkv.
constexpr int kQuery = 0;
constexpr int kKey = 1;
constexpr int kValue = 2;

struct AttentionBatch {
  DType dtype = DType::kBF16;
  int64_t heads = 1;
  int64_t head_size = 64;
  std::vector<int32_t> cu_lengths = {0};
  // What the kernel is told.
  int64_t max_length = 0;
  // [tokens, 3, heads, head_size]
  std::vector<uint16_t> qkv = {};

  int64_t sequences() const { return static_cast<int64_t>(cu_lengths.size()) - 1; }
  int64_t tokens() const { return cu_lengths.back(); }
  int64_t width() const { return heads * head_size; }
  float scale() const { return 1 / std::sqrt(static_cast<float>(head_size)); }

  // As the kernel sees it: rounded.
  float At(int64_t token, int part, int64_t column) const {
    return FromHalf(dtype, qkv[(token * 3 + part) * width() + column]);
  }

  void Append(int32_t length) {
    cu_lengths.push_back(cu_lengths.back() + length);
    max_length = std::max<int64_t>(max_length, length);
  }

  // Sets elements by (token, part, column).
  void Fill(const std::function<float(int64_t, int, int64_t)>& value) {
    qkv.clear();
    for (int64_t token = 0; token < tokens(); ++token) {
      for (int part = 0; part < 3; ++part) {
        for (int64_t column = 0; column < width(); ++column) {
          qkv.push_back(ToHalf(dtype, value(token, part, column)));
        }
      }
    }
  }

  void FillRandom(uint64_t seed) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal(0, 1.5f);
    Fill([&](int64_t, int, int64_t) { return normal(random); });
  }

  // Sequence `s` as a batch of its own.
  AttentionBatch Alone(int64_t s) const {
    AttentionBatch alone = {.dtype = dtype, .heads = heads, .head_size = head_size};
    alone.Append(cu_lengths[s + 1] - cu_lengths[s]);
    alone.qkv.assign(qkv.begin() + cu_lengths[s] * 3 * width(),
                     qkv.begin() + cu_lengths[s + 1] * 3 * width());
    return alone;
  }

  // The part of `out` [tokens, width] that belongs to sequence `s`.
  std::vector<uint16_t> PartOf(const std::vector<uint16_t>& out, int64_t s) const {
    return {out.begin() + cu_lengths[s] * width(), out.begin() + cu_lengths[s + 1] * width()};
  }
};

struct Expectation {
  double value = 0;
  double tolerance = 0;
};

// softmax(q k^T scale) v of one token and head of the sequence [begin, end), in double; `qkv` are
// the batch's numbers. The tolerance counts what the kernel rounds: each weight, which moves the
// mean by its share of (v - mean), and the result.
inline std::vector<Expectation> ExpectedRow(const AttentionBatch& batch,
                                            const std::vector<double>& qkv, int64_t begin,
                                            int64_t end, int64_t token, int64_t head) {
  const auto row_of = [&](int64_t t, int part) {
    return qkv.data() + (t * 3 + part) * batch.width() + head * batch.head_size;
  };
  std::vector<double> weights;
  for (int64_t j = begin; j < end; ++j) {
    const double* q = row_of(token, kQuery);
    weights.push_back(std::inner_product(q, q + batch.head_size, row_of(j, kKey), 0.0) *
                      batch.scale());
  }
  const double largest = *std::max_element(weights.begin(), weights.end());
  double sum = 0;
  for (double& weight : weights) sum += weight = std::exp(weight - largest);
  std::vector<Expectation> row(batch.head_size);
  for (int64_t j = begin; j < end; ++j) {
    const double* v = row_of(j, kValue);
    for (int64_t d = 0; d < batch.head_size; ++d) row[d].value += weights[j - begin] / sum * v[d];
  }
  for (int64_t j = begin; j < end; ++j) {
    const double* v = row_of(j, kValue);
    const double error = RoundingError(batch.dtype, weights[j - begin]) / sum;
    for (int64_t d = 0; d < batch.head_size; ++d) {
      row[d].tolerance += error * std::abs(v[d] - row[d].value);
    }
  }
  // Rounding in float is counted as 2e-5.
  for (Expectation& e : row) e.tolerance += RoundingError(batch.dtype, e.value) + 2e-5;
  return row;
}

// [tokens, width]
inline std::vector<Expectation> ExpectedAttention(const AttentionBatch& batch) {
  std::vector<double> qkv;
  for (const uint16_t bits : batch.qkv) qkv.push_back(FromHalf(batch.dtype, bits));
  std::vector<Expectation> out;
  for (int64_t s = 0; s < batch.sequences(); ++s) {
    const int64_t begin = batch.cu_lengths[s];
    const int64_t end = batch.cu_lengths[s + 1];
    for (int64_t token = begin; token < end; ++token) {
      for (int64_t head = 0; head < batch.heads; ++head) {
        const std::vector<Expectation> row = ExpectedRow(batch, qkv, begin, end, token, head);
        out.insert(out.end(), row.begin(), row.end());
      }
    }
  }
  return out;
}

}  // namespace contextpool::kernels
