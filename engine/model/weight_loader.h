// From a checkpoint's tensors to a device's weights: what the architectures' loaders share.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "engine/device/device.h"
#include "engine/model/checkpoint.h"

namespace contextpool::engine {

// What a model's views point to. `bytes` counts its linear layers too.
struct WeightMemory {
  std::vector<DeviceBuffer> buffers;
  int64_t bytes = 0;
};

// Linear layers of one size, `weight` [out_columns, in_columns] and `bias` [out_columns] each, that
// become one layer: one below the other.
struct LinearTensors {
  std::vector<std::string> names = {};
  int64_t out_columns = 0;
  int64_t in_columns = 0;
  bool has_bias = true;
  // A vector [out_columns] that multiplies every output, bias included; empty: none.
  std::string scale = {};
};

// Reads tensors one by one into the same host memory and hands them to the device. After the first
// error, which names the tensor, it does nothing more and returns empty values: ask status() before
// the weights are used. Nothing is allocated by a size that the checkpoint does not confirm.
class WeightLoader {
 public:
  // Both must outlive the loader.
  WeightLoader(const Checkpoint& checkpoint, Device& device)
      : checkpoint_(checkpoint), device_(device) {}

  const absl::Status& status() const { return status_; }
  bool ok() const { return status_.ok(); }

  // Whether the checkpoint has such a layer with a bias, of these sizes.
  bool HasLinear(const std::string& name, int64_t out_columns, int64_t in_columns) const;

  // Row-major values on the host.
  std::vector<float> Read(const std::string& name, const TensorShape& shape);

  std::unique_ptr<LinearWeight> Linear(const LinearTensors& tensors);
  LayerNormWeights Norm(const std::string& name, int64_t columns, float eps);
  TensorView Vector(const std::string& name, int64_t columns);
  // The first `kept` rows of a tensor [rows, columns].
  TensorView Table(const std::string& name, int64_t rows, int64_t columns, int64_t kept);

  // Of values that the caller made. `name` stands in errors only; `bias` may be empty.
  std::unique_ptr<LinearWeight> Prepare(const std::string& name, std::span<const float> weight,
                                        std::span<const float> bias, int64_t out_columns);
  // On the device as `dtype`, kF32, kF16 or kBF16; without one, as the device's.
  TensorView Upload(const std::string& name, std::span<const float> values,
                    std::initializer_list<int64_t> shape, DType dtype);
  TensorView Upload(const std::string& name, std::span<const float> values,
                    std::initializer_list<int64_t> shape) {
    return Upload(name, values, shape, device_.dtype());
  }

  // The memory of everything loaded so far.
  WeightMemory TakeMemory() { return std::exchange(memory_, {}); }

 private:
  // Into the scratch memory, where the next tensor replaces it.
  std::span<const float> ReadScratch(const std::string& name, const TensorShape& shape);
  void Expect(const std::string& name, const TensorShape& shape);
  void ReadInto(const std::string& name, const TensorShape& shape, std::span<float> out);
  void Fail(const std::string& name, const absl::Status& status);

  const Checkpoint& checkpoint_;
  Device& device_;
  std::vector<float> scratch_;
  std::vector<uint16_t> narrow_;
  WeightMemory memory_;
  absl::Status status_;
};

}  // namespace contextpool::engine
