// A place in a kernel's source.
#pragma once

#include <string>

namespace contextpool::kernels::simt {

struct Site {
  const char* file = nullptr;
  int line = 0;

  // As a default argument: the line of the call.
  static constexpr Site Here(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }

  bool operator==(const Site&) const = default;
};

// "file.cuh:12"
std::string ToString(Site site);

}  // namespace contextpool::kernels::simt
