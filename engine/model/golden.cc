#include "engine/model/golden.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/json.h"
#include "engine/model/safetensors.h"

namespace contextpool::engine {
namespace {

constexpr char kFile[] = "golden.safetensors";
constexpr absl::string_view kInputIds = "input_ids";
constexpr absl::string_view kCuLengths = "cu_lengths";
constexpr absl::string_view kPixels = "pixels";
constexpr absl::string_view kEmbedding = "embedding";
constexpr absl::string_view kLogits = "logits";
// So that a file cannot make loading take forever.
constexpr int64_t kMaxSequences = 1024;
constexpr int64_t kMaxTokens = 65536;
constexpr int64_t kMaxPixelBytes = 64 << 20;

template <typename... Parts>
absl::Status TensorFault(absl::string_view tensor, const Parts&... parts) {
  return absl::InvalidArgumentError(
      absl::StrCat(kFile, ": the tensor ", Quoted(tensor), " ", parts...));
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

absl::Status CheckNames(const SafetensorsFile& file, bool reads_images) {
  std::vector<absl::string_view> known = {kInputIds, kCuLengths, kEmbedding, kLogits};
  if (reads_images) known = {kPixels, kEmbedding, kLogits};
  for (const auto& [name, entry] : file.entries()) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      return TensorFault(name, "is unknown; known are ", absl::StrJoin(known, ", "));
    }
  }
  if (file.Find(kEmbedding) == nullptr && file.Find(kLogits) == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        kFile, ": has neither \"embedding\" nor \"logits\": there is nothing to compare"));
  }
  return absl::OkStatus();
}

template <typename T>
absl::StatusOr<std::vector<int64_t>> ReadIntegersAs(const SafetensorsFile& file,
                                                    const TensorEntry& entry) {
  std::vector<T> values(static_cast<size_t>(entry.size));
  absl::Status status = file.ReadBytes(entry, std::as_writable_bytes(std::span(values)));
  if (!status.ok()) return status;
  return std::vector<int64_t>(values.begin(), values.end());
}

absl::StatusOr<std::vector<int64_t>> ReadIntegers(const SafetensorsFile& file,
                                                  absl::string_view tensor, int64_t max_size) {
  const TensorEntry* entry = file.Find(tensor);
  if (entry == nullptr) return TensorFault(tensor, "is missing");
  if (entry->dtype != "I32" && entry->dtype != "I64") {
    return TensorFault(tensor, "must be I32 or I64, found ", entry->dtype);
  }
  if (entry->shape.size() != 1 || entry->size > max_size) {
    return TensorFault(tensor, "must have one dimension of at most ", max_size, ", found ",
                       ShapeText(entry->shape));
  }
  return entry->dtype == "I32" ? ReadIntegersAs<int32_t>(file, *entry)
                               : ReadIntegersAs<int64_t>(file, *entry);
}

absl::Status ReadTokenIds(const SafetensorsFile& file, const ModelInfo& info, GoldenFile& golden) {
  absl::StatusOr<std::vector<int64_t>> ids = ReadIntegers(file, kInputIds, kMaxTokens);
  if (!ids.ok()) return ids.status();
  for (size_t i = 0; i < ids->size(); ++i) {
    if ((*ids)[i] < 0 || (*ids)[i] >= info.vocabulary_size) {
      return TensorFault(kInputIds, "holds ", (*ids)[i], " at ", i, ", outside the vocabulary of ",
                         info.vocabulary_size, " tokens");
    }
  }
  golden.token_ids.assign(ids->begin(), ids->end());
  return absl::OkStatus();
}

absl::Status ReadLengths(const SafetensorsFile& file, const ModelInfo& info, GoldenFile& golden) {
  absl::StatusOr<std::vector<int64_t>> ends = ReadIntegers(file, kCuLengths, kMaxSequences + 1);
  if (!ends.ok()) return ends.status();
  const auto total = static_cast<int64_t>(golden.token_ids.size());
  if (ends->size() < 2 || ends->front() != 0 || ends->back() != total) {
    return TensorFault(kCuLengths, "must hold two numbers or more, from 0 to the ", total,
                       " tokens of \"input_ids\"");
  }
  for (size_t i = 0; i + 1 < ends->size(); ++i) {
    const int64_t begin = (*ends)[i];
    const int64_t end = (*ends)[i + 1];
    if (end <= begin || end > total) {
      return TensorFault(kCuLengths, "must rise within the ", total, " tokens; sequence ", i,
                         " goes from ", begin, " to ", end);
    }
    if (end - begin > info.max_tokens) {
      return TensorFault(kCuLengths, "gives sequence ", i, " ", end - begin,
                         " tokens, but the model reads ", info.max_tokens,
                         "; raise max_tokens if serving.textproto sets it, or write the file with"
                         " shorter sequences");
    }
  }
  golden.cu_lengths.assign(ends->begin(), ends->end());
  return absl::OkStatus();
}

absl::Status ReadTexts(const SafetensorsFile& file, const ModelInfo& info, GoldenFile& golden) {
  absl::Status status = ReadTokenIds(file, info, golden);
  return status.ok() ? ReadLengths(file, info, golden) : status;
}

absl::Status ReadImages(const SafetensorsFile& file, const ModelInfo& info, GoldenFile& golden) {
  const TensorEntry* entry = file.Find(kPixels);
  if (entry == nullptr) return TensorFault(kPixels, "is missing");
  const ImageSize& size = info.image->size;
  const int64_t images = entry->shape.empty() ? 0 : entry->shape[0];
  if (entry->dtype != "U8" ||
      entry->shape != std::vector<int64_t>{images, size.height, size.width, 3}) {
    return TensorFault(kPixels, "must be U8 [images, ", size.height, ", ", size.width,
                       ", 3], as the model reads images, found ", entry->dtype, " ",
                       ShapeText(entry->shape));
  }
  if (images < 1 || images > kMaxSequences || entry->size > kMaxPixelBytes) {
    return TensorFault(kPixels, "must hold from 1 to ", kMaxSequences, " images in at most ",
                       kMaxPixelBytes, " bytes, found ", images, " in ", entry->size);
  }
  golden.pixels.resize(static_cast<size_t>(entry->size));
  for (int64_t i = 0; i <= images; ++i) {
    golden.cu_lengths.push_back(static_cast<int32_t>(i * info.max_tokens));
  }
  return file.ReadBytes(*entry, std::as_writable_bytes(std::span(golden.pixels)));
}

// Where a number of a [rows, width] tensor stands.
std::string Place(int64_t index, int64_t width) {
  return absl::StrCat("sequence ", index / width, ", dimension ", index % width);
}

absl::Status ReadExpected(const SafetensorsFile& file, GoldenTensor expected, GoldenFile& golden) {
  const TensorEntry* entry = file.Find(expected.name);
  if (entry == nullptr) return absl::OkStatus();
  if (expected.width == 0) {
    return TensorFault(expected.name, "does not belong to a model without a classifier");
  }
  const std::vector<int64_t> shape = {golden.sequences(), expected.width};
  if (entry->dtype != "F32" || entry->shape != shape) {
    return TensorFault(expected.name, "must be F32 ", ShapeText(shape), ", found ", entry->dtype,
                       " ", ShapeText(entry->shape));
  }
  expected.values.resize(static_cast<size_t>(entry->size));
  if (absl::Status status = file.ReadFloats(*entry, expected.values); !status.ok()) return status;
  for (size_t i = 0; i < expected.values.size(); ++i) {
    if (!std::isfinite(expected.values[i])) {
      return TensorFault(expected.name, "holds ", expected.values[i], " at ",
                         Place(static_cast<int64_t>(i), expected.width),
                         "; write the file anew from finite values");
    }
    expected.magnitude = std::max(expected.magnitude, std::abs(expected.values[i]));
  }
  golden.tensors.push_back(std::move(expected));
  return absl::OkStatus();
}

template <typename... Parts>
absl::Status Mismatch(const GoldenTensor& tensor, int64_t index, const Parts&... parts) {
  return absl::DataLossError(absl::StrCat(
      kFile, ": ", Place(index, tensor.width), " of ", Quoted(tensor.name), ": expected ",
      tensor.values[index], ", computed ", parts...,
      ". A file of the model directory is damaged or belongs to another checkpoint: copy the whole"
      " directory again. After a wanted change of the model, write ",
      kFile,
      " anew or remove it; golden_tolerance in serving.textproto allows larger differences"));
}

// A NaN is further off than any number.
double ErrorOf(double expected, double found) {
  const double error = std::abs(found - expected);
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

absl::Status CheckValues(const GoldenFile& golden, const GoldenTensor& tensor, double tolerance,
                         int64_t begin, std::span<const float> found) {
  for (size_t i = 0; i < found.size(); ++i) {
    const int64_t index = begin + static_cast<int64_t>(i);
    const double expected = tensor.values[index];
    const double scale =
        golden.dtype == DType::kF32 ? std::max(1.0, std::abs(expected)) : tensor.magnitude;
    const double error = ErrorOf(expected, found[i]);
    if (error <= tolerance * scale) continue;
    return Mismatch(tensor, index, found[i], ": ", error, " apart where ", tolerance * scale,
                    " is allowed");
  }
  return absl::OkStatus();
}

// The number that is furthest off, where a vector as a whole is.
int64_t Furthest(std::span<const float> expected, std::span<const float> found) {
  size_t furthest = 0;
  for (size_t i = 1; i < found.size(); ++i) {
    if (ErrorOf(expected[i], found[i]) > ErrorOf(expected[furthest], found[furthest])) furthest = i;
  }
  return static_cast<int64_t>(furthest);
}

absl::Status CheckCosines(const GoldenTensor& tensor, double tolerance, int64_t begin,
                          std::span<const float> found) {
  const auto width = static_cast<size_t>(tensor.width);
  for (size_t row = 0; row < found.size(); row += width) {
    const std::span<const float> expected = std::span(tensor.values).subspan(begin + row, width);
    const std::span<const float> computed = found.subspan(row, width);
    double product = 0;
    double expected_square = 0;
    double computed_square = 0;
    for (size_t i = 0; i < width; ++i) {
      product += double{expected[i]} * computed[i];
      expected_square += double{expected[i]} * expected[i];
      computed_square += double{computed[i]} * computed[i];
    }
    const double cosine = product / std::sqrt(expected_square * computed_square);
    if (cosine >= 1 - tolerance) continue;
    const int64_t worst = Furthest(expected, computed);
    return Mismatch(tensor, begin + static_cast<int64_t>(row) + worst, computed[worst],
                    "; the cosine to the expected vector is ", cosine, " where ", 1 - tolerance,
                    " is needed");
  }
  return absl::OkStatus();
}

}  // namespace

double DefaultGoldenTolerance(DType dtype) {
  if (dtype == DType::kF32) return 1e-4;
  return dtype == DType::kI8 ? 1e-3 : 2e-2;
}

absl::StatusOr<std::optional<GoldenFile>> ReadGolden(const ModelSpec& spec, const ModelInfo& info) {
  absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(spec.directory, kFile);
  if (absl::IsNotFound(file.status())) return std::optional<GoldenFile>();
  if (!file.ok()) return file.status();
  GoldenFile golden;
  golden.dtype = info.dtype;
  golden.tolerance = spec.golden_tolerance;
  const OutputSpec embed = {.pooling = info.own_pooling, .normalize = info.own_normalize};
  const OutputSpec classify = {.task = TaskKind::kClassify};
  const bool reads_images = info.image.has_value();
  absl::Status status = CheckNames(*file, reads_images);
  if (status.ok()) status = (reads_images ? ReadImages : ReadTexts)(*file, info, golden);
  if (status.ok()) {
    status = ReadExpected(*file, {kEmbedding, embed, info.embedding_dimensions, {}}, golden);
  }
  if (status.ok()) {
    const auto labels = static_cast<int64_t>(info.labels.size());
    status = ReadExpected(*file, {kLogits, classify, labels, {}}, golden);
  }
  if (!status.ok()) return status;
  return std::optional<GoldenFile>(std::move(golden));
}

absl::Status CheckGolden(const GoldenFile& golden, const GoldenTensor& tensor, int64_t first,
                         std::span<const float> found) {
  const double tolerance = golden.tolerance.value_or(DefaultGoldenTolerance(golden.dtype));
  const int64_t begin = first * tensor.width;
  if (golden.dtype == DType::kI8) return CheckCosines(tensor, tolerance, begin, found);
  return CheckValues(golden, tensor, tolerance, begin, found);
}

}  // namespace contextpool::engine
