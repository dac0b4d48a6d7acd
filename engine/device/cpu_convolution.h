// The CPU device's convolutions: patches of one block of outputs at a time, times the weights of a
// linear layer.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/device/cpu_linear.h"
#include "engine/device/device.h"
#include "engine/device/tensor.h"
#include "kernels/cpu_stream.h"
#include "kernels/im2col.h"
#include "kernels/launch.h"
#include "kernels/linear.h"

namespace contextpool::engine {

struct CpuConvolution {
  // Of all patches; first_row, rows and out are filled in.
  kernels::Im2ColParams patches;
  // Of all outputs; x, the weight and the bias are filled in.
  kernels::LinearParams product;
  // CpuConvolutionWorkspaceBytes.
  void* workspace = nullptr;
};

// `in_columns`: of the weight, the values of one patch.
size_t CpuConvolutionWorkspaceBytes(int64_t in_columns, int threads);

// Of Device's views, without what is read (patches.x or .pixels) and the residual.
CpuConvolution ConvolutionOf(const TensorView& x, const LinearWeight& weight,
                             const ConvolutionOptions& options, const TensorView& workspace,
                             const TensorView& out);

kernels::Status Convolve(const CpuConvolution& convolution, const CpuLinear& weight,
                         kernels::CpuStream& stream);

}  // namespace contextpool::engine
