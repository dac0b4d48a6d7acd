#include "engine/base/device_name.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace contextpool::engine {

std::string GpuName(int index) { return absl::StrCat("cuda:", index); }

std::optional<DeviceName> ParseDeviceName(absl::string_view name) {
  if (name == kCpuName) return DeviceName{};
  absl::string_view digits = name;
  int index = -1;
  if (!absl::ConsumePrefix(&digits, "cuda:") || !absl::SimpleAtoi(digits, &index) || index < 0 ||
      name != GpuName(index)) {
    return std::nullopt;
  }
  return DeviceName{index};
}

}  // namespace contextpool::engine
