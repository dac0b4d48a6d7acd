#include "server/rpc/message.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"
#include "grpcpp/impl/codegen/proto_utils.h"
#include "grpcpp/support/proto_buffer_reader.h"
#include "grpcpp/support/proto_buffer_writer.h"

namespace contextpool::server {
namespace {

using ::google::protobuf::Descriptor;
using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::internal::WireFormatLite;
using ::google::protobuf::io::CodedInputStream;
using ::google::protobuf::io::CodedOutputStream;

// Deeper than any message of the API nests.
constexpr int kDeepest = 16;

std::string FindIn(absl::string_view bytes, const Descriptor& descriptor, int depth) {
  CodedInputStream input(reinterpret_cast<const uint8_t*>(bytes.data()),
                         static_cast<int>(bytes.size()));
  std::vector<int> seen(descriptor.field_count());  // values so far, by field
  while (const uint32_t tag = input.ReadTag()) {
    const FieldDescriptor* field =
        descriptor.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
    if (field == nullptr ||
        WireFormatLite::GetTagWireType(tag) != WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      if (!WireFormatLite::SkipField(&input, tag)) return "";
      continue;
    }
    const int index = seen[field->index()]++;
    uint32_t size = 0;
    if (!input.ReadVarint32(&size)) return "";
    const size_t start = static_cast<size_t>(input.CurrentPosition());
    if (!input.Skip(static_cast<int>(size))) return "";
    const absl::string_view value = bytes.substr(start, size);
    std::string name =
        field->is_repeated() ? absl::StrCat(field->name(), "[", index, "]") : field->name();
    if (field->type() == FieldDescriptor::TYPE_STRING && !IsValidUtf8(value)) return name;
    if (field->type() == FieldDescriptor::TYPE_MESSAGE && depth < kDeepest) {
      const std::string inner = FindIn(value, *field->message_type(), depth + 1);
      if (!inner.empty()) return absl::StrCat(name, ".", inner);
    }
  }
  return "";
}

std::string Flatten(const grpc::ByteBuffer& bytes) {
  std::vector<grpc::Slice> slices;
  std::string flat;
  if (!bytes.Dump(&slices).ok()) return flat;
  flat.reserve(bytes.Length());
  for (const grpc::Slice& slice : slices) {
    flat.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return flat;
}

}  // namespace

bool IsValidUtf8(absl::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  for (size_t i = 0; i < text.size();) {
    const unsigned char lead = byte(i);
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const size_t size = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || i + size > text.size()) return false;
    for (size_t k = 1; k < size; ++k) {
      if ((byte(i + k) & 0xC0) != 0x80) return false;
    }
    // Overlong forms, surrogates and values past U+10FFFF show in the second byte.
    const unsigned char second = byte(i + 1);
    if ((lead == 0xE0 && second < 0xA0) || (lead == 0xED && second > 0x9F) ||
        (lead == 0xF0 && second < 0x90) || (lead == 0xF4 && second > 0x8F)) {
      return false;
    }
    i += size;
  }
  return true;
}

std::string FindInvalidUtf8(absl::string_view bytes, const Descriptor& descriptor) {
  return FindIn(bytes, descriptor, 0);
}

int64_t CountValues(const grpc::ByteBuffer& bytes, int field_number) {
  grpc::ProtoBufferReader reader(const_cast<grpc::ByteBuffer*>(&bytes));
  if (!reader.status().ok()) return 0;
  CodedInputStream input(&reader);
  int64_t count = 0;
  while (const uint32_t tag = input.ReadTag()) {
    if (WireFormatLite::GetTagFieldNumber(tag) == field_number) ++count;
    if (!WireFormatLite::SkipField(&input, tag)) break;
  }
  return count;
}

absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message& message) {
  // The reader takes a reference only; it does not change the buffer.
  grpc::ProtoBufferReader reader(const_cast<grpc::ByteBuffer*>(&bytes));
  if (reader.status().ok() && message.ParseFromZeroCopyStream(&reader)) return absl::OkStatus();
  const std::string field = FindInvalidUtf8(Flatten(bytes), *message.GetDescriptor());
  if (!field.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(field, ": the text is not valid UTF-8"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("malformed message: the bytes are not a ", message.GetDescriptor()->full_name(),
                   "; is the client made from this API's .proto files?"));
}

absl::Status SerializeMessage(const google::protobuf::Message& message, grpc::ByteBuffer& bytes) {
  bool own_buffer = false;
  const grpc::Status status =
      grpc::GenericSerialize<grpc::ProtoBufferWriter, google::protobuf::Message>(message, &bytes,
                                                                                 &own_buffer);
  if (status.ok()) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("the reply could not be serialised: ", status.error_message()));
}

grpc::ByteBuffer WrapMessage(int field_number, const grpc::ByteBuffer& field) {
  constexpr size_t kLongestHeader = 10;
  uint8_t header[kLongestHeader];
  const uint32_t tag =
      WireFormatLite::MakeTag(field_number, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
  uint8_t* end = CodedOutputStream::WriteVarint32ToArray(tag, header);
  end = CodedOutputStream::WriteVarint32ToArray(static_cast<uint32_t>(field.Length()), end);
  std::vector<grpc::Slice> content;
  std::vector<grpc::Slice> slices = {grpc::Slice(header, end - header)};
  // A buffer that was never filled holds nothing.
  if (field.Dump(&content).ok()) slices.insert(slices.end(), content.begin(), content.end());
  return grpc::ByteBuffer(slices.data(), slices.size());
}

}  // namespace contextpool::server
