#include "engine/devices.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "engine/base/device_name.h"
#include "engine/device/cpu_device.h"
#include "engine/device/cuda/cuda_gpu.h"

namespace contextpool::engine {
namespace {

using Devices = std::vector<std::unique_ptr<Device>>;

// What went wrong with which device, and what to do.
absl::Status Explained(const absl::Status& status, absl::string_view name) {
  const absl::string_view next =
      absl::IsUnavailable(status) ? "; --device=auto starts without any GPU" : "";
  return absl::Status(status.code(), absl::StrCat("--device=", name, ": ", status.message(), next));
}

absl::Status Add(absl::StatusOr<std::unique_ptr<Device>> device, Devices& devices) {
  if (!device.ok()) return device.status();
  devices.push_back(*std::move(device));
  return absl::OkStatus();
}

absl::Status AddEveryGpu(const EngineOptions& options, const DeviceSource& source,
                         Devices& devices) {
  const absl::StatusOr<int> count = source.count_gpus();
  if (!count.ok()) return count.status();
  for (int index = 0; index < *count; ++index) {
    absl::Status status = Add(source.open_gpu(index, options.gpu_dtype), devices);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// Every GPU that can be opened.
void AddUsableGpus(const EngineOptions& options, const DeviceSource& source, Devices& devices,
                   std::vector<std::string>& notes) {
  const absl::StatusOr<int> count = source.count_gpus();
  if (!count.ok()) {
    // Who has a program without CUDA does not expect GPUs.
    if (absl::IsUnimplemented(count.status())) return;
    notes.push_back(absl::StrCat("computing on the CPU alone: ", count.status().message()));
    return;
  }
  for (int index = 0; index < *count; ++index) {
    absl::Status status = Add(source.open_gpu(index, options.gpu_dtype), devices);
    if (status.ok()) continue;
    notes.push_back(absl::StrCat(GpuName(index), " is not used: ", status.message()));
  }
  if (devices.empty()) notes.push_back("computing on the CPU alone: no GPU could be opened");
}

absl::Status AddNamed(absl::string_view name, const EngineOptions& options,
                      const DeviceSource& source, Devices& devices) {
  if (name == "cuda") return AddEveryGpu(options, source, devices);
  const std::optional<DeviceName> device = ParseDeviceName(name);
  if (!device.has_value()) return absl::InvalidArgumentError("this names no device");
  if (!device->gpu.has_value()) return Add(source.open_cpu(options.cpu_threads), devices);
  return Add(source.open_gpu(*device->gpu, options.gpu_dtype), devices);
}

}  // namespace

DeviceSource DeviceSource::ThisMachine() {
  return {CudaGpuCount, CreateCudaGpu,
          [](int32_t threads) { return CreateCpuDevice({.threads = threads}); }};
}

absl::StatusOr<Devices> OpenDevices(const EngineOptions& options, const DeviceSource& source,
                                    std::vector<std::string>& notes) {
  Devices devices;
  for (const std::string& name : options.devices) {
    absl::string_view opened = name;
    if (name == "auto") {
      AddUsableGpus(options, source, devices, notes);
      opened = kCpuName;
    }
    absl::Status status = AddNamed(opened, options, source, devices);
    if (!status.ok()) return Explained(status, name);
  }
  return devices;
}

}  // namespace contextpool::engine
