// Decoded pixels against Pillow's: tests/golden/make_image_golden.py.
#include "engine/preprocess/image_decoder.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/escaping.h"
#include "engine/preprocess/image_rows.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/preprocess/image_fixture.h"

namespace contextpool::engine {
namespace {

// RGB bytes, or the status.
absl::StatusOr<std::string> Decode(const std::string& file, uint8_t poison = 0) {
  absl::StatusOr<ImageFile> image = ParseImageFile(file, {});
  if (!image.ok()) return image.status();
  DecodeScratch scratch;
  Pixels pixels;
  for (ByteBuffer* buffer : {&scratch.file, &scratch.pixels.bytes, &pixels.bytes}) {
    std::fill_n(buffer->Resize(1 << 16), 1 << 16, poison);
  }
  if (absl::Status status = DecodeImage(*image, scratch, pixels); !status.ok()) return status;
  PlainRows().swap_channels(pixels.bytes.data(), pixels.bytes.size() / 3);
  return std::string(reinterpret_cast<const char*>(pixels.bytes.data()), pixels.bytes.size());
}

int LargestDifference(const std::string& a, const std::string& b) {
  int largest = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<uint8_t>(a[i]) - static_cast<uint8_t>(b[i])));
  }
  return largest;
}

// What a decoder may differ by from Pillow's: nothing, but for the kinds below.
int ToleranceOf(const std::string& name) {
  // OpenCV and Pillow round the conversion from CMYK in different ways.
  if (name == "cmyk.jpg") return 2;
  return 0;
}

TEST(ImageDecoder, GivesPillowsPixels) {
  const nlohmann::json pixels_json = GoldenJson("pixels.json");
  for (const auto& [name, expected] : pixels_json.items()) {
    SCOPED_TRACE(name);
    std::string rgb;
    ASSERT_TRUE(absl::Base64Unescape(expected["rgb"].get<std::string>(), &rgb));
    const auto pixels = Decode(ReadGolden(name));
    ASSERT_TRUE(pixels.ok()) << pixels.status();
    ASSERT_EQ(pixels->size(), rgb.size());
    EXPECT_LE(LargestDifference(*pixels, rgb), ToleranceOf(name));
  }
}

TEST(ImageDecoder, WhatBuffersHeldBeforeIsNeverSeen) {
  for (const std::string& name : GoldenImageNames()) {
    const std::string file = ReadGolden(name);
    EXPECT_EQ(*Decode(file, 0x00), *Decode(file, 0xff)) << name;
  }
}

TEST(ImageDecoder, DamagedDataIsRefused) {
  std::string png = ReadGolden("rgb8.png");
  png[png.find("IDAT") + 6] ^= 0x40;
  EXPECT_EQ(Decode(png).status().code(), absl::StatusCode::kInvalidArgument);
  std::string webp = ReadGolden("lossless.webp");
  std::fill(webp.begin() + 30, webp.end(), '\xff');
  EXPECT_EQ(Decode(webp).status().code(), absl::StatusCode::kInvalidArgument);
  // No tables.
  std::string jpeg = ReadGolden("rgb_420.jpg");
  for (size_t at; (at = jpeg.find("\xff\xdb")) != jpeg.npos;) jpeg[at + 1] = '\xfe';
  EXPECT_EQ(Decode(jpeg).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace contextpool::engine
