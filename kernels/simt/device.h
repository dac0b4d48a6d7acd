// Everything that an emulated kernel may use. See kernels/cuda/primitives.cuh, which includes this.
#pragma once

#include <cmath>
#include <functional>

#include "kernels/cuda/launch_config.h"
#include "kernels/launch.h"
#include "kernels/simt/device_memory.h"
#include "kernels/simt/device_types.h"
#include "kernels/simt/device_warp.h"
#include "kernels/simt/launch.h"

namespace contextpool::kernels::emulated {

// Exact where the GPU approximates (2 ulp), and like it without subnormal results.
inline float Exp2(float x) {
  const float y = std::exp2(x);
  return y < 0x1p-126f ? 0.0f : y;
}
inline float Rsqrt(float x) { return 1.0f / std::sqrt(x); }

template <typename... Parameters, typename... Args>
Status Launch(const LaunchConfig& config, StreamHandle stream, void (*kernel)(Parameters...),
              const Args&... args) {
  return static_cast<simt::Stream*>(stream)->Launch(config, [&] { kernel(args...); });
}

// One processor, so that a few blocks are many.
inline DeviceLimits LimitsOf(StreamHandle stream) {
  constexpr int kProcessors = 1;
  return {.shared_bytes = static_cast<simt::Stream*>(stream)->options().shared_bytes_limit,
          .processors = kProcessors};
}

}  // namespace contextpool::kernels::emulated
