#include "engine/preprocess/image_file.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "engine/base/image_fault.h"
#include "engine/preprocess/image_formats.h"
#include "engine/preprocess/status_macros.h"

namespace contextpool::engine {
namespace {

constexpr absl::string_view kPngSignature("\x89PNG\r\n\x1a\n", 8);

absl::Status SetFormat(absl::string_view file, ImageFile& image) {
  if (absl::StartsWith(file, "\xff\xd8\xff")) {
    image.format = ImageFormat::kJpeg;
  } else if (absl::StartsWith(file, kPngSignature)) {
    image.format = ImageFormat::kPng;
  } else if (absl::StartsWith(file, "RIFF") && file.size() >= 12 && file.substr(8, 4) == "WEBP") {
    image.format = ImageFormat::kWebp;
  } else {
    return ImageError(ImageFault::kNoImage, "the file is no JPEG, PNG or WebP image");
  }
  return absl::OkStatus();
}

absl::Status Parse(absl::string_view file, const ImageLimits& limits, ImageFile& image) {
  switch (image.format) {
    case ImageFormat::kJpeg:
      return ParseJpeg(file, limits, image);
    case ImageFormat::kPng:
      return ParsePng(file, limits, image);
    case ImageFormat::kWebp:
      return ParseWebp(file, limits, image);
  }
  return absl::InternalError("no such format");
}

absl::Status TooLarge(const ImageFile& image, uint32_t width, uint32_t height, int64_t most,
                      absl::string_view what) {
  return ImageError(ImageFault::kTooLarge,
                    absl::StrCat("the ", ImageFormatName(image.format), " file has ", width, " x ",
                                 height, " pixels; at most ", most, what));
}

}  // namespace

absl::string_view ImageFormatName(ImageFormat format) {
  switch (format) {
    case ImageFormat::kJpeg:
      return "JPEG";
    case ImageFormat::kPng:
      return "PNG";
    case ImageFormat::kWebp:
      return "WebP";
  }
  return "";
}

size_t ImageFile::size_bytes() const {
  size_t bytes = head.size();
  for (const absl::string_view part : parts) bytes += part.size();
  return bytes;
}

absl::Status SetImageSize(uint32_t width, uint32_t height, const ImageLimits& limits,
                          ImageFile& image) {
  if (width == 0 || height == 0) return BadImage(image, "has no pixels: its width or height is 0");
  const uint64_t pixels = uint64_t{width} * height;
  if (pixels > static_cast<uint64_t>(limits.max_pixels)) {
    return TooLarge(image, width, height, limits.max_pixels, " are accepted");
  }
  if (width > kMaxImageSide || height > kMaxImageSide) {
    return TooLarge(image, width, height, kMaxImageSide, " are accepted on a side");
  }
  image.width = static_cast<int32_t>(width);
  image.height = static_cast<int32_t>(height);
  image.frame = {0, 0, image.width, image.height};
  return absl::OkStatus();
}

void KeepPart(absl::string_view part, ImageFile& image) {
  std::vector<absl::string_view>& parts = image.parts;
  if (!parts.empty() && parts.back().data() + parts.back().size() == part.data()) {
    parts.back() = absl::string_view(parts.back().data(), parts.back().size() + part.size());
  } else {
    parts.push_back(part);
  }
}

absl::StatusOr<ImageFile> ParseImageFile(absl::string_view file, const ImageLimits& limits) {
  if (file.size() > static_cast<uint64_t>(limits.max_bytes)) {
    return ImageError(ImageFault::kTooLarge,
                      absl::StrCat("the file has ", file.size(), " bytes; at most ",
                                   limits.max_bytes, " are accepted for an image"));
  }
  ImageFile image;
  CONTEXTPOOL_RETURN_IF_ERROR(SetFormat(file, image));
  CONTEXTPOOL_RETURN_IF_ERROR(Parse(file, limits, image));
  if (image.orientation < 1 || image.orientation > 8) image.orientation = 1;
  return image;
}

}  // namespace contextpool::engine
