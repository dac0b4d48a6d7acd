// WebP: chunks in a RIFF file (RFC 9649).
#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>

#include "engine/preprocess/image_bytes.h"
#include "engine/preprocess/image_formats.h"
#include "engine/preprocess/image_metadata.h"
#include "engine/preprocess/status_macros.h"

namespace contextpool::engine {
namespace {

constexpr size_t kRiffHeaderBytes = 12;
constexpr size_t kChunkHeaderBytes = 8;
constexpr size_t kFrameHeaderBytes = 16;
constexpr uint8_t kAnimationFlag = 0x02;

struct Chunk {
  absl::string_view name;
  absl::string_view content;
  // With header and padding.
  absl::string_view whole;
};

std::string LittleEndian32(size_t value) {
  std::string bytes;
  for (int shift = 0; shift < 32; shift += 8) bytes.push_back(static_cast<char>(value >> shift));
  return bytes;
}

class WebpParser {
 public:
  WebpParser(absl::string_view file, const ImageLimits& limits, ImageFile& image)
      : file_(file), limits_(limits), image_(image) {}

  absl::Status Parse() {
    const uint64_t size = uint64_t{ReadLittle32(&file_[4])} + kChunkHeaderBytes;
    if (size > file_.size()) {
      return BadImage(image_, "is truncated: it claims ", size, " bytes and has ", file_.size());
    }
    absl::string_view chunks = file_.substr(0, size);
    if (chunks.size() < kRiffHeaderBytes) return BadImage(image_, "is empty");
    chunks.remove_prefix(kRiffHeaderBytes);
    while (!chunks.empty()) {
      CONTEXTPOOL_ASSIGN_OR_RETURN(const Chunk chunk, NextChunk(chunks));
      CONTEXTPOOL_RETURN_IF_ERROR(ReadChunk(chunk));
    }
    if (image_.parts.empty()) return BadImage(image_, "has no image data");
    image_.orientation = tags_.value();
    return absl::OkStatus();
  }

 private:
  // Takes a chunk off the front. Chunks are padded to an even size; the last padding may be
  // missing.
  absl::StatusOr<Chunk> NextChunk(absl::string_view& bytes) const {
    if (bytes.size() < kChunkHeaderBytes) return BadImage(image_, "is truncated inside a chunk");
    const uint64_t size = ReadLittle32(&bytes[4]);
    if (size > bytes.size() - kChunkHeaderBytes) {
      return BadImage(image_, "is truncated inside a chunk");
    }
    const size_t padded = std::min<size_t>(kChunkHeaderBytes + size + size % 2, bytes.size());
    const Chunk chunk = {bytes.substr(0, 4), bytes.substr(kChunkHeaderBytes, size),
                         bytes.substr(0, padded)};
    bytes.remove_prefix(padded);
    return chunk;
  }

  absl::Status ReadChunk(const Chunk& chunk) {
    if (chunk.name == "VP8X") return ReadExtendedHeader(chunk.content);
    if (chunk.name == "EXIF") tags_.exif = ExifOrientation(chunk.content);
    if (chunk.name == "XMP ") tags_.xmp = XmpOrientation(chunk.content);
    // Later frames do not matter.
    if (!image_.parts.empty()) return absl::OkStatus();
    if (chunk.name == "ANMF" && is_animated_) return ReadFrame(chunk.content);
    if (!is_animated_) return ReadBitstream(chunk);
    return absl::OkStatus();
  }

  // Flags, reserved, width - 1, height - 1.
  absl::Status ReadExtendedHeader(absl::string_view content) {
    if (content.size() < 10) return BadImage(image_, "has a header of the wrong length");
    if (image_.width != 0) return BadImage(image_, "has its header in the wrong place");
    is_animated_ = (content[0] & kAnimationFlag) != 0;
    return SetImageSize(ReadLittle24(&content[4]) + 1, ReadLittle24(&content[7]) + 1, limits_,
                        image_);
  }

  // An animation's frame: left / 2, top / 2, width - 1, height - 1, duration, flags, chunks.
  absl::Status ReadFrame(absl::string_view content) {
    if (content.size() < kFrameHeaderBytes) return BadImage(image_, "has a short frame");
    const uint64_t left = uint64_t{ReadLittle24(&content[0])} * 2;
    const uint64_t top = uint64_t{ReadLittle24(&content[3])} * 2;
    const uint64_t width = ReadLittle24(&content[6]) + 1;
    const uint64_t height = ReadLittle24(&content[9]) + 1;
    if (left + width > static_cast<uint64_t>(image_.width) ||
        top + height > static_cast<uint64_t>(image_.height)) {
      return BadImage(image_, "has a frame outside of its canvas");
    }
    image_.frame = {static_cast<int32_t>(left), static_cast<int32_t>(top),
                    static_cast<int32_t>(width), static_cast<int32_t>(height)};
    absl::string_view chunks = content.substr(kFrameHeaderBytes);
    while (!chunks.empty() && image_.parts.empty()) {
      CONTEXTPOOL_ASSIGN_OR_RETURN(const Chunk chunk, NextChunk(chunks));
      CONTEXTPOOL_RETURN_IF_ERROR(ReadBitstream(chunk));
    }
    return absl::OkStatus();
  }

  // The coded pixels: their own header must say what the file and its frame say. Transparency
  // (ALPH) is not needed.
  absl::Status ReadBitstream(const Chunk& chunk) {
    if (chunk.name != "VP8 " && chunk.name != "VP8L") return absl::OkStatus();
    CONTEXTPOOL_ASSIGN_OR_RETURN(const ImageFile::Frame size, chunk.name == "VP8L"
                                                                  ? LosslessSize(chunk.content)
                                                                  : LossySize(chunk.content));
    if (image_.width == 0) {
      CONTEXTPOOL_RETURN_IF_ERROR(SetImageSize(size.width, size.height, limits_, image_));
    }
    if (size.width != image_.frame.width || size.height != image_.frame.height) {
      return BadImage(image_, "has two sizes: ", image_.frame.width, " x ", image_.frame.height,
                      " and ", size.width, " x ", size.height);
    }
    image_.head = absl::StrCat("RIFF", LittleEndian32(4 + chunk.whole.size()), "WEBP");
    KeepPart(chunk.whole, image_);
    return absl::OkStatus();
  }

  // RFC 6386, 9.1: three bytes of which the lowest bit says that it is no key frame, a start code,
  // width and height of 14 bits each.
  absl::StatusOr<ImageFile::Frame> LossySize(absl::string_view content) const {
    if (content.size() < 10 || (content[0] & 1) != 0 || content.substr(3, 3) != "\x9d\x01\x2a") {
      return BadImage(image_, "has a malformed VP8 header");
    }
    return ImageFile::Frame{.width = static_cast<int32_t>(ReadLittle16(&content[6]) & 0x3fff),
                            .height = static_cast<int32_t>(ReadLittle16(&content[8]) & 0x3fff)};
  }

  // A signature, width - 1 and height - 1 of 14 bits each.
  absl::StatusOr<ImageFile::Frame> LosslessSize(absl::string_view content) const {
    if (content.size() < 5 || content[0] != 0x2f) {
      return BadImage(image_, "has a malformed VP8L header");
    }
    const uint32_t bits = ReadLittle32(&content[1]);
    return ImageFile::Frame{.width = static_cast<int32_t>((bits & 0x3fff) + 1),
                            .height = static_cast<int32_t>((bits >> 14 & 0x3fff) + 1)};
  }

  const absl::string_view file_;
  const ImageLimits& limits_;
  ImageFile& image_;
  bool is_animated_ = false;
  OrientationTags tags_;
};

}  // namespace

absl::Status ParseWebp(absl::string_view file, const ImageLimits& limits, ImageFile& image) {
  return WebpParser(file, limits, image).Parse();
}

}  // namespace contextpool::engine
