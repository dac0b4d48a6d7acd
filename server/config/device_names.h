// How operators name the devices that models are computed on.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace contextpool::server {

// One device: "cpu" or "cuda:<index>", the index without leading zeros.
bool NamesADevice(absl::string_view name);

// INVALID_ARGUMENT unless these are a value of --device: "auto" alone; or "cpu", "cuda" for every
// GPU and "cuda:<index>", no device twice.
absl::Status CheckDevices(const std::vector<std::string>& devices);

}  // namespace contextpool::server
