#include "engine/model/checkpoint.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/json.h"
#include "engine/model/file.h"
#include "engine/model/safetensors.h"

namespace contextpool::engine {
namespace {

constexpr char kFile[] = "model.safetensors";

// What stands in front of the names of a model with a head, and a tensor that every model of the
// family has.
struct Base {
  absl::string_view prefix;
  absl::string_view tensor;
};
constexpr Base kBases[] = {
    {"bert.", "embeddings.word_embeddings.weight"},
    {"vit.", "embeddings.cls_token"},
    {"deit.", "embeddings.cls_token"},
    {"dinov2.", "embeddings.cls_token"},
    {"dinov2_with_registers.", "embeddings.cls_token"},
    {"resnet.", "embedder.embedder.convolution.weight"},
};

std::string FindPrefix(const SafetensorsFile& file) {
  for (const Base& base : kBases) {
    if (file.Find(std::string(base.tensor)) == nullptr &&
        file.Find(absl::StrCat(base.prefix, base.tensor)) != nullptr) {
      return std::string(base.prefix);
    }
  }
  return "";
}

// Tensors of a head stand beside the bare model.
bool IsOfHead(absl::string_view name) {
  return absl::StartsWith(name, "classifier.") || absl::StartsWith(name, "cls_classifier.") ||
         absl::StartsWith(name, "distillation_classifier.");
}

// Says what to do about checkpoints in other formats.
absl::Status ExplainMissingFile(const std::string& directory, const absl::Status& status) {
  if (File::Open(directory, "model.safetensors.index.json").ok()) {
    return absl::UnimplementedError(
        "model.safetensors.index.json: a checkpoint split over several files is not supported; "
        "save it in one with model.save_pretrained(directory, max_shard_size=\"100GB\")");
  }
  if (File::Open(directory, "pytorch_model.bin").ok()) {
    return absl::UnimplementedError(
        "pytorch_model.bin: pickled checkpoints are not read because they can run code; convert "
        "it with Python: AutoModel.from_pretrained(directory).save_pretrained(directory, "
        "safe_serialization=True), using the Auto class of the model's head");
  }
  return status;
}

std::string ShapeText(const TensorShape& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

}  // namespace

Checkpoint::Checkpoint(std::unique_ptr<SafetensorsFile> file) : file_(std::move(file)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

absl::StatusOr<Checkpoint> Checkpoint::Open(const std::string& directory) {
  absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(directory, kFile);
  if (absl::IsNotFound(file.status())) return ExplainMissingFile(directory, file.status());
  if (!file.ok()) return file.status();
  Checkpoint checkpoint(std::make_unique<SafetensorsFile>(*std::move(file)));
  checkpoint.prefix_ = FindPrefix(*checkpoint.file_);
  return checkpoint;
}

std::string Checkpoint::FullName(absl::string_view name) const {
  return IsOfHead(name) ? std::string(name) : absl::StrCat(prefix_, name);
}

std::string Checkpoint::Resolve(absl::string_view name) const {
  std::string full = FullName(name);
  if (file_->Find(full) != nullptr) return full;
  const std::pair<absl::string_view, absl::string_view> old_names[] = {
      {"LayerNorm.weight", "LayerNorm.gamma"}, {"LayerNorm.bias", "LayerNorm.beta"}};
  for (const auto& [current, old] : old_names) {
    if (!absl::EndsWith(full, current)) continue;
    std::string renamed = absl::StrCat(full.substr(0, full.size() - current.size()), old);
    if (file_->Find(renamed) != nullptr) return renamed;
  }
  return "";
}

bool Checkpoint::Has(absl::string_view name) const { return !Resolve(name).empty(); }

absl::StatusOr<TensorShape> Checkpoint::Shape(absl::string_view name) const {
  const std::string full = Resolve(name);
  if (full.empty()) {
    return absl::NotFoundError(absl::StrCat(
        kFile, ": the tensor \"", FullName(name),
        "\" is missing; is this a checkpoint of the architecture that config.json names?"));
  }
  return file_->Find(full)->shape;
}

absl::Status Checkpoint::Check(absl::string_view name, const TensorShape& shape) const {
  absl::StatusOr<TensorShape> found = Shape(name);
  if (!found.ok()) return absl::InvalidArgumentError(found.status().message());
  const std::string full = Resolve(name);
  if (*found != shape) {
    return absl::InvalidArgumentError(absl::StrCat(kFile, ": the tensor \"", full,
                                                   "\" must have the shape ", ShapeText(shape),
                                                   ", found ", ShapeText(*found)));
  }
  const TensorEntry& entry = *file_->Find(full);
  if (!SafetensorsFile::IsFloat(entry)) {
    return absl::InvalidArgumentError(absl::StrCat(kFile, ": the tensor \"", full,
                                                   "\" has the dtype ", entry.dtype,
                                                   "; F32, F16 and BF16 are supported"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<float>> Checkpoint::Read(absl::string_view name,
                                                    const TensorShape& shape) const {
  absl::Status status = Check(name, shape);
  if (!status.ok()) return status;
  std::vector<float> values(static_cast<size_t>(file_->Find(Resolve(name))->size));
  status = ReadInto(name, shape, values);
  if (!status.ok()) return status;
  return values;
}

absl::Status Checkpoint::ReadInto(absl::string_view name, const TensorShape& shape,
                                  std::span<float> out) const {
  absl::Status status = Check(name, shape);
  if (!status.ok()) return status;
  const TensorEntry& entry = *file_->Find(Resolve(name));
  if (static_cast<int64_t>(out.size()) != entry.size) {
    return absl::InvalidArgumentError(absl::StrCat(kFile, ": the tensor \"", name, "\" has ",
                                                   entry.size, " elements, not ", out.size()));
  }
  return file_->ReadFloats(entry, out);
}

}  // namespace contextpool::engine
