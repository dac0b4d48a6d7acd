// Opens the devices that an engine computes on.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/base/options.h"
#include "engine/device/device.h"

namespace contextpool::engine {

// Where devices come from. For tests other than this machine.
struct DeviceSource {
  static DeviceSource ThisMachine();

  // GPUs that the driver shows, 1 at least, some of which may not open; UNIMPLEMENTED: this program
  // was built without them.
  std::function<absl::StatusOr<int>()> count_gpus;
  std::function<absl::StatusOr<std::unique_ptr<Device>>(int index, DType dtype)> open_gpu;
  std::function<absl::StatusOr<std::unique_ptr<Device>>(int32_t threads)> open_cpu;
};

// In the order of options.devices, of which each name is known. "auto" takes what it can get and
// adds to `notes` why it did not get a GPU; what is named must be there.
absl::StatusOr<std::vector<std::unique_ptr<Device>>> OpenDevices(const EngineOptions& options,
                                                                 const DeviceSource& source,
                                                                 std::vector<std::string>& notes);

}  // namespace contextpool::engine
