#include "engine/preprocess/image_file.h"

#include "absl/strings/str_cat.h"
#include "engine/base/image_fault.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/preprocess/image_fixture.h"

namespace contextpool::engine {
namespace {

using ::testing::HasSubstr;

std::string Joined(const ImageFile& image) {
  std::string out = image.head;
  for (const absl::string_view part : image.parts) absl::StrAppend(&out, part);
  return out;
}

// What is wrong with `file`; empty: nothing.
std::string Problem(absl::string_view file, const ImageLimits& limits = {}) {
  const auto image = ParseImageFile(file, limits);
  if (image.ok()) return "";
  EXPECT_EQ(image.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(image.status().message());
}

std::string PngOf(const std::string& header, const std::string& data) {
  return PngSignature() + header + PngChunk("IDAT", data) + PngChunk("IEND", "");
}

std::string Segment(char marker, const std::string& content) {
  const size_t length = content.size() + 2;
  return std::string("\xff") + marker + static_cast<char>(length >> 8) +
         static_cast<char>(length & 255) + content;
}

// One scan of components with these numbers, and so many bytes of coded data.
std::string Scan(const std::string& components, int bytes) {
  std::string header(1, static_cast<char>(components.size()));
  for (const char number : components) header += {number, 0};
  return Segment('\xda', header + std::string(3, '\0')) + std::string(bytes, 'x');
}

// A progressive JPEG whose components have the numbers 1, 2, ... and are not subsampled.
std::string JpegOf(int width, int height, int components, const std::string& scans) {
  std::string frame = {8,
                       static_cast<char>(height >> 8),
                       static_cast<char>(height),
                       static_cast<char>(width >> 8),
                       static_cast<char>(width),
                       static_cast<char>(components)};
  for (int i = 1; i <= components; ++i) frame += {static_cast<char>(i), 0x11, 0};
  return "\xff\xd8" + Segment('\xc2', frame) + scans + "\xff\xd9";
}

std::string Times(int count, const std::string& scan) {
  std::string scans;
  for (int i = 0; i < count; ++i) scans += scan;
  return scans;
}

// A grey JPEG with so many scans of as many bytes.
std::string GreyJpeg(int width, int height, int scans, int bytes) {
  return JpegOf(width, height, 1, Times(scans, Scan("\1", bytes)));
}

TEST(ImageFile, KnowsFormatAndSizeOfEveryGoldenFile) {
  const nlohmann::json expected = GoldenJson("pixels.json");
  ASSERT_EQ(GoldenImageNames().size(), expected.size());
  for (const std::string& name : GoldenImageNames()) {
    SCOPED_TRACE(name);
    const std::string file = ReadGolden(name);
    const auto image = ParseImageFile(file, {});
    ASSERT_TRUE(image.ok()) << image.status();
    const bool is_turned = image->orientation >= 5;
    EXPECT_EQ(is_turned ? image->height : image->width, expected[name]["width"]);
    EXPECT_EQ(is_turned ? image->width : image->height, expected[name]["height"]);
    const ImageFormat format = absl::EndsWith(name, ".jpg")   ? ImageFormat::kJpeg
                               : absl::EndsWith(name, ".png") ? ImageFormat::kPng
                                                              : ImageFormat::kWebp;
    EXPECT_EQ(image->format, format);
  }
}

TEST(ImageFile, EveryProperPrefixIsRefused) {
  for (const std::string& name : GoldenImageNames()) {
    SCOPED_TRACE(name);
    const std::string file = ReadGolden(name);
    for (size_t size = 0; size < file.size(); ++size) {
      EXPECT_NE(Problem(absl::string_view(file).substr(0, size)), "") << size;
    }
  }
}

TEST(ImageFile, WhatFollowsTheEndDoesNotMatter) {
  for (const std::string& name : GoldenImageNames()) {
    SCOPED_TRACE(name);
    const std::string file = ReadGolden(name);
    const std::string longer = file + "trailing bytes";
    const auto image = ParseImageFile(longer, {});
    ASSERT_TRUE(image.ok()) << image.status();
    EXPECT_EQ(Joined(*image), Joined(*ParseImageFile(file, {})));
  }
}

TEST(ImageFile, DecodersGetNoMetadata) {
  for (const std::string name :
       {"rgb8_exif_orientation5.png", "rgb8_xmp_orientation8.png", "rgb8_gamma.png", "animated.png",
        "orientation6.jpg", "xmp_orientation6.jpg", "comment.jpg", "lossless_orientation6.webp",
        "lossless_xmp_orientation3.webp", "animated_lossless.webp"}) {
    const std::string file = ReadGolden(name);
    const std::string joined = Joined(*ParseImageFile(file, {}));
    for (const absl::string_view word : {"eXIf", "Exif", "EXIF", "tiff:", "iTXt", "gAMA", "fdAT",
                                         "acTL", "is no end", "XMP ", "ANMF", "VP8X"}) {
      EXPECT_EQ(joined.find(word.data()), joined.npos) << name << ": " << word;
    }
    // The rest is a file again, with the same pixels.
    const auto again = ParseImageFile(joined, {});
    ASSERT_TRUE(again.ok()) << name << again.status();
    EXPECT_EQ(Joined(*again), joined) << name;
  }
}

TEST(ImageFile, OtherFormatsAreRefused) {
  for (const absl::string_view file :
       {"", "x", "\xff\xd8", "GIF89a...", "BM......", "II*\0....", "RIFF\x10\0\0\0AVI LIST",
        "\x89PNG\r\n\x1a\r", "<svg></svg>"}) {
    EXPECT_THAT(Problem(file), HasSubstr("no JPEG, PNG or WebP"));
  }
}

TEST(ImageFile, LimitsHoldBeforeAnythingIsDecoded) {
  const std::string file = ReadGolden("rgb8.png");
  const auto size = static_cast<int64_t>(file.size());
  EXPECT_EQ(Problem(file, {.max_bytes = size}), "");
  EXPECT_THAT(Problem(file, {.max_bytes = size - 1}), HasSubstr("bytes; at most"));
  EXPECT_EQ(Problem(file, {.max_pixels = 21 * 14}), "");
  EXPECT_THAT(Problem(file, {.max_pixels = 21 * 14 - 1}), HasSubstr("21 x 14 pixels; at most 293"));
  for (const std::string name :
       {"rgb_420.jpg", "lossy.webp", "lossless_alpha.webp", "animated_small_first_frame.webp"}) {
    EXPECT_THAT(Problem(ReadGolden(name), {.max_pixels = 293}), HasSubstr("at most 293")) << name;
  }
}

TEST(ImageFile, SizesThatAreZeroOrTooLongAreRefused) {
  EXPECT_THAT(Problem(PngOf(PngHeader(0, 5), "x")), HasSubstr("no pixels"));
  EXPECT_THAT(Problem(PngOf(PngHeader(5, 0), "x")), HasSubstr("no pixels"));
  EXPECT_THAT(Problem(PngOf(PngHeader(65536, 1), std::string(999, 'x'))), HasSubstr("on a side"));
  EXPECT_EQ(FaultOf(ParseImageFile(PngOf(PngHeader(65536, 1), "x"), ImageLimits()).status()),
            ImageFault::kTooLarge);
  EXPECT_EQ(Problem(PngOf(PngHeader(65535, 1), std::string(999, 'x'))), "");
  EXPECT_THAT(Problem(PngOf(PngHeader(0xffffffff, 0xffffffff), "x")),
              HasSubstr("at most 50000000"));
  EXPECT_THAT(Problem(GreyJpeg(0, 5, 1, 9)), HasSubstr("no pixels"));
  EXPECT_THAT(Problem(GreyJpeg(5, 0, 1, 9)), HasSubstr("no pixels"));
}

// Sizes are believed only as far as the data goes, so that no memory is spent on mere claims.
TEST(ImageFile, DataThatCannotHoldThePixelsIsTruncated) {
  // 3000 * 3000 * 3 bytes need 26,163 bytes at deflate's best ratio.
  EXPECT_THAT(Problem(PngOf(PngHeader(3000, 3000), std::string(26162, 'x'))),
              HasSubstr("truncated"));
  EXPECT_EQ(Problem(PngOf(PngHeader(3000, 3000), std::string(26163, 'x'))), "");
  // 375 * 375 blocks of a bit each.
  EXPECT_THAT(Problem(GreyJpeg(3000, 3000, 1, 17578)), HasSubstr("truncated"));
  EXPECT_EQ(Problem(GreyJpeg(3000, 3000, 1, 17579)), "");
  EXPECT_EQ(Problem(GreyJpeg(3000, 3000, 2, 8790)), "");
}

TEST(ImageFile, ScansWithoutEndAreRefused) {
  EXPECT_EQ(Problem(GreyJpeg(8, 8, 64, 3)), "");
  EXPECT_THAT(Problem(GreyJpeg(8, 8, 65, 3)), HasSubstr("more than 64 scans"));
}

// Of 50 megapixels in three components 16 scans are accepted: 37,500,000 blocks. These have 765,625
// in each component.
TEST(ImageFile, LargeImagesMayHaveFewerScans) {
  const auto file = [](int count, const std::string& components) {
    return JpegOf(7000, 7000, 3, Times(count, Scan(components, 20'000)));
  };
  EXPECT_EQ(Problem(file(16, "\1\2\3")), "");
  EXPECT_THAT(
      Problem(file(17, "\1\2\3")),
      HasSubstr("the first 17 pass over 39046875 blocks of 8 x 8 samples; at most 37500000"));
  // What counts are the components that a scan holds.
  EXPECT_EQ(Problem(file(48, "\2")), "");
  EXPECT_THAT(Problem(file(49, "\2")), HasSubstr("too many scans for its size"));
  // Who accepts larger images pays for them.
  EXPECT_EQ(Problem(file(17, "\1\2\3"), {.max_pixels = 60'000'000}), "");
  const std::string small = JpegOf(80, 80, 3, Times(20, Scan("\1\2\3", 9)));
  EXPECT_EQ(Problem(small, {.max_pixels = 80 * 80}), "");
}

TEST(ImageFile, PngStructureIsChecked) {
  const std::string header = PngHeader(2, 2);
  const std::string data = PngChunk("IDAT", "x");
  const std::string end = PngChunk("IEND", "");
  EXPECT_THAT(Problem(PngSignature() + data + header + end), HasSubstr("IHDR, before"));
  EXPECT_THAT(Problem(PngSignature() + header + header + data + end), HasSubstr("one chunk IHDR"));
  EXPECT_THAT(Problem(PngSignature() + header + end), HasSubstr("no image data"));
  EXPECT_THAT(Problem(PngOf(PngHeader(2, 2, 8, 3), "x")), HasSubstr("no palette"));
  EXPECT_THAT(Problem(PngOf(PngHeader(2, 2, 4, 2), "x")), HasSubstr("4 bits of colour type 2"));
  EXPECT_THAT(Problem(PngOf(PngHeader(2, 2, 8, 5), "x")), HasSubstr("colour type 5"));
  EXPECT_THAT(Problem(PngOf(PngHeader(2, 2, 3, 0), "x")), HasSubstr("3 bits"));
  EXPECT_THAT(Problem(PngOf(PngChunk("IHDR", "short"), "x")), HasSubstr("wrong length"));
}

TEST(ImageFile, JpegStructureIsChecked) {
  const std::string start = "\xff\xd8";
  const std::string end = "\xff\xd9";
  const std::string scan = Scan("\1", 4);
  const std::string frame = {8, 0, 8, 0, 8, 1, 1, 0x11, 0};
  EXPECT_EQ(Problem(start + Segment('\xc0', frame) + scan + end), "");
  EXPECT_THAT(Problem(start + scan + end), HasSubstr("before its frame"));
  EXPECT_THAT(Problem(start + Segment('\xc0', frame) + end), HasSubstr("no image data"));
  EXPECT_THAT(Problem(start + Segment('\xc0', frame) + Segment('\xc0', frame) + scan + end),
              HasSubstr("two frame"));
  for (const char marker : {'\xc3', '\xc5', '\xc9', '\xcf'}) {
    EXPECT_THAT(Problem(start + Segment(marker, frame) + scan + end), HasSubstr("not supported"));
  }
  const auto with = [&](size_t at, char value) {
    std::string changed = frame;
    changed[at] = value;
    return Problem(start + Segment('\xc0', changed) + scan + end);
  };
  EXPECT_THAT(with(0, 12), HasSubstr("12 bits"));
  EXPECT_THAT(with(5, 2), HasSubstr("wrong length"));
  EXPECT_THAT(with(7, 0x01), HasSubstr("sampling factor"));
  EXPECT_THAT(with(7, 0x51), HasSubstr("sampling factor"));
  const std::string two = {8, 0, 8, 0, 8, 2, 1, 0x11, 0, 2, 0x11, 0};
  EXPECT_THAT(Problem(start + Segment('\xc0', two) + scan + end), HasSubstr("2 colour"));
  EXPECT_THAT(Problem(start + std::string("\xff\xc0\0\1x", 5) + end), HasSubstr("length"));
  for (const std::string header : {"", "\1", "\1\1xxx", "\1\1xxxxx", "\2\1xxxx"}) {
    EXPECT_THAT(Problem(start + Segment('\xc0', frame) + Segment('\xda', header) + end),
                HasSubstr("scan header of the wrong length"));
  }
}

TEST(ImageFile, WebpSizesMustAgree) {
  std::string file = ReadGolden("lossless_orientation6.webp");
  ASSERT_EQ(file.substr(12, 4), "VP8X");
  file[24] ^= 1;
  EXPECT_THAT(Problem(file), HasSubstr("two sizes"));
  std::string animated = ReadGolden("animated_small_first_frame.webp");
  const size_t frame = animated.find("ANMF") + 8;
  animated[frame] = 100;
  EXPECT_THAT(Problem(animated), HasSubstr("outside of its canvas"));
}

}  // namespace
}  // namespace contextpool::engine
