// What every launch function shares: the stream it runs on and the result it returns.
#pragma once

#include <cstdint>

namespace contextpool::kernels {

// On a CPU a CpuStream* (kernels/cpu_stream.h), on CUDA a cudaStream_t.
using StreamHandle = void*;

enum class [[nodiscard]] Status : uint8_t{
    kOk,
    // A size or stride that the op cannot take.
    kBadShape,
    // A dtype that the op does not compute in.
    kBadDType,
    kLaunchFailed,
};

constexpr const char* Name(Status status) {
  switch (status) {
    case Status::kOk:
      return "ok";
    case Status::kBadShape:
      return "bad shape";
    case Status::kBadDType:
      return "bad dtype";
    case Status::kLaunchFailed:
      return "launch failed";
  }
  return "unknown";
}

}  // namespace contextpool::kernels
