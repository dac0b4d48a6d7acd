// How a device is named in flags, in serving.textproto, in metrics and in logs.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace contextpool::engine {

struct DeviceName {
  // The CPU, if it is none.
  std::optional<int> gpu;
};

inline constexpr absl::string_view kCpuName = "cpu";

// "cuda:<index>".
std::string GpuName(int index);

// "cpu", or "cuda:<index>" without leading zeros; nothing for any other name.
std::optional<DeviceName> ParseDeviceName(absl::string_view name);

}  // namespace contextpool::engine
