// Image files as inputs.
#pragma once

#include <cstddef>
#include <istream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "clients/cli/inputs.h"

namespace contextpool::cli {

// Files that are looked at when the object is made, for their sizes, and read when they are loaded,
// so that a run of any number of them takes little memory.
class FileInputs : public InputList {
 public:
  // The largest message that a server takes by default, less room for the rest of a request.
  static constexpr size_t kMaxFileBytes = (64 << 20) - (1 << 10);

  // `names`: see NameFiles. `standard_input` is read for kStandardInputName and must outlive the
  // object.
  FileInputs(std::vector<std::string> names, std::istream& standard_input);

  bool are_images() const override { return true; }
  // Fewer than texts: each takes the server longer.
  RequestLimits limits() const override { return {.max_inputs = 32, .max_bytes = 2 << 20}; }
  // kMaxFileBytes where the size is not known beforehand, as for pipes; 0 where there is no file.
  size_t bytes(size_t i) const override { return bytes_[i]; }
  // The file's bytes. INVALID_ARGUMENT: it is larger than a message. Any other error: the system
  // refused.
  absl::StatusOr<std::string> Load(size_t i) override;

 private:
  std::istream& standard_input_;
  std::vector<size_t> bytes_;
};

}  // namespace contextpool::cli
