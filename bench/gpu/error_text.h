// Messages for callers that are not C++.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>

namespace contextpool::gpu_check {

// Cut where it is longer, and always ended. REQUIRES: bytes > 0.
inline void CopyError(const std::string& text, char* error, size_t bytes) {
  const size_t length = std::min(text.size(), bytes - 1);
  text.copy(error, length);
  error[length] = '\0';
}

}  // namespace contextpool::gpu_check
