// The devices that operators ask for with --device.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace contextpool::server {

// INVALID_ARGUMENT unless these are a value of --device: "auto" alone; or "cpu", "cuda" for every
// GPU and "cuda:<index>", no device twice.
absl::Status CheckDevices(const std::vector<std::string>& devices);

}  // namespace contextpool::server
