#include "clients/cli/replace_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"

namespace contextpool::cli {
namespace {

absl::Status SystemError(absl::string_view what, const std::string& path) {
  return absl::UnavailableError(absl::StrCat("cannot ", what, " ", path, ": ", strerror(errno)));
}

bool WriteAll(int file, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    bytes.remove_prefix(written);
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

absl::Status ReplaceFile(const std::string& path, std::initializer_list<absl::string_view> parts) {
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
  const bool written = std::all_of(parts.begin(), parts.end(),
                                   [&](absl::string_view part) { return WriteAll(file, part); }) &&
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
