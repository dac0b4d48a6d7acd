// ContextPool's parameter network from its first convolution's products on.

#include "kernels/cpu/avx2/math.h"
#include "kernels/cpu/context_pool_formula.h"
#include "kernels/cpu/ops.h"

namespace contextpool::kernels::cpu::avx2 {
namespace {

// The taps of one sequence's tokens become the hidden vectors, each written over its own token's
// last tap: nobody behind the token reads that.
template <Activation kActivation>
void Hidden(const ContextPoolSupportParams& p, float* taps, const Grid& grid) {
  const int64_t last = PoolTaps(p.kernel_size, p.grid_width) - 1;
  ForCells(grid, [&](int64_t row, int64_t column, int64_t i) {
    const Taps around(p, grid, row, column);
    float* hidden = taps + i * p.taps_stride + last * p.bottleneck;
    ForColumns(p.bottleneck, [&](int64_t c, auto lanes) {
      __m256 sum = _mm256_setzero_ps();
      around.ForEach([&](int64_t tap, int64_t j) {
        const float* from = taps + j * p.taps_stride + tap * p.bottleneck + c;
        sum = _mm256_add_ps(sum, lanes.Load(from));
      });
      lanes.Store(hidden + c, Activate<kActivation>(sum));
    });
  });
}

void Hidden(const ContextPoolSupportParams& p, float* taps, const Grid& grid) {
  switch (p.activation) {
    case Activation::kGelu:
      return Hidden<Activation::kGelu>(p, taps, grid);
    case Activation::kRelu:
      return Hidden<Activation::kRelu>(p, taps, grid);
    case Activation::kLeakyRelu:
      return Hidden<Activation::kLeakyRelu>(p, taps, grid);
    default:
      // No other passes the launch.
      return Hidden<Activation::kNone>(p, taps, grid);
  }
}

// a and b [n]: the second convolution.
void Outputs(const ContextPoolSupportParams& p, const float* taps, const Grid& grid, float* a,
             float* b) {
  const float* hiddens = taps + (PoolTaps(p.kernel_size, p.grid_width) - 1) * p.bottleneck;
  ForCells(grid, [&](int64_t row, int64_t column, int64_t i) {
    __m256 sum_a = _mm256_setzero_ps();
    __m256 sum_b = _mm256_setzero_ps();
    Taps(p, grid, row, column).ForEach([&](int64_t tap, int64_t j) {
      const float* hidden = hiddens + j * p.taps_stride;
      const float* weight = p.conv2_weight + tap * 2 * p.bottleneck;
      ForColumns(p.bottleneck, [&](int64_t c, auto lanes) {
        const __m256 h = lanes.Load(hidden + c);
        sum_a = _mm256_fmadd_ps(h, lanes.Load(weight + c), sum_a);
        sum_b = _mm256_fmadd_ps(h, lanes.Load(weight + p.bottleneck + c), sum_b);
      });
    });
    a[i] = Sum(sum_a) + p.conv2_bias[0];
    b[i] = Sum(sum_b) + p.conv2_bias[1];
  });
}

}  // namespace

void ContextPoolSupport(const ContextPoolSupportParams& p, CpuStream& stream) {
  ForSupport(p, stream, [&](float* taps, int64_t n, float* a, float* b) {
    const Grid grid(n, p.grid_width);
    Hidden(p, taps, grid);
    Outputs(p, taps, grid, a, b);
  });
}

}  // namespace contextpool::kernels::cpu::avx2
