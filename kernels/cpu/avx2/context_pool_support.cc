// ContextPool's parameter network from its first convolution's products on.

#include <algorithm>

#include "kernels/cpu/avx2/math.h"
#include "kernels/cpu/context_pool_formula.h"
#include "kernels/cpu/ops.h"

namespace contextpool::kernels::cpu::avx2 {
namespace {

// Of token i of n: the taps of its neighbourhood that lie in the sequence.
struct Taps {
  Taps(const ContextPoolSupportParams& p, int64_t i, int64_t n)
      : first(std::max<int64_t>(0, p.kernel_size / 2 - i)),
        last(std::min(p.kernel_size, n + p.kernel_size / 2 - i)) {}
  int64_t first, last;
};

// The taps of one sequence's n pooled tokens become the hidden vectors, each written over its own
// token's last tap: that was read half a kernel before.
template <Activation kActivation>
void Hidden(const ContextPoolSupportParams& p, float* taps, int64_t n) {
  const int64_t half = p.kernel_size / 2;
  for (int64_t i = 0; i < n; ++i) {
    const Taps inside(p, i, n);
    float* hidden = taps + i * p.taps_stride + (p.kernel_size - 1) * p.bottleneck;
    ForColumns(p.bottleneck, [&](int64_t c, auto lanes) {
      __m256 sum = _mm256_setzero_ps();
      for (int64_t tap = inside.first; tap < inside.last; ++tap) {
        const float* from = taps + (i + tap - half) * p.taps_stride + tap * p.bottleneck + c;
        sum = _mm256_add_ps(sum, lanes.Load(from));
      }
      lanes.Store(hidden + c, Activate<kActivation>(sum));
    });
  }
}

void Hidden(const ContextPoolSupportParams& p, float* taps, int64_t n) {
  switch (p.activation) {
    case Activation::kGelu:
      return Hidden<Activation::kGelu>(p, taps, n);
    case Activation::kRelu:
      return Hidden<Activation::kRelu>(p, taps, n);
    case Activation::kLeakyRelu:
      return Hidden<Activation::kLeakyRelu>(p, taps, n);
    default:
      // No other passes the launch.
      return Hidden<Activation::kNone>(p, taps, n);
  }
}

// a and b [n]: the second convolution.
void Outputs(const ContextPoolSupportParams& p, const float* taps, int64_t n, float* a, float* b) {
  const int64_t half = p.kernel_size / 2;
  for (int64_t i = 0; i < n; ++i) {
    const Taps inside(p, i, n);
    __m256 sum_a = _mm256_setzero_ps();
    __m256 sum_b = _mm256_setzero_ps();
    for (int64_t tap = inside.first; tap < inside.last; ++tap) {
      const float* hidden =
          taps + (i + tap - half) * p.taps_stride + (p.kernel_size - 1) * p.bottleneck;
      const float* weight = p.conv2_weight + tap * 2 * p.bottleneck;
      ForColumns(p.bottleneck, [&](int64_t c, auto lanes) {
        const __m256 h = lanes.Load(hidden + c);
        sum_a = _mm256_fmadd_ps(h, lanes.Load(weight + c), sum_a);
        sum_b = _mm256_fmadd_ps(h, lanes.Load(weight + p.bottleneck + c), sum_b);
      });
    }
    a[i] = Sum(sum_a) + p.conv2_bias[0];
    b[i] = Sum(sum_b) + p.conv2_bias[1];
  }
}

}  // namespace

void ContextPoolSupport(const ContextPoolSupportParams& p, CpuStream& stream) {
  ForSupport(p, stream, [&](float* taps, int64_t n, float* a, float* b) {
    Hidden(p, taps, n);
    Outputs(p, taps, n, a, b);
  });
}

}  // namespace contextpool::kernels::cpu::avx2
