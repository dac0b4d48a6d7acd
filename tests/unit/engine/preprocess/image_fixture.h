// Image files for the tests: the golden ones, and PNG files written here.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "engine/preprocess/image_buffer.h"
#include "nlohmann/json.hpp"

namespace contextpool::engine {

inline std::filesystem::path GoldenImages() {
  const char* source = std::getenv("CONTEXTPOOL_SOURCE_DIR");
  if (source == nullptr) {
    throw std::runtime_error("CONTEXTPOOL_SOURCE_DIR must name the checkout, as ctest has it");
  }
  return std::filesystem::path(source) / "tests/golden/images";
}

inline std::string ReadGolden(const std::string& name) {
  std::ifstream file(GoldenImages() / name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

inline nlohmann::json GoldenJson(const std::string& name) {
  return nlohmann::json::parse(ReadGolden(name));
}

// The image files among the golden ones, sorted by name.
inline std::vector<std::string> GoldenImageNames() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(GoldenImages())) {
    if (entry.path().extension() != ".json") names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// The pixels that make_image_golden.py makes by the same name.
inline std::vector<uint8_t> Noise(int32_t width, int32_t height) {
  std::vector<uint8_t> bytes(size_t{3} * width * height);
  uint32_t state = static_cast<uint32_t>(width) * 65536 + height;
  for (uint8_t& byte : bytes) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<uint8_t>(state >> 24);
  }
  return bytes;
}

inline Pixels NoisePixels(int32_t width, int32_t height) {
  Pixels pixels;
  const std::vector<uint8_t> noise = Noise(width, height);
  std::copy(noise.begin(), noise.end(), pixels.Resize(width, height));
  return pixels;
}

// As zlib's crc32.
inline uint32_t Crc32(const uint8_t* bytes, size_t size) {
  uint32_t crc = ~0u;
  for (size_t i = 0; i < size; ++i) {
    crc ^= bytes[i];
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc;
}

inline std::string BigEndian32(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(value >> shift));
  return bytes;
}

inline std::string PngChunk(const std::string& name, const std::string& content) {
  const std::string body = name + content;
  return BigEndian32(content.size()) + body +
         BigEndian32(Crc32(reinterpret_cast<const uint8_t*>(body.data()), body.size()));
}

inline std::string PngHeader(uint32_t width, uint32_t height, uint8_t depth = 8,
                             uint8_t colour_type = 2) {
  return PngChunk("IHDR", BigEndian32(width) + BigEndian32(height) +
                              std::string{static_cast<char>(depth), static_cast<char>(colour_type),
                                          '\0', '\0', '\0'});
}

inline const std::string& PngSignature() {
  static const auto& signature = *new std::string("\x89PNG\r\n\x1a\n");
  return signature;
}

// `bytes` as a zlib stream that is not compressed.
inline std::string Stored(const std::string& bytes) {
  std::string out = "\x78\x01";
  uint32_t a = 1, b = 0;
  for (const char byte : bytes) {
    a = (a + static_cast<uint8_t>(byte)) % 65521;
    b = (b + a) % 65521;
  }
  for (size_t at = 0; at == 0 || at < bytes.size(); at += 65535) {
    const size_t size = std::min<size_t>(bytes.size() - at, 65535);
    out.push_back(at + size == bytes.size() ? 1 : 0);
    for (const size_t value : {size, ~size}) {
      out.push_back(static_cast<char>(value));
      out.push_back(static_cast<char>(value >> 8));
    }
    out += bytes.substr(at, size);
  }
  return out + BigEndian32(b << 16 | a);
}

// [height, width, 3] as a PNG file.
inline std::string Png(const std::vector<uint8_t>& rgb, int32_t width, int32_t height) {
  std::string rows;
  for (int32_t y = 0; y < height; ++y) {
    rows.push_back('\0');
    rows.append(reinterpret_cast<const char*>(&rgb[size_t{3} * y * width]), size_t{3} * width);
  }
  return PngSignature() + PngHeader(width, height) + PngChunk("IDAT", Stored(rows)) +
         PngChunk("IEND", "");
}

}  // namespace contextpool::engine
