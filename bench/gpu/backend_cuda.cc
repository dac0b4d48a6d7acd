#include "bench/gpu/backend.h"

namespace contextpool::gpu_check {

std::string Launch(Launcher launcher, const void* params, void* stream) {
  const kernels::Status status = launcher(params, stream);
  return status == kernels::Status::kOk ? "" : Name(status);
}

void Register(const void* /*data*/, size_t /*bytes*/) {}
void Unregister(const void* /*data*/) {}

}  // namespace contextpool::gpu_check
