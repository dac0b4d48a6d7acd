#include "server/config/device_names.h"

#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/device_name.h"

namespace contextpool::server {

absl::Status CheckDevices(const std::vector<std::string>& devices) {
  const auto wrong = [&](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("--device=", absl::StrJoin(devices, ","), ": ", why));
  };
  if (devices == std::vector<std::string>{"auto"}) return absl::OkStatus();
  if (devices.empty()) return wrong("give auto, or a list of cpu, cuda and cuda:<index>");
  std::set<absl::string_view> seen;
  bool one_gpu = false;
  for (const std::string& device : devices) {
    if (device != "cuda" && !engine::ParseDeviceName(device).has_value()) {
      return wrong(
          "allowed is auto alone, or a list of cpu, cuda and cuda:<index>, such as cuda:0");
    }
    if (!seen.insert(device).second) return wrong(absl::StrCat(device, " is listed twice"));
    one_gpu = one_gpu || absl::StartsWith(device, "cuda:");
  }
  if (one_gpu && seen.contains("cuda")) return wrong("cuda is every GPU already");
  return absl::OkStatus();
}

}  // namespace contextpool::server
