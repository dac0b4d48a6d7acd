#include "bench/gpu/backend.h"
#include "engine/device/cuda/cuda_gpu.h"

namespace contextpool::gpu_check {

std::string Launch(Launcher launcher, const void* params, void* stream) {
  const kernels::Status status = launcher(params, stream);
  return status == kernels::Status::kOk ? "" : Name(status);
}

void Register(const void* /*data*/, size_t /*bytes*/) {}
void Unregister(const void* /*data*/) {}

absl::StatusOr<std::unique_ptr<engine::Device>> CreateGpu(engine::DType dtype) {
  return engine::CreateCudaGpu(/*index=*/0, dtype);
}

}  // namespace contextpool::gpu_check
