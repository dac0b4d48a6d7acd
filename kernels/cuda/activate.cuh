// The activations of kernels/activation.h, of one value.
#pragma once

#include "kernels/activation.h"
#include "kernels/cuda/primitives.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

// NaN stays NaN.
template <Activation kActivation>
SIMT_DEVICE float Activate(float x) {
  constexpr float kSqrtHalf = 0.70710678f;
  constexpr float kSqrtTwoOverPi = 0.79788456f;
  switch (kActivation) {
    case Activation::kNone:
      return x;
    case Activation::kGelu:
      return 0.5f * x * (1.0f + erff(x * kSqrtHalf));
    case Activation::kGeluTanh:
      return 0.5f * x * (1.0f + tanhf(kSqrtTwoOverPi * x * (1.0f + 0.044715f * x * x)));
    case Activation::kRelu:
      return x < 0.0f ? 0.0f : x;
    case Activation::kTanh:
      return tanhf(x);
    case Activation::kLeakyRelu:
      return x < 0.0f ? 0.01f * x : x;
  }
  return x;
}

}  // namespace contextpool::kernels::SIMT_BACKEND
