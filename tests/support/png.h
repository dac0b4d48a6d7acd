// Small PNG files, made without the library under test.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace contextpool::testing {

// PNG's checksum: CRC-32 of ISO 3309.
inline uint32_t PngCrc(const std::string& bytes) {
  uint32_t crc = 0xFFFFFFFF;
  for (const unsigned char byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320 : 0);
  }
  return ~crc;
}

inline std::string PngNumber(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(value >> shift));
  return bytes;
}

inline std::string PngChunk(const std::string& type, const std::string& data) {
  return PngNumber(static_cast<uint32_t>(data.size())) + type + data +
         PngNumber(PngCrc(type + data));
}

// All pixels have one colour; the compressed data is one block that is stored as it is.
// REQUIRES: height * (3 * width + 1) < 65536.
inline std::string Png(uint32_t width, uint32_t height, std::array<uint8_t, 3> color) {
  std::string rows;
  for (uint32_t y = 0; y < height; ++y) {
    rows.push_back(0);  // not filtered
    for (uint32_t x = 0; x < width; ++x) rows.append(color.begin(), color.end());
  }
  uint32_t a = 1;
  uint32_t b = 0;
  for (const unsigned char byte : rows) {
    a = (a + byte) % 65521;
    b = (b + a) % 65521;
  }
  const auto size = static_cast<uint16_t>(rows.size());
  std::string stored("\x78\x01\x01", 3);
  for (const uint16_t half : {size, static_cast<uint16_t>(~size)}) {
    stored.push_back(static_cast<char>(half));
    stored.push_back(static_cast<char>(half >> 8));
  }
  const std::string header =
      PngNumber(width) + PngNumber(height) + std::string("\x08\x02\x00\x00\x00", 5);
  return "\x89PNG\r\n\x1a\n" + PngChunk("IHDR", header) +
         PngChunk("IDAT", stored + rows + PngNumber(b << 16 | a)) + PngChunk("IEND", "");
}

}  // namespace contextpool::testing
