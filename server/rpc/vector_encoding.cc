#include "server/rpc/vector_encoding.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>

#include "engine/base/float16.h"

namespace contextpool::server {
namespace {

constexpr float kLargestInt8 = 127;

template <uint16_t (*kConvert)(float)>
void AppendLittleEndian(std::span<const float> values, std::string& data) {
  data.reserve(values.size() * 2);
  for (const float value : values) {
    const uint16_t bits = kConvert(value);
    data.push_back(static_cast<char>(bits & 0xFF));
    data.push_back(static_cast<char>(bits >> 8));
  }
}

// Returns the scale.
float AppendInt8(std::span<const float> values, std::string& data) {
  float largest = 0;
  for (const float value : values) largest = std::max(largest, std::abs(value));
  const float scale = largest / kLargestInt8;
  data.reserve(values.size());
  for (const float value : values) {
    const float steps = scale == 0 ? 0 : std::nearbyint(value / scale);
    data.push_back(
        static_cast<char>(static_cast<int8_t>(std::clamp(steps, -kLargestInt8, kLargestInt8))));
  }
  return scale;
}

void AppendBits(std::span<const float> values, std::string& data) {
  data.assign((values.size() + 7) / 8, '\0');
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] > 0) data[i / 8] = static_cast<char>(data[i / 8] | (0x80 >> (i % 8)));
  }
}

}  // namespace

absl::Status EncodeVector(std::span<const float> values, v1::EmbeddingEncoding encoding,
                          v1::Embedding& embedding) {
  if (encoding == v1::EMBEDDING_ENCODING_UNSPECIFIED) encoding = v1::EMBEDDING_ENCODING_FLOAT32;
  embedding.set_encoding(encoding);
  embedding.set_dimensions(static_cast<uint32_t>(values.size()));
  embedding.set_vectors(1);
  switch (encoding) {
    case v1::EMBEDDING_ENCODING_FLOAT16:
      if (std::any_of(values.begin(), values.end(),
                      [](float value) { return std::abs(value) >= 65520.0F; })) {
        return absl::InvalidArgumentError(
            "options.encoding: a value of this vector is too large for FLOAT16; use FLOAT32,"
            " BFLOAT16 or options.normalize");
      }
      AppendLittleEndian<engine::F16FromFloat>(values, *embedding.mutable_data());
      break;
    case v1::EMBEDDING_ENCODING_BFLOAT16:
      AppendLittleEndian<engine::BF16FromFloat>(values, *embedding.mutable_data());
      break;
    case v1::EMBEDDING_ENCODING_INT8:
      embedding.add_scales(AppendInt8(values, *embedding.mutable_data()));
      break;
    case v1::EMBEDDING_ENCODING_BINARY:
      AppendBits(values, *embedding.mutable_data());
      break;
    default:
      embedding.mutable_values()->Add(values.begin(), values.end());
  }
  return absl::OkStatus();
}

}  // namespace contextpool::server
