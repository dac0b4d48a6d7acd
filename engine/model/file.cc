#include "engine/model/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"

namespace contextpool::engine {

absl::StatusOr<File> File::Open(const std::string& directory, const std::string& name) {
  const std::string path = absl::StrCat(directory, "/", name);
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat(name, ": cannot be opened"));
  }
  File file(descriptor, 0, name);
  struct stat properties;
  if (::fstat(descriptor, &properties) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat(name, ": cannot be examined"));
  }
  if (!S_ISREG(properties.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": is not a regular file"));
  }
  file.size_ = properties.st_size;
  return file;
}

File::File(File&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      size_(other.size_),
      name_(std::move(other.name_)) {}

File& File::operator=(File&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  std::swap(name_, other.name_);
  return *this;
}

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

absl::Status File::ReadAt(int64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t count = ::pread(descriptor_, out.data(), out.size(), offset);
    if (count < 0) {
      if (errno == EINTR) continue;
      return absl::ErrnoToStatus(errno, absl::StrCat(name_, ": cannot be read"));
    }
    if (count == 0) {
      return absl::DataLossError(
          absl::StrCat(name_, ": ends at byte ", offset, ", before the data that it announces"));
    }
    offset += count;
    out = out.subspan(static_cast<size_t>(count));
  }
  return absl::OkStatus();
}

absl::Status InFile(const absl::Status& status, absl::string_view file) {
  return absl::Status(status.code(), absl::StrCat(file, ": ", status.message()));
}

absl::StatusOr<std::string> ReadWholeFile(const std::string& directory, const std::string& name,
                                          int64_t max_bytes) {
  absl::StatusOr<File> file = File::Open(directory, name);
  if (!file.ok()) return file.status();
  if (file->size() > max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": has ", file->size(),
                                                   " bytes, more than the ", max_bytes,
                                                   " that such a file may have"));
  }
  std::string content(static_cast<size_t>(file->size()), '\0');
  absl::Status status = file->ReadAt(0, std::as_writable_bytes(std::span(content)));
  if (!status.ok()) return status;
  return content;
}

absl::StatusOr<std::string> ReadConfigFile(const std::string& directory, const std::string& name) {
  constexpr int64_t kMaxBytes = 16 << 20;
  return ReadWholeFile(directory, name, kMaxBytes);
}

}  // namespace contextpool::engine
