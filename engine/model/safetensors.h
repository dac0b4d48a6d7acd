// The safetensors format (https://github.com/huggingface/safetensors): 8 bytes of header size, a
// JSON header that says where each tensor lies, then the tensors' bytes without a gap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/model/file.h"

namespace contextpool::engine {

// What the header says of one tensor.
struct TensorEntry {
  // As the file spells it: "F32", "BF16", "I64", ...
  std::string dtype;
  std::vector<int64_t> shape;
  // Elements: the product of `shape`.
  int64_t size = 0;
  // Where its bytes lie in the file.
  int64_t begin = 0;
  int64_t end = 0;
};

// Trusts nothing: after Open every entry lies inside the file, none overlap, and each has exactly
// the bytes that its shape and dtype need.
class SafetensorsFile {
 public:
  // Reads and validates the header. INVALID_ARGUMENT names the file, the tensor and the fault.
  static absl::StatusOr<SafetensorsFile> Open(const std::string& directory,
                                              const std::string& name);

  const std::string& name() const { return file_.name(); }
  const std::map<std::string, TensorEntry, std::less<>>& entries() const { return entries_; }

  // Null if there is no such tensor.
  const TensorEntry* Find(absl::string_view tensor) const;

  // Whether ReadFloats can convert this tensor.
  static bool IsFloat(const TensorEntry& entry);

  // The tensor's values as float32, exactly. REQUIRES: `entry` is of this file, IsFloat(entry) and
  // out.size() == entry.size.
  absl::Status ReadFloats(const TensorEntry& entry, std::span<float> out) const;

  // The tensor's bytes as they are. REQUIRES: out.size() == entry.end - entry.begin.
  absl::Status ReadBytes(const TensorEntry& entry, std::span<std::byte> out) const;

 private:
  explicit SafetensorsFile(File file) : file_(std::move(file)) {}

  absl::Status ReadHeader();

  File file_;
  std::map<std::string, TensorEntry, std::less<>> entries_;
};

}  // namespace contextpool::engine
