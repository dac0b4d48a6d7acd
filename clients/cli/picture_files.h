// The files that --explain=FILE writes.
#pragma once

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "clients/cli/inputs.h"
#include "contextpool/v1/types.pb.h"

namespace contextpool::cli {

class PictureFiles {
 public:
  // `file`: a name with an extension. `inputs` must outlive the object.
  PictureFiles(std::string file, const InputList& inputs);

  // The file itself, or where there are several inputs "out-3.png" for input 3 and "out.png".
  std::string PathOf(size_t index) const;

  // INVALID_ARGUMENT: a picture would replace one of the inputs.
  absl::Status Check() const;

  // Draws the explanation over the image whose file's bytes are `image`, and writes it.
  //
  // Any error: there is no picture; the message says why.
  absl::Status Write(size_t index, absl::string_view image,
                     const v1::Explanation& explanation) const;

 private:
  const std::string file_;
  const InputList& inputs_;
};

}  // namespace contextpool::cli
