#include "absl/status/status.h"
#include "engine/device/cuda/cuda_gpu.h"

namespace contextpool::engine {
namespace {

absl::Status NoCuda() {
  return absl::UnimplementedError(
      "this program was built without CUDA; script/build --cuda builds one that uses GPUs");
}

}  // namespace

absl::StatusOr<int> CudaGpuCount() { return NoCuda(); }

absl::StatusOr<std::unique_ptr<Device>> CreateCudaGpu(int /*index*/, DType /*dtype*/) {
  return NoCuda();
}

}  // namespace contextpool::engine
