#include "engine/model/weight_loader.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/float16.h"

namespace contextpool::engine {
namespace {

// Row i of the matrix times scale[i modulo its size].
void ScaleRows(std::span<const float> scale, std::span<float> matrix, int64_t columns) {
  for (size_t i = 0; i < matrix.size(); ++i) {
    matrix[i] *= scale[i / static_cast<size_t>(columns) % scale.size()];
  }
}

}  // namespace

bool WeightLoader::HasLinear(const std::string& name, int64_t out_columns,
                             int64_t in_columns) const {
  return checkpoint_.Check(name + ".weight", {out_columns, in_columns}).ok() &&
         checkpoint_.Check(name + ".bias", {out_columns}).ok();
}

std::vector<float> WeightLoader::Read(const std::string& name, const TensorShape& shape) {
  if (!ok()) return {};
  absl::StatusOr<std::vector<float>> values = checkpoint_.Read(name, shape);
  if (values.ok()) return *std::move(values);
  status_ = values.status();
  return {};
}

std::unique_ptr<LinearWeight> WeightLoader::Linear(const LinearTensors& tensors) {
  const int64_t out = tensors.out_columns;
  const int64_t in = tensors.in_columns;
  for (const std::string& name : tensors.names) {
    Expect(name + ".weight", {out, in});
    if (tensors.has_bias) Expect(name + ".bias", {out});
  }
  std::vector<float> scale;
  if (!tensors.scale.empty()) scale = Read(tensors.scale, {out});
  if (!ok()) return nullptr;
  const int64_t rows = out * static_cast<int64_t>(tensors.names.size());
  scratch_.resize(rows * in + (tensors.has_bias ? rows : 0));
  const std::span<float> weight = std::span(scratch_).first(rows * in);
  const std::span<float> bias = std::span(scratch_).subspan(rows * in);
  for (size_t i = 0; i < tensors.names.size(); ++i) {
    ReadInto(tensors.names[i] + ".weight", {out, in}, weight.subspan(i * out * in, out * in));
    if (tensors.has_bias) ReadInto(tensors.names[i] + ".bias", {out}, bias.subspan(i * out, out));
  }
  if (!scale.empty()) {
    ScaleRows(scale, weight, in);
    ScaleRows(scale, bias, 1);
  }
  return Prepare(tensors.names[0], weight, bias, rows);
}

LayerNormWeights WeightLoader::Norm(const std::string& name, int64_t columns, float eps) {
  return {.gamma = Vector(name + ".weight", columns),
          .beta = Vector(name + ".bias", columns),
          .eps = eps};
}

TensorView WeightLoader::Vector(const std::string& name, int64_t columns) {
  return Upload(name, ReadScratch(name, {columns}), {columns});
}

TensorView WeightLoader::Table(const std::string& name, int64_t rows, int64_t columns,
                               int64_t kept) {
  const std::span<const float> values = ReadScratch(name, {rows, columns});
  if (!ok()) return {};
  return Upload(name, values.first(kept * columns), {kept, columns});
}

std::unique_ptr<LinearWeight> WeightLoader::Prepare(const std::string& name,
                                                    std::span<const float> weight,
                                                    std::span<const float> bias,
                                                    int64_t out_columns) {
  if (!ok()) return nullptr;
  absl::StatusOr<std::unique_ptr<LinearWeight>> linear =
      device_.PrepareLinear(weight, bias, out_columns);
  if (!linear.ok()) {
    Fail(name, linear.status());
    return nullptr;
  }
  memory_.bytes += static_cast<int64_t>((*linear)->bytes());
  return *std::move(linear);
}

TensorView WeightLoader::Upload(const std::string& name, std::span<const float> values,
                                std::initializer_list<int64_t> shape, DType dtype) {
  if (!ok()) return {};
  const size_t bytes = values.size() * kernels::SizeOf(dtype);
  absl::StatusOr<DeviceBuffer> buffer = device_.Allocate(bytes);
  if (!buffer.ok()) {
    Fail(name, buffer.status());
    return {};
  }
  const void* content = values.data();
  if (dtype != DType::kF32) {
    narrow_.resize(values.size());
    Narrow(values, dtype, narrow_.data());
    content = narrow_.data();
  }
  status_.Update(device_.Upload(buffer->data(), content, bytes));
  memory_.bytes += static_cast<int64_t>(bytes);
  memory_.buffers.push_back(*std::move(buffer));
  return TensorView(memory_.buffers.back().data(), dtype, shape);
}

std::span<const float> WeightLoader::ReadScratch(const std::string& name,
                                                 const TensorShape& shape) {
  Expect(name, shape);
  if (!ok()) return {};
  size_t elements = 1;
  for (int64_t size : shape) elements *= static_cast<size_t>(size);
  scratch_.resize(elements);
  ReadInto(name, shape, scratch_);
  return scratch_;
}

void WeightLoader::Expect(const std::string& name, const TensorShape& shape) {
  if (ok()) status_ = checkpoint_.Check(name, shape);
}

void WeightLoader::ReadInto(const std::string& name, const TensorShape& shape,
                            std::span<float> out) {
  if (ok()) status_ = checkpoint_.ReadInto(name, shape, out);
}

void WeightLoader::Fail(const std::string& name, const absl::Status& status) {
  status_.Update(absl::Status(status.code(), absl::StrCat(name, ": ", status.message())));
}

}  // namespace contextpool::engine
