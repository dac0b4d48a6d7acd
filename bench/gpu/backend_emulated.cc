#include <map>
#include <memory>

#include "bench/gpu/backend.h"
#include "engine/device/emulated/emulated_gpu.h"
#include "kernels/simt/launch.h"
#include "kernels/simt/memory_regions.h"

namespace contextpool::gpu_check {
namespace {

std::map<const void*, std::unique_ptr<kernels::simt::RegisteredMemory>>& Memory() {
  static auto& memory =
      *new std::map<const void*, std::unique_ptr<kernels::simt::RegisteredMemory>>;
  return memory;
}

}  // namespace

std::string Launch(Launcher launcher, const void* params, void* /*stream*/) {
  kernels::simt::Stream stream;
  const kernels::Status status = launcher(params, stream.handle());
  for (const kernels::simt::LaunchReport& report : stream.reports()) {
    if (!report.ok()) return report.ToString();
  }
  return status == kernels::Status::kOk ? "" : Name(status);
}

void Register(const void* data, size_t bytes) {
  Memory()[data] = std::make_unique<kernels::simt::RegisteredMemory>(data, bytes, "tensor");
}

void Unregister(const void* data) { Memory().erase(data); }

absl::StatusOr<std::unique_ptr<engine::Device>> CreateGpu(engine::DType dtype) {
  return engine::CreateEmulatedGpu(dtype);
}

}  // namespace contextpool::gpu_check
