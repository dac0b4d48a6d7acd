// Runs a kernel that is about a single primitive.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <type_traits>

#include "kernels/cuda/primitives.cuh"
#include "tests/unit/kernels/cuda/test_device.cuh"

namespace contextpool::kernels::SIMT_BACKEND {

template <typename T>
Global<T> Whole(TestBuffer<std::remove_const_t<T>>& buffer, int64_t count) {
  return {buffer.data(), count};
}

// Runs `kernel` in one warp on every schedule; `check` then looks at what it left.
template <typename Args, typename Check>
void InOneWarp(void (*kernel)(Args), const Args& args, const Check& check) {
  const LaunchConfig config = {.kernel = "primitive", .block = {32}, .shared_bytes = 8192};
  for (TestStream& stream : EveryTestStream()) {
    SCOPED_TRACE(testing::Message() << stream);
    ASSERT_EQ(Launch(config, stream.handle(), kernel, args), Status::kOk) << stream.Finish();
    ASSERT_EQ(stream.Finish(), "");
    check();
  }
}

}  // namespace contextpool::kernels::SIMT_BACKEND
