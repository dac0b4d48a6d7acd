#include "clients/cli/embeddings.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace contextpool::cli {

bool EmbeddingMatrix::Set(size_t row, std::span<const float> vector) {
  if (dimensions_ == 0) {
    dimensions_ = vector.size();
    values_.assign(rows_ * dimensions_, std::numeric_limits<float>::quiet_NaN());
  }
  if (vector.size() != dimensions_) return false;
  std::copy(vector.begin(), vector.end(), values_.begin() + row * dimensions_);
  ++filled_;
  return true;
}

double Norm(std::span<const float> vector) {
  return std::sqrt(std::inner_product(vector.begin(), vector.end(), vector.begin(), 0.0));
}

double Cosine(std::span<const float> a, std::span<const float> b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0) / (Norm(a) * Norm(b));
}

}  // namespace contextpool::cli
