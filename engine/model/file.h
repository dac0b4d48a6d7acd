// Read-only access to one file of a model directory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace contextpool::engine {

// Reads with pread: a file that is truncated or replaced meanwhile is an error, never a signal as
// with a mapping. Errors name the file as the model directory does ("1_Pooling/config.json").
class File {
 public:
  // NOT_FOUND: no such file. Only regular files (or links to them) open; a pipe does not block.
  static absl::StatusOr<File> Open(const std::string& directory, const std::string& name);

  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  // Bytes, when it was opened.
  int64_t size() const { return size_; }
  const std::string& name() const { return name_; }

  // Fills `out` from `offset`. DATA_LOSS if the file ends before.
  absl::Status ReadAt(int64_t offset, std::span<std::byte> out) const;

 private:
  File(int descriptor, int64_t size, std::string name)
      : descriptor_(descriptor), size_(size), name_(std::move(name)) {}

  int descriptor_ = -1;
  int64_t size_ = 0;
  std::string name_;
};

// `status` with the file in front of its message.
absl::Status InFile(const absl::Status& status, absl::string_view file);

// The whole content of a file of at most `max_bytes`. Larger ones are INVALID_ARGUMENT.
absl::StatusOr<std::string> ReadWholeFile(const std::string& directory, const std::string& name,
                                          int64_t max_bytes);

// The same of a configuration file: at most 16 MiB, enough for the labels of any classifier and a
// tokenizer_config.json with every added token.
absl::StatusOr<std::string> ReadConfigFile(const std::string& directory, const std::string& name);

// What says which architecture a checkpoint is of.
inline constexpr char kConfigFile[] = "config.json";

// What `parse`, from its content to an absl::StatusOr, makes of a configuration file; its errors
// get the file in front.
template <typename Parse>
auto ParseConfigFile(const std::string& directory, const std::string& name, Parse parse)
    -> decltype(parse(absl::string_view())) {
  const absl::StatusOr<std::string> text = ReadConfigFile(directory, name);
  if (!text.ok()) return text.status();
  auto parsed = parse(*text);
  if (!parsed.ok()) return InFile(parsed.status(), name);
  return parsed;
}

}  // namespace contextpool::engine
