// Where models compute: memory, copies and one call per operation of a layer.
//
// Layers are written once against this interface. Operations are queued in order on the device's
// one stream and return nothing: the first failure sticks, later operations do nothing, and
// Synchronize reports it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/device/tensor.h"
#include "kernels/activation.h"
#include "kernels/context_pool.h"
#include "kernels/im2col.h"
#include "kernels/pool.h"

namespace contextpool::engine {

class Device;

// Owns one allocation of a device, which must outlive it.
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  DeviceBuffer(Device* device, void* data, size_t size)
      : device_(device), data_(data), size_(size) {}
  DeviceBuffer(DeviceBuffer&& other) noexcept { *this = std::move(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~DeviceBuffer();

  void* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  Device* device_ = nullptr;
  void* data_ = nullptr;
  size_t size_ = 0;
};

// Weights [out, in] and bias [out] of a linear layer in the form that the device computes from.
class LinearWeight {
 public:
  virtual ~LinearWeight() = default;

  int64_t in_columns() const { return in_columns_; }
  int64_t out_columns() const { return out_columns_; }
  // Device memory that it takes.
  virtual size_t bytes() const = 0;

 protected:
  LinearWeight(int64_t out_columns, int64_t in_columns)
      : out_columns_(out_columns), in_columns_(in_columns) {}

 private:
  int64_t out_columns_;
  int64_t in_columns_;
};

// [columns] each, on the device.
struct LayerNormWeights {
  TensorView gamma;
  TensorView beta;
  float eps = 1e-12f;
};

struct EmbeddingTables {
  TensorView words;       // [vocabulary, columns]
  TensorView positions;   // [positions, columns]
  TensorView token_type;  // [columns]
  LayerNormWeights norm;
};

// The packed sequences of a batch, on the device.
struct Sequences {
  TensorView cu_lengths;  // int32 [sequences + 1]
  int64_t max_length = 0;

  int64_t count() const { return cu_lengths.shape[0] - 1; }
};

struct AttentionShape {
  int64_t heads = 0;
  int64_t head_size = 0;

  // Of the hidden state.
  int64_t columns() const { return heads * head_size; }
};

// How a model's layers pool context; kernels/context_pool.h says what each option does.
struct ContextPoolOptions {
  kernels::Activation activation = kernels::Activation::kGelu;
  kernels::PoolWeight weight = kernels::PoolWeight::kSigmoid;
  kernels::SupportSize size = kernels::SupportSize::kSigmoid;
  float fixed_size = 0;
  float r = 0.1f;
  float fixed_n = 0;
  kernels::PoolNormalization normalization = kernels::PoolNormalization::kSum;
  kernels::PoolResidual residual = kernels::PoolResidual::kNone;
  int32_t prefix = 0;
  int32_t kernel_size = 3;
  int32_t bottleneck = 32;
  // Columns of the grid that the pooled tokens of each sequence are, row by row; 0: they lie in one
  // dimension.
  int32_t grid_width = 0;
  bool n_is_side = false;
  kernels::PoolOutputs outputs = {};

  bool learned() const { return kernels::Learned(weight, size); }
  // Of each convolution.
  int64_t taps() const { return kernels::PoolTaps(kernel_size, grid_width); }
};

// One layer's ContextPool. The convolutions are null and empty unless something is learned.
struct ContextPoolWeights {
  // [taps * bottleneck, columns]: one tap of the first convolution below the other; the bias is in
  // the middle tap.
  std::unique_ptr<LinearWeight> conv1;
  TensorView conv2_weight;  // float32 [taps, 2, bottleneck]
  TensorView conv2_bias;    // float32 [2]
  float gate = 0;
};

// How uint8 pixels become numbers: pixel * scale[channel] + offset[channel].
struct PixelScale {
  std::array<float, kernels::kPixelChannels> scale{};
  std::array<float, kernels::kPixelChannels> offset{};
};

struct ConvolutionOptions {
  kernels::Window window;
  // Of the sum with the residual.
  kernels::Activation activation = kernels::Activation::kNone;
};

// One stream, used by one thread at a time. Allocate, Upload, PrepareLinear, and the destructors of
// what they return, do not touch the stream: any thread may call them, while the stream's thread
// computes too. So a model is loaded beside others that serve.
//
// Matrices below are [rows, columns] views, whose columns are contiguous. They, and the vectors and
// tables of layers, are of dtype() unless said otherwise.
class Device {
 public:
  virtual ~Device() = default;

  // As the API names it, for example "cpu".
  virtual absl::string_view name() const = 0;

  // What layers compute in: that of activations and weights. Sums are float32 at least.
  virtual DType dtype() const = 0;

  // Tokens of the batches that it computes fastest, without regard to latency.
  virtual int64_t batch_token_budget() const = 0;

  // Passes of one shape after which it is as fast as ever: kernels are loaded, algorithms chosen.
  virtual int warm_up_passes() const = 0;

  // Whether it computes Convolution and MaxPool.
  virtual bool convolves() const = 0;

  // Aligned to 64 bytes, not initialised. RESOURCE_EXHAUSTED if there is not so much.
  virtual absl::StatusOr<DeviceBuffer> Allocate(size_t bytes) = 0;

  // Copies at once: when it returns, `host` is free again and operations queued later see the
  // bytes. Neither waits for the stream nor takes its failure. For weights at load; REQUIRES that
  // nothing queued uses `device`.
  virtual absl::Status Upload(void* device, const void* host, size_t bytes) = 0;

  // Queued like operations; the host memory must stay untouched until Synchronize.
  virtual void CopyToDevice(void* device, const void* host, size_t bytes) = 0;
  virtual void CopyToHost(void* host, const void* device, size_t bytes) = 0;

  // Waits for everything queued. Returns the first failure since the last call and clears it, but
  // DATA_LOSS before any other: the device is lost to this process, and everything fails from then
  // on, uploads and allocations too.
  virtual absl::Status Synchronize() = 0;

  // Done once per layer at load. `weight` is [out_columns, in] row-major on the host; `bias` is
  // [out_columns] or empty. The device keeps its own form only. INVALID_ARGUMENT if the sizes do
  // not fit each other.
  virtual absl::StatusOr<std::unique_ptr<LinearWeight>> PrepareLinear(std::span<const float> weight,
                                                                      std::span<const float> bias,
                                                                      int64_t out_columns) = 0;

  // out = activation(x W^T + bias). x is [rows, in], out is [rows, out], which may be float32.
  virtual void Linear(const TensorView& x, const LinearWeight& weight,
                      kernels::Activation activation, const TensorView& out) = 0;

  // out = x W^T + bias + residual. residual and out are [rows, out]; out overlaps neither x nor
  // residual.
  virtual void LinearResidual(const TensorView& x, const LinearWeight& weight,
                              const TensorView& residual, const TensorView& out) = 0;

  // out = LayerNorm(x). Both are [rows, columns] and may be the same.
  virtual void LayerNorm(const TensorView& x, const LayerNormWeights& norm,
                         const TensorView& out) = 0;

  // out = LayerNorm(x W^T + bias + residual). residual and out are [rows, out]; out overlaps
  // neither x nor residual.
  virtual void LinearResidualLayerNorm(const TensorView& x, const LinearWeight& weight,
                                       const TensorView& residual, const LayerNormWeights& norm,
                                       const TensorView& out) = 0;

  // out = LayerNorm(words[ids] + positions + token_type). ids is int32 [tokens].
  virtual void Embedding(const TensorView& ids, const Sequences& sequences,
                         const EmbeddingTables& tables, const TensorView& out) = 0;

  // The tokens of each image: those of `table` [tokens, columns], to the last of which its patches
  // are added. `patches` is [images, grid_height, grid_width, columns], out is
  // [images * tokens, columns].
  virtual void PatchTokens(const TensorView& patches, const TensorView& table,
                           const TensorView& out) = 0;

  // What transformers ask at load. UNIMPLEMENTED, naming the size, if layers of such a shape cannot
  // be computed.
  virtual absl::Status CheckTransformer(const AttentionShape& shape) const = 0;

  // Bytes of `workspace` that Attention needs for sequences of up to `max_length`.
  virtual size_t AttentionWorkspaceBytes(int64_t max_length, const AttentionShape& shape) const = 0;

  // Softmax attention inside each sequence, scores divided by sqrt(head_size). qkv is
  // [tokens, 3 * heads * head_size], out is [tokens, heads * head_size].
  virtual void Attention(const TensorView& qkv, const Sequences& sequences,
                         const AttentionShape& shape, const TensorView& workspace,
                         const TensorView& out) = 0;

  // Each token's pooling weight and support size. `taps` is x times `weights.conv1`, which this
  // overwrites, or an empty view where nothing is learned. `support` is float32 [2, tokens]: log2
  // of the weights, then the sizes in tokens.
  virtual void ContextPoolSupport(const TensorView& taps, const Sequences& sequences,
                                  const ContextPoolOptions& options,
                                  const ContextPoolWeights& weights, const TensorView& support) = 0;

  // Bytes of `workspace` that ContextPool needs for sequences of up to `max_length`.
  virtual size_t ContextPoolWorkspaceBytes(int64_t max_length, int64_t columns) const = 0;

  // Every token pools its neighbours. x and out are [tokens, columns] and do not overlap; with
  // `options.outputs` out has one row for each of them, all of a sequence's before the next one's.
  // `tiles` is one kernels::ContextPoolTiles on the device, added to.
  virtual void ContextPool(const TensorView& x, const TensorView& support,
                           const Sequences& sequences, const ContextPoolOptions& options,
                           const ContextPoolWeights& weights, const TensorView& workspace,
                           kernels::ContextPoolTiles* tiles, const TensorView& out) = 0;

  // Bytes of `workspace` that convolutions with this weight need, whatever the images' size.
  virtual size_t ConvolutionWorkspaceBytes(const LinearWeight& weight) const = 0;

  // out = activation(convolution of x + bias + residual). x is [images, height, width, channels],
  // out is [images, out_height, out_width, out_channels] and so is residual, or an empty view; all
  // are dense, out overlaps neither. A row of the weight is one window, in the order row, column,
  // channel.
  virtual void Convolution(const TensorView& x, const LinearWeight& weight,
                           const ConvolutionOptions& options, const TensorView& residual,
                           const TensorView& workspace, const TensorView& out) = 0;

  // The same of uint8 pixels, without a residual. Padding is zero among the numbers that they
  // become.
  virtual void PixelConvolution(const TensorView& pixels, const PixelScale& scale,
                                const LinearWeight& weight, const ConvolutionOptions& options,
                                const TensorView& workspace, const TensorView& out) = 0;

  // The largest value of each window, channel by channel. x and out as for Convolution.
  virtual void MaxPool(const TensorView& x, const kernels::Window& window,
                       const TensorView& out) = 0;

  // One row of out per segment of x's rows. Each of the two may be float32. `segments` is device
  // memory of kernels::PoolSegment, as many as out has rows.
  virtual void Pool(const TensorView& x, const kernels::PoolSegment* segments,
                    const TensorView& out) = 0;

 protected:
  friend class DeviceBuffer;
  virtual void Free(void* data, size_t bytes) = 0;
};

inline DeviceBuffer::~DeviceBuffer() {
  if (data_ != nullptr) device_->Free(data_, size_);
}

}  // namespace contextpool::engine
