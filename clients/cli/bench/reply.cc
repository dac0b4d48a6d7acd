#include "clients/cli/bench/reply.h"

#include "grpcpp/support/proto_buffer_reader.h"

namespace contextpool::cli::bench {
namespace {

template <typename Response>
bool ReadAs(grpc::ByteBuffer& bytes, Response& response, ReplyFacts& facts) {
  grpc::ProtoBufferReader reader(&bytes);
  if (!reader.status().ok() || !response.ParseFromZeroCopyStream(&reader)) return false;
  facts = {};
  for (const auto& result : response.results()) {
    ++(result.has_error() ? facts.failed_inputs : facts.inputs);
    facts.tokens += result.usage().tokens_used();
  }
  facts.queue = Nanoseconds(response.timing().queue_ns());
  facts.compute = Nanoseconds(response.timing().compute_ns());
  facts.total = Nanoseconds(response.timing().total_ns());
  return true;
}

}  // namespace

bool ReplyReader::Read(grpc::ByteBuffer& bytes, ReplyFacts& facts) {
  return task_ == LoadTask::kEmbed ? ReadAs(bytes, embed_, facts) : ReadAs(bytes, classify_, facts);
}

const v1::ModelRef& ReplyReader::model() const {
  return task_ == LoadTask::kEmbed ? embed_.model() : classify_.model();
}

}  // namespace contextpool::cli::bench
