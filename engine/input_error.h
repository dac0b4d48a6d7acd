// The error of one input, which says where in the request it stands.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace contextpool::engine {

inline absl::Status AtInput(int32_t index, absl::string_view field, const absl::Status& status) {
  return absl::Status(status.code(),
                      absl::StrCat("inputs[", index, "].", field, ": ", status.message()));
}

}  // namespace contextpool::engine
