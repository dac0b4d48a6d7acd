// How attention's workspace is divided: one part per thread, three buffers in each. In an unnamed
// namespace because files compiled for different instruction sets include it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace contextpool::kernels::cpu {
namespace {

struct AttentionScratch {
  static constexpr int64_t kWidth = 16;
  static constexpr int64_t kBlockRows = 24;

  AttentionScratch(void* workspace, int64_t max_length, int64_t head_size, int thread) {
    const int64_t length = Padded(max_length);
    const int64_t packed = length * Padded(head_size);
    keys = static_cast<float*>(workspace) + thread * Floats(max_length, head_size);
    values = keys + packed;
    scores = values + packed;
  }

  // Of one thread.
  static int64_t Floats(int64_t max_length, int64_t head_size) {
    return Padded(max_length) * (2 * Padded(head_size) + kBlockRows);
  }

  float* keys;    // [length, head_size], both rounded up
  float* values;  // [head_size, length], both rounded up
  float* scores;  // [kBlockRows, length], the length rounded up

 private:
  static int64_t Padded(int64_t n) { return (n + kWidth - 1) / kWidth * kWidth; }
};

}  // namespace
}  // namespace contextpool::kernels::cpu
