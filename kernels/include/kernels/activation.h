// x = activation(x + bias + residual), in place.
#pragma once

#include <cstdint>

#include "kernels/dtype.h"
#include "kernels/launch.h"

namespace contextpool::kernels {

enum class Activation : uint8_t {
  kNone,
  // x/2 (1 + erf(x / sqrt 2)): PyTorch's default "gelu".
  kGelu,
  // x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))): "gelu_new". Up to 5e-4 from kGelu.
  kGeluTanh,
  kRelu,
  kTanh,
  // Negative values times 0.01.
  kLeakyRelu,
};

struct BiasActivationParams {
  // [rows, columns], rows `stride` elements apart.
  void* x = nullptr;
  // [columns]; null: none.
  const void* bias = nullptr;
  // [rows, columns], rows `residual_stride` elements apart; null: none.
  const void* residual = nullptr;
  DType dtype = DType::kF32;
  Activation activation = Activation::kNone;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t stride = 0;
  int64_t residual_stride = 0;

  bool operator==(const BiasActivationParams&) const = default;
};

namespace cpu {
Status BiasActivation(const BiasActivationParams& params, StreamHandle stream);
}  // namespace cpu

// float32, float16 and bfloat16, computed in float; x may not overlap the residual. Any columns and
// strides; fastest where columns, strides and addresses are multiples of 16 bytes. kBadShape beyond
// 2^21 columns.
namespace cuda {
Status BiasActivation(const BiasActivationParams& params, StreamHandle stream);
}  // namespace cuda

// The kernels of `cuda` on the emulator: `stream` is a simt::Stream*.
namespace emulated {
Status BiasActivation(const BiasActivationParams& params, StreamHandle stream);
}  // namespace emulated

}  // namespace contextpool::kernels
