// A device that only has memory: for models that compute without it.
#pragma once

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>

#include "engine/base/options.h"
#include "engine/device/device.h"

namespace contextpool::testing {

class FakeDevice : public engine::Device {
 public:
  // Bytes that one allocation may have.
  static constexpr size_t kMemory = 1 << 28;

  explicit FakeDevice(std::string name = "fake", engine::DType dtype = engine::DType::kF32)
      : name_(std::move(name)), dtype_(dtype) {}

  // What the next Synchronize returns; then it is OK again.
  absl::Status next_failure;

  // How often somebody waited for the device.
  int synchronized = 0;

  // Bytes that are allocated now.
  size_t bytes_held() const { return bytes_held_; }

  absl::string_view name() const override { return name_; }
  engine::DType dtype() const override { return dtype_; }
  int64_t batch_token_budget() const override { return engine::kDefaultBatchTokenBudget; }
  int warm_up_passes() const override { return 1; }
  bool convolves() const override { return true; }
  absl::StatusOr<engine::DeviceBuffer> Allocate(size_t bytes) override {
    if (bytes > kMemory) return absl::ResourceExhaustedError("the device is full");
    const size_t rounded = (bytes + 63) / 64 * 64;
    bytes_held_ += bytes;
    return engine::DeviceBuffer(this, std::aligned_alloc(64, rounded), bytes);
  }
  absl::Status Upload(void* device, const void* host, size_t bytes) override {
    if (bytes > 0) std::memcpy(device, host, bytes);
    return absl::OkStatus();
  }
  void CopyToDevice(void* device, const void* host, size_t bytes) override {
    if (bytes > 0) std::memcpy(device, host, bytes);
  }
  void CopyToHost(void* host, const void* device, size_t bytes) override {
    if (bytes > 0) std::memcpy(host, device, bytes);
  }
  absl::Status Synchronize() override {
    ++synchronized;
    return std::exchange(next_failure, absl::OkStatus());
  }

  absl::StatusOr<std::unique_ptr<engine::LinearWeight>> PrepareLinear(std::span<const float>,
                                                                      std::span<const float>,
                                                                      int64_t) override {
    return absl::UnimplementedError("a fake device computes nothing");
  }
  void Linear(const engine::TensorView&, const engine::LinearWeight&, kernels::Activation,
              const engine::TensorView&) override {}
  void LinearResidual(const engine::TensorView&, const engine::LinearWeight&,
                      const engine::TensorView&, const engine::TensorView&) override {}
  void LayerNorm(const engine::TensorView&, const engine::LayerNormWeights&,
                 const engine::TensorView&) override {}
  void LinearResidualLayerNorm(const engine::TensorView&, const engine::LinearWeight&,
                               const engine::TensorView&, const engine::LayerNormWeights&,
                               const engine::TensorView&) override {}
  void Embedding(const engine::TensorView&, const engine::Sequences&,
                 const engine::EmbeddingTables&, const engine::TensorView&) override {}
  void PatchTokens(const engine::TensorView&, const engine::TensorView&,
                   const engine::TensorView&) override {}
  absl::Status CheckTransformer(const engine::AttentionShape&) const override {
    return absl::OkStatus();
  }
  size_t AttentionWorkspaceBytes(int64_t, const engine::AttentionShape&) const override {
    return 0;
  }
  void Attention(const engine::TensorView&, const engine::Sequences&, const engine::AttentionShape&,
                 const engine::TensorView&, const engine::TensorView&) override {}
  void ContextPoolSupport(const engine::TensorView&, const engine::Sequences&,
                          const engine::ContextPoolOptions&, const engine::ContextPoolWeights&,
                          const engine::TensorView&) override {}
  size_t ContextPoolWorkspaceBytes(int64_t, int64_t) const override { return 0; }
  void ContextPool(const engine::TensorView&, const engine::TensorView&, const engine::Sequences&,
                   const engine::ContextPoolOptions&, const engine::ContextPoolWeights&,
                   const engine::TensorView&, kernels::ContextPoolTiles*,
                   const engine::TensorView&) override {}
  size_t ConvolutionWorkspaceBytes(const engine::LinearWeight&) const override { return 0; }
  void Convolution(const engine::TensorView&, const engine::LinearWeight&,
                   const engine::ConvolutionOptions&, const engine::TensorView&,
                   const engine::TensorView&, const engine::TensorView&) override {}
  void PixelConvolution(const engine::TensorView&, const engine::PixelScale&,
                        const engine::LinearWeight&, const engine::ConvolutionOptions&,
                        const engine::TensorView&, const engine::TensorView&) override {}
  void MaxPool(const engine::TensorView&, const kernels::Window&,
               const engine::TensorView&) override {}
  void Pool(const engine::TensorView&, const kernels::PoolSegment*,
            const engine::TensorView&) override {}

 protected:
  void Free(void* data, size_t bytes) override {
    bytes_held_ -= bytes;
    std::free(data);
  }

 private:
  const std::string name_;
  const engine::DType dtype_;
  std::atomic<size_t> bytes_held_{0};
};

}  // namespace contextpool::testing
