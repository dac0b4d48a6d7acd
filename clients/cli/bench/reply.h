// What a load test wants to know of a reply.
#pragma once

#include <cstdint>

#include "clients/cli/bench/load_options.h"
#include "contextpool/v1/classification.pb.h"
#include "contextpool/v1/embedding.pb.h"
#include "grpcpp/support/byte_buffer.h"

namespace contextpool::cli::bench {

struct ReplyFacts {
  // Inputs that have a result, and those that failed inside the reply.
  uint32_t inputs = 0;
  uint32_t failed_inputs = 0;
  // Tokens that the model read, as the server counted them.
  uint64_t tokens = 0;
  // The server's own times.
  Nanoseconds queue{0};
  Nanoseconds compute{0};
  Nanoseconds total{0};
};

// Reads replies into messages that are used again, since most of a reply's cost is memory.
class ReplyReader {
 public:
  explicit ReplyReader(LoadTask task) : task_(task) {}

  // False if the bytes are no reply to the task.
  bool Read(grpc::ByteBuffer& bytes, ReplyFacts& facts);

  // The model that answered, of the last reply read.
  const v1::ModelRef& model() const;

 private:
  const LoadTask task_;
  v1::EmbedResponse embed_;
  v1::ClassifyResponse classify_;
};

}  // namespace contextpool::cli::bench
