// JPEG: a list of segments that begin with 0xff and a marker (ITU-T T.81, annex B).
#include <algorithm>
#include <array>
#include <cstdint>

#include "absl/strings/match.h"
#include "engine/preprocess/image_bytes.h"
#include "engine/preprocess/image_formats.h"
#include "engine/preprocess/image_metadata.h"
#include "engine/preprocess/status_macros.h"

namespace contextpool::engine {
namespace {

enum Marker : uint8_t {
  kBaseline = 0xc0,
  kProgressive = 0xc2,
  kHuffmanTables = 0xc4,
  kReserved = 0xc8,
  kLastFrame = 0xcf,
  kArithmeticTables = 0xcc,
  kFirstRestart = 0xd0,
  kStart = 0xd8,
  kEnd = 0xd9,
  kScan = 0xda,
  kQuantisation = 0xdb,
  kRestartInterval = 0xdd,
  kApp0 = 0xe0,
  kApp1 = 0xe1,
  kApp14 = 0xee,
};

// Encoders write about ten. Each passes over all blocks of its components, so thousands would take
// minutes.
constexpr int kMaxScans = 64;
// What all scans together may pass over: so many times all samples of the largest picture.
constexpr uint64_t kMaxPasses = 16;
constexpr uint64_t kBlockSamples = 64;

constexpr absl::string_view kXmp("http://ns.adobe.com/xap/1.0/\0", 29);

bool IsRestart(uint8_t marker) { return marker >= kFirstRestart && marker < kStart; }

bool StandsAlone(uint8_t marker) { return marker == 0x01 || IsRestart(marker) || marker == kStart; }

bool IsFrame(uint8_t marker) {
  return marker >= kBaseline && marker <= kLastFrame && marker != kHuffmanTables &&
         marker != kReserved && marker != kArithmeticTables;
}

// Whether pixels depend on a segment. JFIF (APP0) and Adobe (APP14) say what the colours mean.
bool IsNeeded(uint8_t marker) {
  return IsFrame(marker) || marker == kHuffmanTables || marker == kQuantisation ||
         marker == kRestartInterval || marker == kScan || marker == kApp0 || marker == kApp14;
}

class JpegParser {
 public:
  JpegParser(absl::string_view file, const ImageLimits& limits, ImageFile& image)
      : file_(file), limits_(limits), image_(image) {}

  absl::Status Parse() {
    KeepPart(file_.substr(0, 2), image_);
    at_ = 2;
    while (true) {
      if (!FindMarker()) return BadImage(image_, "is truncated: it has no end marker");
      const auto marker = static_cast<uint8_t>(file_[at_ + 1]);
      if (marker == kEnd) return Finish();
      if (StandsAlone(marker)) {
        at_ += 2;
        continue;
      }
      CONTEXTPOOL_RETURN_IF_ERROR(ReadSegment(marker));
    }
  }

 private:
  // Moves to the next marker. Decoders skip what stands before it, and any number of 0xff.
  bool FindMarker() {
    while ((at_ = file_.find('\xff', at_)) != file_.npos) {
      if (at_ + 1 >= file_.size()) return false;
      const auto next = static_cast<uint8_t>(file_[at_ + 1]);
      if (next != 0x00 && next != 0xff) return true;
      at_ += next == 0xff ? 1 : 2;
    }
    return false;
  }

  absl::Status ReadSegment(uint8_t marker) {
    const size_t begin = at_;
    const size_t left = file_.size() - begin - 2;
    const size_t length = left < 2 ? 0 : ReadBig16(&file_[begin + 2]);
    if (left < 2 || length > left) return BadImage(image_, "is truncated inside a segment");
    if (length < 2) return BadImage(image_, "has a segment of impossible length");
    const absl::string_view content = file_.substr(begin + 4, length - 2);
    at_ = begin + 2 + length;
    if (IsFrame(marker)) CONTEXTPOOL_RETURN_IF_ERROR(ReadFrame(marker, content));
    if (marker == kScan) CONTEXTPOOL_RETURN_IF_ERROR(ReadScan(content));
    if (marker == kApp1) ReadMetadata(content);
    if (IsNeeded(marker)) KeepPart(file_.substr(begin, at_ - begin), image_);
    return absl::OkStatus();
  }

  // Sample precision, height, width, and for each component a number, its sampling factors and its
  // quantisation table.
  absl::Status ReadFrame(uint8_t marker, absl::string_view content) {
    if (marker > kProgressive) {
      return BadImage(image_,
                      "is coded in a way that is not supported: lossless, hierarchical or "
                      "arithmetic");
    }
    if (blocks_ != 0) return BadImage(image_, "has two frame headers");
    if (content.size() < 6) return BadImage(image_, "has a short frame header");
    const size_t components = ByteAt(&content[5]);
    if (content.size() != 6 + 3 * components) {
      return BadImage(image_, "has a frame header of the wrong length");
    }
    if (content[0] != 8) {
      return BadImage(image_, "has ", ByteAt(&content[0]),
                      " bits per sample; only 8 are supported");
    }
    if (components != 1 && components != 3 && components != 4) {
      return BadImage(image_, "has ", components, " colour components; 1, 3 or 4 are supported");
    }
    CONTEXTPOOL_RETURN_IF_ERROR(
        SetImageSize(ReadBig16(&content[3]), ReadBig16(&content[1]), limits_, image_));
    return CountBlocks(content.substr(6));
  }

  // Of 8 x 8 samples, in all components.
  absl::Status CountBlocks(absl::string_view components) {
    uint32_t widest = 1, highest = 1;
    for (size_t i = 0; i < components.size(); i += 3) {
      const uint32_t across = ByteAt(&components[i + 1]) >> 4;
      const uint32_t down = ByteAt(&components[i + 1]) & 15;
      if (across < 1 || across > 4 || down < 1 || down > 4) {
        return BadImage(image_, "has an impossible sampling factor");
      }
      widest = std::max(widest, across);
      highest = std::max(highest, down);
    }
    for (size_t i = 0; i < components.size(); i += 3) {
      const uint64_t across = ByteAt(&components[i + 1]) >> 4;
      const uint64_t down = ByteAt(&components[i + 1]) & 15;
      const uint64_t blocks =
          (image_.width * across / widest + 7) / 8 * ((image_.height * down / highest + 7) / 8);
      blocks_ += blocks;
      blocks_of_[ByteAt(&components[i])] += blocks;
    }
    return absl::OkStatus();
  }

  // Number of components, for each its number and tables, and three bytes. Moves behind the coded
  // data, to the next marker that is no restart.
  absl::Status ReadScan(absl::string_view content) {
    if (blocks_ == 0) return BadImage(image_, "has a scan before its frame header");
    if (++scans_ > kMaxScans) {
      return BadImage(image_, "has more than ", kMaxScans, " scans, which no encoder writes");
    }
    const size_t components = content.empty() ? 0 : ByteAt(&content[0]);
    if (content.size() != 4 + 2 * components) {
      return BadImage(image_, "has a scan header of the wrong length");
    }
    CONTEXTPOOL_RETURN_IF_ERROR(CountPasses(content.substr(1, 2 * components)));
    const size_t begin = at_;
    while (FindMarker() && IsRestart(static_cast<uint8_t>(file_[at_ + 1]))) at_ += 2;
    if (at_ == file_.npos) at_ = file_.size();
    coded_bytes_ += at_ - begin;
    return absl::OkStatus();
  }

  absl::Status CountPasses(absl::string_view components) {
    for (size_t i = 0; i < components.size(); i += 2) {
      passed_blocks_ += blocks_of_[ByteAt(&components[i])];
    }
    const auto most_pixels =
        static_cast<uint64_t>(std::max(limits_.max_pixels, ImageLimits().max_pixels));
    const uint64_t most = kMaxPasses * 3 * (most_pixels / kBlockSamples);
    if (passed_blocks_ <= most) return absl::OkStatus();
    return BadImage(image_, "has too many scans for its size: the first ", scans_, " pass over ",
                    passed_blocks_, " blocks of 8 x 8 samples; at most ", most, " are accepted");
  }

  void ReadMetadata(absl::string_view content) {
    // Of an EXIF block that is spread over several segments the tag is in the first.
    if (absl::StartsWith(content, kExifHeader) && !tags_.exif.has_value()) {
      tags_.exif = ExifOrientation(content);
    } else if (absl::StartsWith(content, kXmp)) {
      tags_.xmp = XmpOrientation(content.substr(kXmp.size()));
    }
  }

  absl::Status Finish() {
    if (scans_ == 0) return BadImage(image_, "has no image data");
    // Every block takes a bit at least.
    if (coded_bytes_ * 8 < blocks_) {
      return BadImage(image_, "is truncated: ", coded_bytes_, " bytes cannot hold ", image_.width,
                      " x ", image_.height, " pixels");
    }
    KeepPart(file_.substr(at_, 2), image_);
    image_.orientation = tags_.value();
    return absl::OkStatus();
  }

  const absl::string_view file_;
  const ImageLimits& limits_;
  ImageFile& image_;
  size_t at_ = 0;
  uint64_t blocks_ = 0;
  // By the number of the component.
  std::array<uint64_t, 256> blocks_of_ = {};
  uint64_t passed_blocks_ = 0;
  uint64_t coded_bytes_ = 0;
  int scans_ = 0;
  OrientationTags tags_;
};

}  // namespace

absl::Status ParseJpeg(absl::string_view file, const ImageLimits& limits, ImageFile& image) {
  return JpegParser(file, limits, image).Parse();
}

}  // namespace contextpool::engine
