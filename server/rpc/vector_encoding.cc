#include "server/rpc/vector_encoding.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

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

uint16_t ToBFloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

uint16_t ToFloat16(float value) {
  const uint16_t sign = static_cast<uint16_t>((std::bit_cast<uint32_t>(value) >> 16) & 0x8000);
  const float magnitude = std::abs(value);
  // From here on everything rounds to infinity.
  if (magnitude >= 65520.0F) return sign | 0x7C00;
  // Steps of the subnormal numbers; a result of 1,024 is the smallest normal number's bits.
  if (magnitude < 0x1p-14F) {
    return sign | static_cast<uint16_t>(std::nearbyint(magnitude * 0x1p24F));
  }
  const uint32_t bits = std::bit_cast<uint32_t>(magnitude) - (112U << 23);
  return sign | static_cast<uint16_t>((bits + 0xFFF + ((bits >> 13) & 1)) >> 13);
}

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
      AppendLittleEndian<ToFloat16>(values, *embedding.mutable_data());
      break;
    case v1::EMBEDDING_ENCODING_BFLOAT16:
      AppendLittleEndian<ToBFloat16>(values, *embedding.mutable_data());
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
