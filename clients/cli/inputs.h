// The inputs of a run: where they come from, and how they are cut into requests.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace contextpool::cli {

// Where inputs come from.
struct InputSource {
  enum class Kind {
    kArgument,       // a word of the command line: a text, or the name of an image file
    kStandardInput,  // "-" among them: texts, one a line, or one image
    kFile,           // --input: a file with one text, or one name of an image file, a line
  };
  Kind kind = Kind::kArgument;
  // The word, or the file's name; the file "-" is the standard input.
  std::string value;

  bool is_standard_input() const {
    return kind == Kind::kStandardInput || (kind == Kind::kFile && value == "-");
  }
};

// Bounds of one request, small enough for a server's defaults and for several in flight.
struct RequestLimits {
  size_t max_inputs = 256;
  size_t max_bytes = 1 << 20;
};

// Texts, or image files.
class InputList {
 public:
  explicit InputList(std::vector<std::string> names) : names_(std::move(names)) {}
  virtual ~InputList() = default;
  InputList(const InputList&) = delete;
  InputList& operator=(const InputList&) = delete;

  size_t size() const { return names_.size(); }
  // What stands for an input where results are shown: the text itself, or the file's name.
  const std::string& name(size_t i) const { return names_[i]; }

  virtual bool are_images() const = 0;
  virtual RequestLimits limits() const = 0;
  // What input i adds to a request, as far as is known before it is loaded.
  virtual size_t bytes(size_t i) const = 0;
  // What a request carries for input i: UTF-8 text, or the bytes of an image file. An error is that
  // of this input alone.
  virtual absl::StatusOr<std::string> Load(size_t i) = 0;

 private:
  const std::vector<std::string> names_;
};

// The inputs [first, first + count).
struct Chunk {
  size_t first = 0;
  size_t count = 0;

  size_t end() const { return first + count; }
};

// Covers all inputs in order. Every chunk keeps the list's limits, or is a single input.
std::vector<Chunk> PlanRequests(const InputList& inputs);

// An input that cannot be sent.
struct Refusal {
  size_t index = 0;
  absl::Status status;
};

}  // namespace contextpool::cli
