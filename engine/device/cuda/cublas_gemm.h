// Matrix products by cuBLASLt.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engine/device/cuda/cublas_lt.h"
#include "engine/device/gpu_runtime.h"

namespace contextpool::engine {

// Of one GPU and one stream; used by the stream's thread alone.
class CublasGemm {
 public:
  // `workspace`: kWorkspaceBytes of the GPU's memory, for the products alone.
  static constexpr size_t kWorkspaceBytes = size_t{32} << 20;
  static absl::StatusOr<std::unique_ptr<CublasGemm>> Create(std::string device, void* workspace);

  ~CublasGemm();
  CublasGemm(const CublasGemm&) = delete;
  CublasGemm& operator=(const CublasGemm&) = delete;

  // Queued on the stream. The description of a product and its algorithm are made once for each
  // shape and kept.
  absl::Status Multiply(const GpuGemmParams& params, cudaStream_t stream);

 private:
  // What decides which algorithm is best: everything but the addresses.
  struct Shape {
    DType dtype, out_dtype;
    kernels::Activation activation;
    bool bias, residual;
    int64_t rows, in_columns, out_columns, x_stride, residual_stride, out_stride;

    bool operator==(const Shape&) const = default;
    template <typename H>
    friend H AbslHashValue(H hash, const Shape& s) {
      return H::combine(std::move(hash), s.dtype, s.out_dtype, s.activation, s.bias, s.residual,
                        s.rows, s.in_columns, s.out_columns, s.x_stride, s.residual_stride,
                        s.out_stride);
    }
  };
  class Product;

  CublasGemm(std::string device, const CublasLt& lt, cublasLtHandle_t handle, void* workspace);

  absl::StatusOr<Product*> ProductFor(const GpuGemmParams& params);

  const std::string device_;
  const CublasLt& lt_;
  const cublasLtHandle_t handle_;
  void* const workspace_;
  absl::flat_hash_map<Shape, std::unique_ptr<Product>> products_;
};

}  // namespace contextpool::engine
