#include "engine/device/cpu_torch_gemm.h"

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/mm.h>
#include <c10/core/InferenceMode.h>

#include <exception>

namespace contextpool::engine {

bool TorchGemm(const TorchGemmParams& p) {
  try {
    // The device's own threads share the rows: LibTorch must not start others inside each.
    thread_local const bool single_threaded = (at::set_num_threads(1), true);
    static_cast<void>(single_threaded);
    const c10::InferenceMode no_gradients;
    const auto matrix = [](const float* data, int64_t rows, int64_t columns, int64_t stride) {
      return at::from_blob(const_cast<float*>(data), {rows, columns}, {stride, 1}, at::kFloat);
    };
    at::Tensor out = matrix(p.out, p.rows, p.out_columns, p.out_stride);
    at::mm_out(out, matrix(p.x, p.rows, p.in_columns, p.x_stride),
               matrix(p.weight, p.out_columns, p.in_columns, p.in_columns).t());
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace contextpool::engine
