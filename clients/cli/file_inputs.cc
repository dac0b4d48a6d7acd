#include "clients/cli/file_inputs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "clients/cli/file_names.h"

namespace contextpool::cli {
namespace {

constexpr size_t kBlock = 1 << 16;

absl::Status TooLarge() {
  return absl::InvalidArgumentError(absl::StrCat("the file is larger than a message may be (",
                                                 FileInputs::kMaxFileBytes, " bytes)"));
}

absl::Status CannotRead(int error) { return absl::ErrnoToStatus(error, "cannot read the file"); }

// Appends what `read_some(buffer, size)` yields until it yields 0. False: it is too large.
template <typename ReadSome>
bool ReadToEnd(std::string& bytes, ReadSome read_some) {
  for (;;) {
    const size_t before = bytes.size();
    bytes.resize(before + kBlock);
    const size_t read = read_some(bytes.data() + before, kBlock);
    bytes.resize(before + read);
    if (bytes.size() > FileInputs::kMaxFileBytes) return false;
    if (read == 0) return true;
  }
}

absl::StatusOr<std::string> LoadStream(std::istream& stream) {
  std::string bytes;
  const bool fits = ReadToEnd(bytes, [&](char* buffer, size_t size) {
    stream.read(buffer, static_cast<std::streamsize>(size));
    return static_cast<size_t>(stream.gcount());
  });
  if (!fits) return TooLarge();
  if (stream.bad()) return absl::UnavailableError("cannot read the standard input");
  return bytes;
}

absl::StatusOr<std::string> LoadFile(const std::string& name, size_t expected_bytes) {
  const int file = open(name.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return CannotRead(errno);
  const absl::Cleanup close_file = [&] { close(file); };
  std::string bytes;
  bytes.reserve(expected_bytes + kBlock);
  int error = 0;
  const bool fits = ReadToEnd(bytes, [&](char* buffer, size_t size) -> size_t {
    ssize_t result = 0;
    do {
      result = read(file, buffer, size);
    } while (result < 0 && errno == EINTR);
    error = result < 0 ? errno : 0;
    return static_cast<size_t>(std::max<ssize_t>(result, 0));
  });
  if (!fits) return TooLarge();
  if (error != 0) return CannotRead(error);
  return bytes;
}

size_t BytesOf(const std::string& name) {
  if (name == kStandardInputName) return FileInputs::kMaxFileBytes;
  struct stat facts {};
  if (stat(name.c_str(), &facts) != 0 || S_ISDIR(facts.st_mode)) return 0;
  return S_ISREG(facts.st_mode) ? static_cast<size_t>(facts.st_size) : FileInputs::kMaxFileBytes;
}

}  // namespace

FileInputs::FileInputs(std::vector<std::string> names, std::istream& standard_input)
    : InputList(std::move(names)), standard_input_(standard_input) {
  bytes_.reserve(size());
  for (size_t i = 0; i < size(); ++i) bytes_.push_back(BytesOf(name(i)));
}

absl::StatusOr<std::string> FileInputs::Load(size_t i) {
  if (name(i) == kStandardInputName) return LoadStream(standard_input_);
  if (bytes_[i] > kMaxFileBytes) return TooLarge();
  const bool known = bytes_[i] < kMaxFileBytes;
  return LoadFile(name(i), known ? bytes_[i] : 0);
}

}  // namespace contextpool::cli
