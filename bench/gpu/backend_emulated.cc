#include <map>
#include <memory>

#include "bench/gpu/backend.h"
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

}  // namespace contextpool::gpu_check
