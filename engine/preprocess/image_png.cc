// PNG: a list of chunks of length, name, content and checksum (PNG specification, third edition).
#include <cstdint>

#include "absl/strings/strip.h"
#include "engine/preprocess/image_bytes.h"
#include "engine/preprocess/image_formats.h"
#include "engine/preprocess/image_metadata.h"
#include "engine/preprocess/status_macros.h"

namespace contextpool::engine {
namespace {

constexpr size_t kSignatureBytes = 8;
// Length, name and checksum.
constexpr size_t kChunkOverhead = 12;
// 258 bytes take two bits at least.
constexpr uint64_t kMaxDeflateRatio = 1032;

enum ColourType : uint8_t { kGrey = 0, kRgb = 2, kPalette = 3, kGreyAlpha = 4, kRgba = 6 };

// 0: no such colour type.
int ChannelsOf(uint32_t colour_type) {
  switch (colour_type) {
    case kGrey:
    case kPalette:
      return 1;
    case kGreyAlpha:
      return 2;
    case kRgb:
      return 3;
    case kRgba:
      return 4;
    default:
      return 0;
  }
}

bool IsDepthOf(uint32_t colour_type, uint32_t depth) {
  const bool is_small = depth == 1 || depth == 2 || depth == 4;
  switch (colour_type) {
    case kGrey:
      return is_small || depth == 8 || depth == 16;
    case kPalette:
      return is_small || depth == 8;
    default:
      return depth == 8 || depth == 16;
  }
}

class PngParser {
 public:
  PngParser(absl::string_view file, const ImageLimits& limits, ImageFile& image)
      : file_(file), limits_(limits), image_(image) {}

  absl::Status Parse() {
    KeepPart(file_.substr(0, kSignatureBytes), image_);
    size_t at = kSignatureBytes;
    while (true) {
      const size_t left = file_.size() - at;
      const uint64_t length = left < kChunkOverhead ? 0 : ReadBig32(&file_[at]);
      if (left < length + kChunkOverhead) {
        return BadImage(image_, "is truncated: it ends before its chunk IEND");
      }
      const absl::string_view whole = file_.substr(at, length + kChunkOverhead);
      const absl::string_view name = whole.substr(4, 4);
      CONTEXTPOOL_RETURN_IF_ERROR(ReadChunk(name, whole.substr(8, length)));
      if (name == "IHDR" || name == "PLTE" || name == "IDAT" || name == "IEND") {
        KeepPart(whole, image_);
      }
      if (name == "IEND") return Finish();
      at += whole.size();
    }
  }

 private:
  absl::Status ReadChunk(absl::string_view name, absl::string_view content) {
    if ((image_.width == 0) != (name == "IHDR")) {
      return BadImage(image_, "must have one chunk IHDR, before all others");
    }
    if (name == "IHDR") return ReadHeader(content);
    if (name == "PLTE") has_palette_ = true;
    if (name == "IDAT") data_bytes_ += content.size();
    if (name == "eXIf") tags_.exif = ExifOrientation(content);
    if (name == "iTXt") ReadText(content);
    return absl::OkStatus();
  }

  absl::Status ReadHeader(absl::string_view content) {
    if (content.size() != 13) return BadImage(image_, "has a header of the wrong length");
    const uint32_t depth = ByteAt(&content[8]);
    colour_type_ = ByteAt(&content[9]);
    const int channels = ChannelsOf(colour_type_);
    if (channels == 0 || !IsDepthOf(colour_type_, depth)) {
      return BadImage(image_, "has ", depth, " bits of colour type ", colour_type_,
                      ", which do not exist");
    }
    bits_per_pixel_ = depth * channels;
    image_.is_grey16 = colour_type_ == kGrey && depth == 16;
    return SetImageSize(ReadBig32(&content[0]), ReadBig32(&content[4]), limits_, image_);
  }

  // Keyword, 0, is compressed, method, language, 0, translated keyword, 0, text.
  void ReadText(absl::string_view content) {
    if (!absl::ConsumePrefix(&content, absl::string_view("XML:com.adobe.xmp\0\0", 19))) return;
    tags_.xmp = XmpOrientation(content);
  }

  absl::Status Finish() {
    if (data_bytes_ == 0) return BadImage(image_, "has no image data");
    if (colour_type_ == kPalette && !has_palette_) return BadImage(image_, "has no palette");
    const uint64_t row_bytes = (uint64_t{bits_per_pixel_} * image_.width + 7) / 8;
    if (row_bytes * image_.height > data_bytes_ * kMaxDeflateRatio) {
      return BadImage(image_, "is truncated: ", data_bytes_, " bytes cannot hold ", image_.width,
                      " x ", image_.height, " pixels");
    }
    image_.orientation = tags_.value();
    return absl::OkStatus();
  }

  const absl::string_view file_;
  const ImageLimits& limits_;
  ImageFile& image_;
  uint32_t colour_type_ = 0;
  uint32_t bits_per_pixel_ = 0;
  bool has_palette_ = false;
  uint64_t data_bytes_ = 0;
  OrientationTags tags_;
};

}  // namespace

absl::Status ParsePng(absl::string_view file, const ImageLimits& limits, ImageFile& image) {
  return PngParser(file, limits, image).Parse();
}

}  // namespace contextpool::engine
