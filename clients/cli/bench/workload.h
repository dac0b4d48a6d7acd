// The requests of a load, ready to be sent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "clients/cli/options.h"
#include "grpcpp/support/byte_buffer.h"

namespace contextpool::cli::bench {

// Requests that carry `batch` texts each, in the texts' order and from the start again at their
// end. Every request is serialised once, whatever the number of calls that send it.
//
// Thread safe: nothing changes after construction.
class Workload {
 public:
  // Made-up texts, or `file_texts` (shuffled where the options say so) if there are any.
  //
  // INVALID_ARGUMENT: a text is not valid UTF-8.
  static absl::StatusOr<Workload> Make(const Options& options, std::vector<std::string> file_texts);

  // The full name of the method, as in the path of an HTTP/2 request.
  const char* method() const { return method_; }
  // The request number `index`, which may be any number. No text is copied.
  grpc::ByteBuffer Request(uint64_t index, bool bulk) const;

  size_t texts() const { return texts_; }
  // The server may answer equal texts that are in flight with one computation.
  size_t distinct_texts() const { return distinct_texts_; }

 private:
  Workload() = default;
  void Serialise(const Options& options, std::vector<std::string> texts);

  const char* method_ = nullptr;
  std::vector<grpc::Slice> requests_;
  // What a bulk request ends with.
  grpc::Slice bulk_suffix_;
  size_t texts_ = 0;
  size_t distinct_texts_ = 0;
};

}  // namespace contextpool::cli::bench
