#include "clients/cli/picture_files.h"

#include <sys/stat.h>

#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "clients/cli/grid_picture.h"
#include "clients/cli/replace_file.h"

namespace contextpool::cli {
namespace {

// What a file is, whatever it is called.
using Identity = std::pair<dev_t, ino_t>;

std::optional<Identity> Identify(const std::string& path) {
  struct stat facts {};
  if (stat(path.c_str(), &facts) != 0) return std::nullopt;
  return Identity(facts.st_dev, facts.st_ino);
}

}  // namespace

PictureFiles::PictureFiles(std::string file, const InputList& inputs)
    : file_(std::move(file)), inputs_(inputs) {}

std::string PictureFiles::PathOf(size_t index) const {
  if (inputs_.size() == 1) return file_;
  const size_t dot = file_.rfind('.');
  return absl::StrCat(file_.substr(0, dot), "-", index, file_.substr(dot));
}

absl::Status PictureFiles::Check() const {
  std::set<Identity> replaced;
  for (size_t i = 0; i < inputs_.size(); ++i) {
    if (const auto identity = Identify(PathOf(i))) replaced.insert(*identity);
  }
  for (size_t i = 0; i < inputs_.size() && !replaced.empty(); ++i) {
    const auto identity = Identify(inputs_.name(i));
    if (!identity || !replaced.contains(*identity)) continue;
    return absl::InvalidArgumentError(absl::StrCat("--explain=", file_, " would replace the input ",
                                                   inputs_.name(i), ": name another file"));
  }
  return absl::OkStatus();
}

absl::Status PictureFiles::Write(size_t index, absl::string_view image,
                                 const v1::Explanation& explanation) const {
  const absl::StatusOr<std::string> picture = DrawPicture(image, explanation);
  return picture.ok() ? ReplaceFile(PathOf(index), {*picture}) : picture.status();
}

}  // namespace contextpool::cli
