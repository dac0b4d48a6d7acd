// A model's tensors by name, as float32, checked against the shape that the model expects.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace contextpool::engine {

class SafetensorsFile;

// Sizes per dimension, outermost first. Empty: a scalar.
using TensorShape = std::vector<int64_t>;

// Names are those of the bare model, for example "encoder.layer.0.output.dense.weight" or
// "pooler.dense.bias" of a BertModel. Checkpoints of models with heads put "bert.", "vit." and so
// on before them: that is found out once and added here, not by the caller. "classifier.weight" and
// other tensors of a head never have it. Old checkpoints' names "LayerNorm.gamma" and
// "LayerNorm.beta" answer to "LayerNorm.weight" and "LayerNorm.bias".
//
// The file stays open until this object goes, which is right after loading. It is read, not mapped:
// a file that shrinks meanwhile is an error, not a signal.
class Checkpoint {
 public:
  // Reads the header of `directory`/model.safetensors and validates it whole.
  static absl::StatusOr<Checkpoint> Open(const std::string& directory);

  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  bool Has(absl::string_view name) const;

  // The shape that the file gives the tensor. NOT_FOUND without such a tensor.
  absl::StatusOr<TensorShape> Shape(absl::string_view name) const;

  // Whether the tensor is there, has exactly `shape` and a dtype that Read can convert. Call this
  // before allocating by sizes from config.json.
  absl::Status Check(absl::string_view name, const TensorShape& shape) const;

  // Row-major values; F32, F16 and BF16 are converted exactly. Errors as Check.
  absl::StatusOr<std::vector<float>> Read(absl::string_view name, const TensorShape& shape) const;

  // The same into the caller's memory, for packing several tensors side by side.
  // INVALID_ARGUMENT if `out` does not have the tensor's size.
  absl::Status ReadInto(absl::string_view name, const TensorShape& shape,
                        std::span<float> out) const;

 private:
  explicit Checkpoint(std::unique_ptr<SafetensorsFile> file);

  // What the file should call `name`.
  std::string FullName(absl::string_view name) const;
  // What it does call it; empty if there is no such tensor.
  std::string Resolve(absl::string_view name) const;

  std::unique_ptr<SafetensorsFile> file_;
  // "" or that of the family: "bert."
  std::string prefix_;
};

}  // namespace contextpool::engine
