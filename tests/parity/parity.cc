#include "tests/parity/parity.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <stdexcept>

#include "absl/strings/str_format.h"
#include "engine/model/safetensors.h"
#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

template <typename T>
T ValueOrThrow(absl::StatusOr<T> value) {
  if (!value.ok()) throw std::runtime_error(value.status().ToString());
  return *std::move(value);
}

void OrThrow(const absl::Status& status) {
  if (!status.ok()) throw std::runtime_error(status.ToString());
}

SafetensorsFile OpenFile(const std::filesystem::path& path) {
  return ValueOrThrow(SafetensorsFile::Open(path.parent_path(), path.filename()));
}

const TensorEntry& Entry(const SafetensorsFile& file, const std::string& tensor) {
  const TensorEntry* entry = file.Find(tensor);
  if (entry == nullptr) throw std::runtime_error(file.name() + " has no tensor " + tensor);
  return *entry;
}

std::vector<int32_t> ReadInts(const SafetensorsFile& file, const std::string& tensor) {
  const TensorEntry& entry = Entry(file, tensor);
  if (entry.dtype != "I32") throw std::runtime_error(tensor + " is not I32");
  std::vector<int32_t> values(static_cast<size_t>(entry.size));
  OrThrow(file.ReadBytes(entry, std::as_writable_bytes(std::span(values))));
  return values;
}

std::vector<Pixels> ReadImages(const SafetensorsFile& file) {
  const TensorEntry& entry = Entry(file, "pixels");
  if (entry.dtype != "U8" || entry.shape.size() != 4) throw std::runtime_error("pixels are no U8");
  Pixels all(static_cast<size_t>(entry.size));
  OrThrow(file.ReadBytes(entry, std::as_writable_bytes(std::span(all))));
  const auto size = static_cast<ptrdiff_t>(entry.size / entry.shape[0]);
  std::vector<Pixels> images;
  for (auto pixel = all.begin(); pixel != all.end(); pixel += size) {
    images.emplace_back(pixel, pixel + size);
  }
  return images;
}

}  // namespace

Golden::Golden(const std::filesystem::path& path) : file(path) {
  const SafetensorsFile opened = OpenFile(path);
  if (opened.Find("pixels") != nullptr) {
    images = ReadImages(opened);
    return;
  }
  const std::vector<int32_t> ids = ReadInts(opened, "token_ids");
  const std::vector<int32_t> ends = ReadInts(opened, "cu_lengths");
  for (size_t i = 0; i + 1 < ends.size(); ++i) {
    sequences.emplace_back(ids.begin() + ends[i], ids.begin() + ends[i + 1]);
  }
}

bool Golden::Has(const std::string& tensor) const { return OpenFile(file).Find(tensor) != nullptr; }

std::vector<float> Golden::Values(const std::string& tensor) const {
  const SafetensorsFile opened = OpenFile(file);
  const TensorEntry& entry = Entry(opened, tensor);
  std::vector<float> values(static_cast<size_t>(entry.size));
  OrThrow(opened.ReadFloats(entry, values));
  return values;
}

std::vector<Row> Golden::Rows(const std::string& tensor) const {
  const std::vector<float> values = Values(tensor);
  const size_t width = values.size() / (sequences.size() + images.size());
  std::vector<Row> rows;
  for (size_t begin = 0; begin < values.size(); begin += width) {
    rows.emplace_back(values.begin() + static_cast<ptrdiff_t>(begin),
                      values.begin() + static_cast<ptrdiff_t>(begin + width));
  }
  return rows;
}

std::vector<std::string> CheckpointsIn(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(GoldenFolder() / folder)) {
    if (entry.is_directory()) names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

const char* NameOf(Pooling pooling) {
  switch (pooling) {
    case Pooling::kMean:
      return "mean";
    case Pooling::kCls:
      return "cls";
    case Pooling::kMax:
      return "max";
    case Pooling::kLastToken:
      return "last";
    case Pooling::kPooler:
      return "pooler";
  }
  return "";
}

TestModel::TestModel(const std::filesystem::path& directory, std::unique_ptr<Device> device)
    : device_(std::move(device)) {
  ModelSpec spec;
  spec.name = directory.filename();
  spec.directory = directory;
  model_ = ValueOrThrow(LoadModel(spec, *device_));
}

Answer TestModel::Ask(std::span<const TokenIds> sequences, std::span<const OutputSpec> outputs,
                      Arena* workspace) const {
  std::vector<int32_t> ids;
  std::vector<int32_t> cu_lengths = {0};
  PackedBatch batch;
  for (const TokenIds& sequence : sequences) {
    ids.insert(ids.end(), sequence.begin(), sequence.end());
    cu_lengths.push_back(static_cast<int32_t>(ids.size()));
    batch.max_length = std::max(batch.max_length, static_cast<int32_t>(sequence.size()));
  }
  batch.token_ids = ids;
  batch.cu_lengths = cu_lengths;
  batch.outputs = outputs;
  return Compute(batch, workspace);
}

Answer TestModel::Ask(std::span<const Pixels> images, std::span<const OutputSpec> outputs,
                      Arena* workspace) const {
  Pixels pixels;
  std::vector<int32_t> cu_lengths = {0};
  for (const Pixels& image : images) {
    pixels.insert(pixels.end(), image.begin(), image.end());
    cu_lengths.push_back(cu_lengths.back() + info().max_tokens);
  }
  return Compute({.pixels = pixels,
                  .cu_lengths = cu_lengths,
                  .outputs = outputs,
                  .max_length = info().max_tokens},
                 workspace);
}

Arena TestModel::Workspace(const BatchLimits& limits) const {
  return ValueOrThrow(Arena::Create(*device_, model_->WorkspaceBytes(limits)));
}

Answer TestModel::Compute(const PackedBatch& batch, Arena* workspace) const {
  std::optional<Arena> fresh;
  if (workspace == nullptr) {
    fresh = Workspace({batch.total_tokens(), batch.sequences()});
    workspace = &*fresh;
  }
  workspace->Reset();
  const ModelOutput output = ValueOrThrow(model_->Forward(batch, *workspace));

  Answer answer;
  int64_t embedded = 0;
  int64_t classified = 0;
  for (const OutputSpec& wanted : batch.outputs) {
    const bool embed = wanted.task == TaskKind::kEmbed;
    const TensorView& source = embed ? output.embeddings : output.logits;
    const int64_t width = source.shape[1];
    Row& row = answer.rows.emplace_back(static_cast<size_t>(width));
    const int64_t index = embed ? embedded++ : classified++;
    device_->CopyToHost(row.data(), source.as<float>() + index * width, row.size() * sizeof(float));
  }
  answer.context_pool.resize(static_cast<size_t>(output.context_pool.elements()));
  device_->CopyToHost(answer.context_pool.data(), output.context_pool.data,
                      output.context_pool.bytes());
  if (output.context_pool_tiles != nullptr) {
    device_->CopyToHost(&answer.tiles, output.context_pool_tiles, sizeof(answer.tiles));
  }
  OrThrow(device_->Synchronize());
  return answer;
}

std::vector<Row> TestModel::Run(std::span<const TokenIds> sequences, const OutputSpec& output,
                                int64_t token_budget) const {
  std::vector<Row> rows;
  size_t begin = 0;
  while (begin < sequences.size()) {
    size_t end = begin;
    int64_t tokens = 0;
    do {
      tokens += static_cast<int64_t>(sequences[end++].size());
    } while (end < sequences.size() &&
             tokens + static_cast<int64_t>(sequences[end].size()) <= token_budget);
    const std::vector<OutputSpec> outputs(end - begin, output);
    for (Row& row : RunBatch(sequences.subspan(begin, end - begin), outputs)) {
      rows.push_back(std::move(row));
    }
    begin = end;
  }
  return rows;
}

void CopyPoisoned(const std::filesystem::path& checkpoint, const TempDirectory& copy,
                  int32_t token) {
  constexpr char kFile[] = "model.safetensors";
  constexpr char kWords[] = "embeddings.word_embeddings.weight";
  copy.CopyFrom(checkpoint);
  const SafetensorsFile file = OpenFile(checkpoint / kFile);
  const TensorEntry* plain = file.Find(kWords);
  const TensorEntry& words = plain != nullptr ? *plain : Entry(file, std::string("bert.") + kWords);
  std::string bytes = ReadFileForTest(checkpoint / kFile);
  // A number whose bits are all set is a NaN in every format.
  const int64_t row_bytes = (words.end - words.begin) / words.shape[0];
  std::fill_n(bytes.begin() + words.begin + token * row_bytes, row_bytes, '\xff');
  copy.Write(kFile, absl::string_view(bytes));
}

double MaxError(const std::vector<Row>& found, const std::vector<Row>& wanted, double scale_floor) {
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  if (found.size() != wanted.size()) return kInfinite;
  double largest = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (found[i].size() != wanted[i].size()) return kInfinite;
    for (size_t j = 0; j < wanted[i].size(); ++j) {
      const double difference = std::abs(static_cast<double>(found[i][j]) - wanted[i][j]);
      if (std::isnan(difference)) return kInfinite;
      largest = std::max(
          largest, difference / std::max(scale_floor, std::abs(static_cast<double>(wanted[i][j]))));
    }
  }
  return largest;
}

void RecordError(const std::string& what, double error) {
  ::testing::Test::RecordProperty(what, absl::StrFormat("%.3g", error));
}

}  // namespace contextpool::engine
