// From a parameter's dtype to the type that a kernel is compiled for.
#pragma once

#include <type_traits>

#include "kernels/cuda/primitives.cuh"
#include "kernels/dtype.h"
#include "kernels/launch.h"

namespace contextpool::kernels::SIMT_BACKEND {

// Returns launch(std::type_identity<T>) for the 16-bit type that `dtype` is.
template <typename F>
Status WithHalf(DType dtype, F launch) {
  switch (dtype) {
    case DType::kBF16:
      return launch(std::type_identity<BF16>());
    case DType::kF16:
      return launch(std::type_identity<F16>());
    default:
      return Status::kBadDType;
  }
}

}  // namespace contextpool::kernels::SIMT_BACKEND
