#include "engine/device/cpu_convolution.h"

#include <algorithm>
#include <atomic>

#include "engine/device/op_params.h"

namespace contextpool::engine {
namespace {

// Outputs of one block: as many as the packed product keeps in the cache, in its whole tiles.
constexpr int64_t kTileRows = 6;
constexpr int64_t kBlockTiles = 12;
constexpr int64_t kBlockRows = kBlockTiles * kTileRows;

// Outputs [begin, end), their patches in `patches`. The threads of `stream` share the work.
kernels::Status ConvolveRows(const CpuConvolution& convolution, const CpuLinear& weight,
                             int64_t begin, int64_t end, float* patches,
                             kernels::CpuStream& stream) {
  kernels::Im2ColParams gather = convolution.patches;
  gather.first_row = begin;
  gather.rows = end - begin;
  gather.out = patches;
  const kernels::Status status = kernels::cpu::Im2Col(gather, &stream);
  if (status != kernels::Status::kOk) return status;

  kernels::LinearParams product = convolution.product;
  product.x = patches;
  product.x_stride = product.in_columns;
  product.rows = end - begin;
  product.out = static_cast<float*>(product.out) + begin * product.out_stride;
  if (product.residual != nullptr) {
    product.residual =
        static_cast<const float*>(product.residual) + begin * product.residual_stride;
  }
  return weight.Multiply(product, stream);
}

// Whether the features themselves are the patches.
bool IsLinear(const kernels::Im2ColParams& p) {
  return p.x != nullptr && p.window.size == 1 && p.window.stride == 1;
}

}  // namespace

size_t CpuConvolutionWorkspaceBytes(int64_t in_columns, int threads) {
  return static_cast<size_t>(threads * kBlockRows * in_columns) * sizeof(float);
}

CpuConvolution ConvolutionOf(const TensorView& x, const LinearWeight& weight,
                             const ConvolutionOptions& options, const TensorView& workspace,
                             const TensorView& out) {
  return {.patches = PatchesOf(x, options.window),
          .product = {.out = out.data,
                      .activation = options.activation,
                      .activates_sum = true,
                      .rows = out.shape[0] * out.shape[1] * out.shape[2],
                      .in_columns = weight.in_columns(),
                      .out_columns = weight.out_columns(),
                      .residual_stride = weight.out_columns(),
                      .out_stride = weight.out_columns()},
          .workspace = workspace.data};
}

kernels::Status Convolve(const CpuConvolution& convolution, const CpuLinear& weight,
                         kernels::CpuStream& stream) {
  const int64_t rows = convolution.product.rows;
  const int64_t columns = convolution.product.in_columns;
  const kernels::Window& window = convolution.patches.window;
  if (columns != window.size * window.size * convolution.patches.channels) {
    return kernels::Status::kBadShape;
  }
  if (IsLinear(convolution.patches)) {
    kernels::LinearParams product = convolution.product;
    product.x = convolution.patches.x;
    product.x_stride = columns;
    return weight.Multiply(product, stream);
  }
  float* workspace = static_cast<float*>(convolution.workspace);
  const int64_t threads = stream.threads();
  // Few outputs: one block, whose product shares the columns among the threads.
  if (rows <= threads * kBlockRows) {
    return ConvolveRows(convolution, weight, 0, rows, workspace, stream);
  }
  // Else each thread takes blocks of its own, as even as whole tiles allow.
  const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  const int64_t waves = (rows + threads * kBlockRows - 1) / (threads * kBlockRows);
  const int64_t tasks = threads * waves;
  std::atomic<kernels::Status> worst{kernels::Status::kOk};
  stream.ParallelFor(tasks, [&](int64_t task, int thread) {
    kernels::CpuStream alone(stream.isa());
    const int64_t begin = tiles * task / tasks * kTileRows;
    const int64_t end = std::min(rows, tiles * (task + 1) / tasks * kTileRows);
    const kernels::Status status = ConvolveRows(convolution, weight, begin, end,
                                                workspace + thread * kBlockRows * columns, alone);
    if (status != kernels::Status::kOk) worst.store(status);
  });
  return worst.load();
}

}  // namespace contextpool::engine
