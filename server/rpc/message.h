// Requests from the raw bytes of a call, and replies back into them.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"
#include "grpcpp/support/byte_buffer.h"

namespace contextpool::server {

// INVALID_ARGUMENT: not a message of this type, or a text field that is not UTF-8, which is named
// with its index, for example "inputs[3].text".
absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message& message);

// How many values of a field of the outermost message there are, up to where the bytes are
// malformed. Parses nothing: a few bytes of a message can become many in memory.
int64_t CountValues(const grpc::ByteBuffer& bytes, int field_number);

// INTERNAL: larger than a message can be.
absl::Status SerializeMessage(const google::protobuf::Message& message, grpc::ByteBuffer& bytes);

// The bytes of a message in which only the message field `field_number` is set.
grpc::ByteBuffer WrapMessage(int field_number, const grpc::ByteBuffer& field);

// The path of the first string field of `bytes` that is not UTF-8; empty if there is none or if
// the bytes are malformed before it.
std::string FindInvalidUtf8(absl::string_view bytes,
                            const google::protobuf::Descriptor& descriptor);

bool IsValidUtf8(absl::string_view text);

}  // namespace contextpool::server
