#include "engine/device/cuda/cuda_runtime.h"

#include <cuda_runtime_api.h>

#include <string>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "engine/base/device_name.h"
#include "engine/base/mutex.h"
#include "engine/device/cuda/cublas_gemm.h"
#include "engine/device/cuda/cuda_status.h"

namespace contextpool::engine {
namespace {

struct CudaGraph final : GpuGraph {
  explicit CudaGraph(int gpu) : gpu(gpu) {}
  ~CudaGraph() override {
    if (executable != nullptr && cudaSetDevice(gpu) == cudaSuccess) {
      cudaGraphExecDestroy(executable);
    }
  }
  const int gpu;
  cudaGraphExec_t executable = nullptr;
};

class CudaRuntime final : public GpuRuntime {
 public:
  explicit CudaRuntime(int index) : index_(index), name_(GpuName(index)) {}
  ~CudaRuntime() override {
    Select().IgnoreError();
    gemm_.reset();
    cudaFree(workspace_);
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
    if (upload_ != nullptr) cudaStreamDestroy(upload_);
  }

  absl::Status Begin() {
    // Which makes the process's context, if no other process has the GPU to itself.
    absl::Status status = CudaOpeningStatus(name_, "cudaSetDevice", cudaSetDevice(index_));
    if (status.ok()) status = CreateStream(stream_);
    if (status.ok()) status = CreateStream(upload_);
    if (status.ok()) {
      status = Check("cudaMalloc", cudaMalloc(&workspace_, CublasGemm::kWorkspaceBytes));
    }
    if (!status.ok()) return status;
    absl::StatusOr<std::unique_ptr<CublasGemm>> gemm = CublasGemm::Create(name_, workspace_);
    if (!gemm.ok()) return gemm.status();
    gemm_ = *std::move(gemm);
    return absl::OkStatus();
  }

  absl::string_view name() const override { return name_; }

  absl::StatusOr<void*> Allocate(size_t bytes) override {
    void* data = nullptr;
    absl::Status status = Select();
    if (status.ok()) status = Check("cudaMalloc", cudaMalloc(&data, bytes));
    if (!status.ok()) return status;
    return data;
  }
  void Free(void* data) override {
    if (Select().ok()) cudaFree(data);
  }

  absl::StatusOr<void*> AllocateHost(size_t bytes) override {
    void* data = nullptr;
    absl::Status status = Select();
    if (status.ok()) {
      status = Check("cudaHostAlloc", cudaHostAlloc(&data, bytes, cudaHostAllocDefault));
    }
    if (!status.ok()) return status;
    return data;
  }
  void FreeHost(void* data) override {
    if (Select().ok()) cudaFreeHost(data);
  }

  // On a stream of its own, so that it waits for no computation.
  absl::Status Upload(void* device, const void* host, size_t bytes) override {
    MutexLock lock(upload_mutex_);
    absl::Status status = Select();
    if (status.ok()) {
      status = Check("cudaMemcpyAsync",
                     cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, upload_));
    }
    if (status.ok()) status = Check("cudaStreamSynchronize", cudaStreamSynchronize(upload_));
    return status;
  }

  absl::Status CopyToDevice(void* device, const void* host, size_t bytes) override {
    return Copy(device, host, bytes, cudaMemcpyHostToDevice);
  }
  absl::Status CopyToHost(void* host, const void* device, size_t bytes) override {
    return Copy(host, device, bytes, cudaMemcpyDeviceToHost);
  }

  absl::Status Multiply(const GpuGemmParams& params) override {
    if (absl::Status status = Select(); !status.ok()) return status;
    return gemm_->Multiply(params, stream_);
  }

  kernels::StreamHandle stream() override {
    Select().IgnoreError();  // what is wrong fails the launch
    return stream_;
  }
  absl::Status LaunchFailure() override { return Check("launch", cudaGetLastError()); }

  // Other threads may allocate meanwhile.
  absl::Status BeginCapture() override {
    absl::Status status = Select();
    if (status.ok()) {
      status = Check("cudaStreamBeginCapture",
                     cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    }
    return status;
  }
  absl::StatusOr<std::unique_ptr<GpuGraph>> EndCapture() override {
    cudaGraph_t recorded = nullptr;
    // First, so that it is done even if there is no memory for the rest.
    const cudaError_t ended = cudaStreamEndCapture(stream_, &recorded);
    const absl::Cleanup destroy = [&] {
      if (recorded != nullptr) cudaGraphDestroy(recorded);
    };
    absl::Status status = Check("cudaStreamEndCapture", ended);
    auto graph = std::make_unique<CudaGraph>(index_);
    if (status.ok()) {
      status = Check("cudaGraphInstantiate",
                     cudaGraphInstantiate(&graph->executable, recorded, /*flags=*/0));
    }
    if (!status.ok()) return status;
    return graph;
  }
  absl::Status Launch(const GpuGraph& graph) override {
    absl::Status status = Select();
    if (status.ok()) {
      status = Check("cudaGraphLaunch",
                     cudaGraphLaunch(static_cast<const CudaGraph&>(graph).executable, stream_));
    }
    return status;
  }

  absl::Status Synchronize() override {
    absl::Status status = Select();
    if (status.ok()) status = Check("cudaStreamSynchronize", cudaStreamSynchronize(stream_));
    return status;
  }

 private:
  // The GPU of the calling thread.
  absl::Status Select() { return Check("cudaSetDevice", cudaSetDevice(index_)); }

  absl::Status CreateStream(cudaStream_t& stream) {
    return Check("cudaStreamCreateWithFlags",
                 cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  }

  absl::Status Copy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
    absl::Status status = Select();
    if (status.ok()) {
      status = Check("cudaMemcpyAsync", cudaMemcpyAsync(to, from, bytes, kind, stream_));
    }
    return status;
  }

  absl::Status Check(absl::string_view call, cudaError_t error) {
    return CudaStatus(name_, call, error);
  }

  const int index_;
  const std::string name_;
  cudaStream_t stream_ = nullptr;
  void* workspace_ = nullptr;
  std::unique_ptr<CublasGemm> gemm_;
  Mutex upload_mutex_;
  cudaStream_t upload_ = nullptr;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GpuRuntime>> CreateCudaRuntime(int index) {
  auto runtime = std::make_unique<CudaRuntime>(index);
  if (absl::Status status = runtime->Begin(); !status.ok()) return status;
  return runtime;
}

}  // namespace contextpool::engine
