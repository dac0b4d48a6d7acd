#include "clients/cli/npy.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace contextpool::cli {
namespace {

static_assert(std::endian::native == std::endian::little, "the numbers are written as they are");

absl::Status SystemError(absl::string_view what, const std::string& path) {
  return absl::UnavailableError(absl::StrCat("cannot ", what, " ", path, ": ", strerror(errno)));
}

bool WriteAll(int file, const char* data, size_t size) {
  while (size > 0) {
    const ssize_t written = write(file, data, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    data += written;
    size -= written;
  }
  return true;
}

// What a newly created file's permissions are.
mode_t DefaultMode() {
  const mode_t mask = umask(0);
  umask(mask);
  return 0666 & ~mask;
}

}  // namespace

std::string NpyHeader(size_t rows, size_t columns) {
  constexpr size_t kAlignment = 64;
  constexpr size_t kPreamble = 10;  // magic, version, length
  std::string dict = absl::StrCat("{'descr': '<f4', 'fortran_order': False, 'shape': (", rows, ", ",
                                  columns, "), }");
  const size_t used = kPreamble + dict.size() + 1;
  dict.append((kAlignment - used % kAlignment) % kAlignment, ' ');
  dict.push_back('\n');
  std::string header("\x93NUMPY\x01\x00", 8);
  header.push_back(static_cast<char>(dict.size() & 0xFF));
  header.push_back(static_cast<char>(dict.size() >> 8));
  return header + dict;
}

absl::Status WriteNpy(const std::string& path, size_t rows, size_t columns,
                      std::span<const float> values) {
  std::error_code ignored;
  // Follow a link, so that the file it names is replaced and not the link.
  const std::filesystem::path resolved = std::filesystem::weakly_canonical(path, ignored);
  const std::string target = ignored ? path : resolved.string();
  if (std::filesystem::exists(target, ignored) &&
      !std::filesystem::is_regular_file(target, ignored)) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is not a regular file: name a file to create or replace"));
  }
  std::string temporary = target + ".XXXXXX";
  const int file = mkstemp(temporary.data());
  if (file < 0) return SystemError("create", temporary);
  absl::Cleanup remove = [&] { unlink(temporary.c_str()); };
  const std::string header = NpyHeader(rows, columns);
  const bool written =
      WriteAll(file, header.data(), header.size()) &&
      WriteAll(file, reinterpret_cast<const char*>(values.data()), values.size_bytes()) &&
      fchmod(file, DefaultMode()) == 0 && fsync(file) == 0;
  const int write_error = errno;
  if (close(file) != 0 || !written) {
    errno = written ? errno : write_error;
    return SystemError("write", temporary);
  }
  if (rename(temporary.c_str(), target.c_str()) != 0) return SystemError("replace", target);
  std::move(remove).Cancel();
  return absl::OkStatus();
}

}  // namespace contextpool::cli
