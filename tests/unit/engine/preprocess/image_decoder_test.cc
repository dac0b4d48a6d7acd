// Decoded pixels against Pillow's: tests/golden/make_image_golden.py.
#include "engine/preprocess/image_decoder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/preprocess/image_fixture.h"

namespace contextpool::engine {
namespace {

using ::testing::HasSubstr;

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
  return std::string(reinterpret_cast<const char*>(pixels.bytes.data()), pixels.bytes.size());
}

TEST(ImageDecoder, GivesPillowsPixels) {
  const nlohmann::json pixels_json = GoldenJson("pixels.json");
  for (const auto& [name, expected] : pixels_json.items()) {
    SCOPED_TRACE(name);
    std::string rgb;
    ASSERT_TRUE(absl::Base64Unescape(expected["rgb"].get<std::string>(), &rgb));
    const auto pixels = Decode(ReadGolden(name));
    ASSERT_TRUE(pixels.ok()) << pixels.status();
    EXPECT_EQ(*pixels, rgb);
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
  const absl::Status no_tables = Decode(jpeg).status();
  EXPECT_EQ(no_tables.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(no_tables.message()), HasSubstr("Quantization table"));
}

// OpenCV would offer it to its decoders of DICOM and of GDAL's formats if that of WebP did not take
// it.
TEST(ImageDecoder, AFileThatOtherDecodersMightTakeIsRefused) {
  for (const auto& [offset, mark] : {std::pair(128, "DICM"), {140, "DTED"}}) {
    std::string webp = ReadGolden("lossy.webp");
    ASSERT_GT(webp.size(), offset + 4);
    webp.replace(offset, 4, mark);
    const absl::Status status = Decode(webp).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << mark;
    EXPECT_THAT(std::string(status.message()), HasSubstr("another format")) << mark;
  }
}

TEST(ImageDecoder, PartsOfAJpegThatAreMissingAreAnError) {
  const std::string file = ReadGolden("progressive_444.jpg");
  const ImageFile whole = *ParseImageFile(file, {});
  DecodeScratch scratch;
  Pixels pixels;
  ASSERT_TRUE(DecodeImage(whole, scratch, pixels).ok());
  for (size_t size = 1; size + 2 < whole.size_bytes(); ++size) {
    ImageFile cut = whole;
    cut.parts = {absl::string_view(file).substr(0, size)};
    EXPECT_EQ(DecodeImage(cut, scratch, pixels).code(), absl::StatusCode::kInvalidArgument) << size;
  }
}

// A server's log is for its operator, not for what clients send.
TEST(ImageDecoder, NothingIsPrintedAboutDamagedJpegs) {
  testing::internal::CaptureStderr();
  int decoded = 0;
  for (const char* name : {"rgb_420.jpg", "progressive_444.jpg", "restarts.jpg", "cmyk.jpg"}) {
    const std::string file = ReadGolden(name);
    for (size_t at = 2; at < file.size(); ++at) {
      std::string damaged = file;
      damaged[at] ^= 0x11;
      decoded += Decode(damaged).ok();
    }
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  // Most of what libjpeg only warns of.
  EXPECT_GT(decoded, 500);
}

}  // namespace
}  // namespace contextpool::engine
