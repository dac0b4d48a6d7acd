// One test body for both back ends: on the emulator it runs on every schedule, on a GPU once.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "kernels/cuda/primitives.cuh"

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#else
#include "kernels/simt/device_buffer.h"
#include "tests/unit/kernels/simt/schedules.h"
#endif

namespace contextpool::kernels::SIMT_BACKEND {

#if defined(__CUDACC__)

// Memory of the GPU, every byte 0xff at first: NaN in every floating-point type.
template <typename T>
class TestBuffer {
 public:
  explicit TestBuffer(size_t count) : count_(count) {
    EXPECT_EQ(cudaMalloc(&data_, count * sizeof(T)), cudaSuccess);
    EXPECT_EQ(cudaMemset(data_, 0xff, count * sizeof(T)), cudaSuccess);
  }
  explicit TestBuffer(const std::vector<T>& values) : TestBuffer(values.size()) {
    EXPECT_EQ(cudaMemcpy(data_, values.data(), count_ * sizeof(T), cudaMemcpyHostToDevice),
              cudaSuccess);
  }
  ~TestBuffer() { cudaFree(data_); }
  TestBuffer(const TestBuffer&) = delete;
  TestBuffer& operator=(const TestBuffer&) = delete;

  T* data() { return data_; }
  std::vector<T> ToHost() const {
    std::vector<T> values(count_);
    EXPECT_EQ(cudaMemcpy(values.data(), data_, count_ * sizeof(T), cudaMemcpyDeviceToHost),
              cudaSuccess);
    return values;
  }

 private:
  size_t count_;
  T* data_ = nullptr;
};

class TestStream {
 public:
  StreamHandle handle() { return nullptr; }
  // What went wrong in the launches so far, or "".
  std::string Finish() {
    const cudaError_t error = cudaDeviceSynchronize();
    return error == cudaSuccess ? "" : cudaGetErrorString(error);
  }
};

inline std::vector<TestStream> EveryTestStream() { return {{}}; }
inline std::ostream& operator<<(std::ostream& out, const TestStream&) { return out << "GPU"; }

#else

template <typename T>
using TestBuffer = simt::DeviceBuffer<T>;

class TestStream {
 public:
  explicit TestStream(const simt::LaunchOptions& options) : options_(options), stream_(options) {}

  StreamHandle handle() { return stream_.handle(); }
  // What went wrong in the launches so far, or "".
  std::string Finish() const {
    std::string faults;
    for (const simt::LaunchReport& report : stream_.reports()) {
      if (!report.ok()) faults += report.ToString();
    }
    return faults;
  }
  // One for each launch so far.
  const std::vector<simt::LaunchReport>& reports() const { return stream_.reports(); }
  const simt::LaunchReport& last_report() const { return reports().back(); }

  friend std::ostream& operator<<(std::ostream& out, const TestStream& stream) {
    return out << stream.options_;
  }

 private:
  simt::LaunchOptions options_;
  simt::Stream stream_;
};

inline std::vector<TestStream> EveryTestStream() {
  std::vector<TestStream> streams;
  for (const simt::LaunchOptions& options : simt::EverySchedule()) streams.emplace_back(options);
  return streams;
}

#endif

// One of each schedule.
inline std::vector<TestStream> FewTestStreams() {
  const std::vector<TestStream> all = EveryTestStream();
  if (all.size() == 1) return all;
  return {all.front(), all.back()};
}

}  // namespace contextpool::kernels::SIMT_BACKEND
