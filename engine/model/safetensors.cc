#include "engine/model/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/float16.h"
#include "engine/base/json.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors is little-endian");

constexpr int64_t kSizeBytes = 8;
// A BERT-large's header has 45 KB.
constexpr uint64_t kMaxHeaderBytes = 16 << 20;
constexpr size_t kMaxRank = 16;

struct DTypeWidth {
  absl::string_view name;
  int64_t bits;
};
constexpr std::array<DTypeWidth, 20> kDTypes = {{
    {"F64", 64},    {"F32", 32},    {"F16", 16},    {"BF16", 16},   {"F8_E4M3", 8},
    {"F8_E5M2", 8}, {"F8_E8M0", 8}, {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"F4", 4},
    {"I64", 64},    {"U64", 64},    {"I32", 32},    {"U32", 32},    {"I16", 16},
    {"U16", 16},    {"I8", 8},      {"U8", 8},      {"BOOL", 8},    {"C64", 64},
}};

std::optional<int64_t> BitsOf(absl::string_view dtype) {
  for (const DTypeWidth& known : kDTypes) {
    if (known.name == dtype) return known.bits;
  }
  return std::nullopt;
}

absl::Status Fault(absl::string_view fault) { return absl::InvalidArgumentError(fault); }

absl::Status TensorFault(absl::string_view tensor, absl::string_view fault) {
  return Fault(absl::StrCat("tensor ", Quoted(tensor), " ", fault));
}

// A non-negative integer that fits int64.
std::optional<int64_t> AsSize(const json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  const uint64_t number = value.get<uint64_t>();
  if (number > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
  return static_cast<int64_t>(number);
}

absl::Status ParseShape(absl::string_view tensor, const json& value, TensorEntry& entry) {
  const json* shape = FindField(value, "shape");
  if (shape == nullptr || !shape->is_array()) return TensorFault(tensor, "has no array \"shape\"");
  if (shape->size() > kMaxRank) return TensorFault(tensor, "has too many dimensions");
  entry.size = 1;
  for (const json& dimension : *shape) {
    const std::optional<int64_t> size = AsSize(dimension);
    if (!size.has_value()) {
      return TensorFault(tensor, absl::StrCat("has a \"shape\" with ", Excerpt(dimension),
                                              " where a size from 0 belongs"));
    }
    if (__builtin_mul_overflow(entry.size, *size, &entry.size)) {
      return TensorFault(tensor, "has a \"shape\" whose product overflows");
    }
    entry.shape.push_back(*size);
  }
  return absl::OkStatus();
}

// `data_offsets` count from the end of the header, at `data_start`.
absl::Status ParseOffsets(absl::string_view tensor, const json& value, int64_t data_start,
                          int64_t file_size, TensorEntry& entry) {
  const json* offsets = FindField(value, "data_offsets");
  if (offsets == nullptr || !offsets->is_array() || offsets->size() != 2) {
    return TensorFault(tensor, "has no \"data_offsets\" of two numbers");
  }
  const std::optional<int64_t> begin = AsSize((*offsets)[0]);
  const std::optional<int64_t> end = AsSize((*offsets)[1]);
  const int64_t data_bytes = file_size - data_start;
  if (!begin.has_value() || !end.has_value() || *begin > *end || *end > data_bytes) {
    return TensorFault(tensor, absl::StrCat("has \"data_offsets\" [", Excerpt((*offsets)[0]), ", ",
                                            Excerpt((*offsets)[1]), "] outside the file's ",
                                            data_bytes, " bytes of data (is the file complete?)"));
  }
  entry.begin = data_start + *begin;
  entry.end = data_start + *end;
  return absl::OkStatus();
}

absl::Status CheckByteSize(absl::string_view tensor, const TensorEntry& entry) {
  const std::optional<int64_t> bits_each = BitsOf(entry.dtype);
  if (!bits_each.has_value()) {
    return TensorFault(tensor, absl::StrCat("has the unknown dtype ", Quoted(entry.dtype)));
  }
  int64_t bits;
  if (__builtin_mul_overflow(entry.size, *bits_each, &bits) || bits % 8 != 0 ||
      bits / 8 != entry.end - entry.begin) {
    return TensorFault(tensor,
                       absl::StrCat("has ", entry.end - entry.begin, " bytes, which its shape of ",
                                    entry.size, " ", entry.dtype, " elements does not have"));
  }
  return absl::OkStatus();
}

absl::StatusOr<TensorEntry> ParseEntry(absl::string_view tensor, const json& value,
                                       int64_t data_start, int64_t file_size) {
  if (!value.is_object()) return TensorFault(tensor, "is not described by an object");
  TensorEntry entry;
  const json* dtype = FindField(value, "dtype");
  if (dtype == nullptr || !dtype->is_string()) return TensorFault(tensor, "has no \"dtype\"");
  entry.dtype = dtype->get<std::string>();
  absl::Status status = ParseShape(tensor, value, entry);
  if (status.ok()) status = ParseOffsets(tensor, value, data_start, file_size, entry);
  if (status.ok()) status = CheckByteSize(tensor, entry);
  if (!status.ok()) return status;
  return entry;
}

absl::Status CheckMetadata(const json& metadata) {
  if (!metadata.is_object()) return Fault("\"__metadata__\" is not an object");
  for (const auto& [key, value] : metadata.items()) {
    if (!value.is_string()) {
      return Fault(absl::StrCat("\"__metadata__\" holds ", Quoted(key), " that is not a string"));
    }
  }
  return absl::OkStatus();
}

// The tensors must cover the data exactly: bytes that belong to none or to two are a sign of a
// damaged file, or of one that means something else to another reader.
absl::Status CheckLayout(const std::map<std::string, TensorEntry, std::less<>>& entries,
                         int64_t data_start, int64_t file_size) {
  std::vector<std::pair<const TensorEntry*, absl::string_view>> by_offset;
  for (const auto& [name, entry] : entries) by_offset.emplace_back(&entry, name);
  std::sort(by_offset.begin(), by_offset.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first->begin, a.first->end) < std::pair(b.first->begin, b.first->end);
  });
  int64_t position = data_start;
  for (const auto& [entry, name] : by_offset) {
    if (entry->begin < position) return TensorFault(name, "overlaps the tensor before it");
    if (entry->begin > position) return TensorFault(name, "leaves a gap before it");
    position = entry->end;
  }
  if (position != file_size) {
    return Fault(absl::StrCat("has ", file_size - position, " bytes after the last tensor"));
  }
  return absl::OkStatus();
}

// Elements converted at a time.
constexpr size_t kChunk = 16384;

}  // namespace

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::string& directory,
                                                      const std::string& name) {
  absl::StatusOr<File> file = File::Open(directory, name);
  if (!file.ok()) return file.status();
  SafetensorsFile result(*std::move(file));
  absl::Status status = result.ReadHeader();
  if (!status.ok()) {
    return absl::Status(status.code(), absl::StrCat(name, ": ", status.message()));
  }
  return result;
}

absl::Status SafetensorsFile::ReadHeader() {
  uint64_t header_bytes = 0;
  if (file_.size() < kSizeBytes) return Fault("is too short for a safetensors file");
  absl::Status status = file_.ReadAt(0, std::as_writable_bytes(std::span(&header_bytes, 1)));
  if (!status.ok()) return status;
  const uint64_t available = static_cast<uint64_t>(file_.size() - kSizeBytes);
  if (header_bytes > available || header_bytes > kMaxHeaderBytes) {
    return Fault(absl::StrCat("announces a header of ", header_bytes, " bytes; the file has ",
                              available, " and ", kMaxHeaderBytes,
                              " are allowed (is it a complete safetensors file?)"));
  }
  std::string header(header_bytes, '\0');
  status = file_.ReadAt(kSizeBytes, std::as_writable_bytes(std::span(header)));
  if (!status.ok()) return status;

  absl::StatusOr<json> parsed = ParseJson(header);
  if (!parsed.ok()) return Fault(absl::StrCat("the header ", parsed.status().message()));
  if (!parsed->is_object()) return Fault("the header is not a JSON object");

  const int64_t data_start = kSizeBytes + static_cast<int64_t>(header_bytes);
  for (const auto& [name, value] : parsed->items()) {
    if (name == "__metadata__") {
      status = CheckMetadata(value);
      if (!status.ok()) return status;
      continue;
    }
    absl::StatusOr<TensorEntry> entry = ParseEntry(name, value, data_start, file_.size());
    if (!entry.ok()) return entry.status();
    entries_.emplace(name, *std::move(entry));
  }
  return CheckLayout(entries_, data_start, file_.size());
}

const TensorEntry* SafetensorsFile::Find(absl::string_view tensor) const {
  const auto it = entries_.find(std::string(tensor));
  return it == entries_.end() ? nullptr : &it->second;
}

bool SafetensorsFile::IsFloat(const TensorEntry& entry) {
  return entry.dtype == "F32" || entry.dtype == "F16" || entry.dtype == "BF16";
}

absl::Status SafetensorsFile::ReadFloats(const TensorEntry& entry, std::span<float> out) const {
  if (entry.dtype == "F32") return ReadBytes(entry, std::as_writable_bytes(out));
  const auto convert = entry.dtype == "F16" ? FloatFromF16 : FloatFromBF16;
  std::vector<uint16_t> raw(std::min(out.size(), kChunk));
  for (size_t done = 0; done < out.size(); done += kChunk) {
    const std::span<uint16_t> part(raw.data(), std::min(kChunk, out.size() - done));
    const int64_t offset = entry.begin + static_cast<int64_t>(done * sizeof(uint16_t));
    absl::Status status = file_.ReadAt(offset, std::as_writable_bytes(part));
    if (!status.ok()) return status;
    std::transform(part.begin(), part.end(), out.begin() + static_cast<ptrdiff_t>(done), convert);
  }
  return absl::OkStatus();
}

absl::Status SafetensorsFile::ReadBytes(const TensorEntry& entry, std::span<std::byte> out) const {
  return file_.ReadAt(entry.begin, out);
}

}  // namespace contextpool::engine
