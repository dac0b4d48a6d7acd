#include "engine/preprocess/image_decoder.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <iterator>
#include <memory>
#include <new>
#include <opencv2/core.hpp>
#include <opencv2/imgcodecs.hpp>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/string_view.h"
#include "engine/preprocess/image_formats.h"
#include "engine/preprocess/image_jpeg_decoder.h"
#include "engine/preprocess/image_rows.h"
#include "engine/preprocess/image_turn.h"
#include "engine/preprocess/status_macros.h"

namespace contextpool::engine {
namespace {

// The file that the decoder gets. Most files are one part, which needs no copy.
cv::Mat Joined(const ImageFile& image, ByteBuffer& buffer) {
  const size_t size = image.size_bytes();
  const char* data = image.parts.front().data();
  if (!image.head.empty() || image.parts.size() > 1) {
    uint8_t* out = buffer.Resize(size);
    data = reinterpret_cast<const char*>(out);
    out = std::copy(image.head.begin(), image.head.end(), out);
    for (const absl::string_view part : image.parts) out = std::copy(part.begin(), part.end(), out);
  }
  // OpenCV reads through this pointer only.
  return {1, static_cast<int>(size), CV_8UC1, const_cast<char*>(data)};
}

// What OpenCV's decoder of WebP does not take is offered to all others. Two of them look for their
// mark behind the beginning, where any file may have it; they must see none of ours.
bool HasMarkOfOthers(const cv::Mat& file) {
  struct Mark {
    size_t offset;
    absl::string_view text;
  };
  // DICOM, and GDAL's elevation maps.
  constexpr Mark kMarks[] = {{128, "DICM"}, {140, "DTED"}};
  const absl::string_view bytes(reinterpret_cast<const char*>(file.data), file.total());
  return std::any_of(std::begin(kMarks), std::end(kMarks), [bytes](const Mark& mark) {
    return bytes.size() > mark.offset && absl::StartsWith(bytes.substr(mark.offset), mark.text);
  });
}

// Lets OpenCV decode into memory of ours, which is used again and has slack at its end. (A matrix
// that has its memory already would do, too, but looks the same when OpenCV refuses a file.)
class BufferAllocator : public cv::MatAllocator {
 public:
  explicit BufferAllocator(ByteBuffer& buffer) : buffer_(buffer) {}

  cv::UMatData* allocate(int dims, const int* sizes, int type, void* /*data*/, size_t* step,
                         cv::AccessFlag /*flags*/, cv::UMatUsageFlags /*usage*/) const override {
    size_t bytes = CV_ELEM_SIZE(type);
    for (int i = dims - 1; i >= 0; --i) {
      step[i] = bytes;
      bytes *= sizes[i];
    }
    auto memory = std::make_unique<cv::UMatData>(this);
    memory->data = memory->origdata = buffer_.Resize(bytes);
    memory->size = bytes;
    return memory.release();
  }
  bool allocate(cv::UMatData* memory, cv::AccessFlag /*flags*/,
                cv::UMatUsageFlags /*usage*/) const override {
    return memory != nullptr;
  }
  void deallocate(cv::UMatData* memory) const override { delete memory; }

 private:
  ByteBuffer& buffer_;
};

// Decodes into `out`: as many bytes as the frame has pixels of `type`.
absl::Status Decode(const ImageFile& image, const cv::Mat& file, int flags, int type,
                    ByteBuffer& out) {
  const BufferAllocator allocator(out);
  cv::Mat decoded;
  decoded.allocator = const_cast<BufferAllocator*>(&allocator);
  cv::imdecode(file, flags | cv::IMREAD_IGNORE_ORIENTATION, &decoded);
  if (decoded.empty()) return BadImage(image, "is damaged: its pixels cannot be decoded");
  // OpenCV takes memory of its own where there is none for us.
  if (decoded.data != out.data()) throw std::bad_alloc();
  if (decoded.cols != image.frame.width || decoded.rows != image.frame.height ||
      decoded.type() != type) {
    return BadImage(image, "is decoded to another size than its header says");
  }
  return absl::OkStatus();
}

// Pillow's convert("RGB") does not scale these: it cuts what is above 255.
absl::Status DecodeGrey16(const ImageFile& image, const cv::Mat& file, DecodeScratch& scratch,
                          Pixels& pixels) {
  CONTEXTPOOL_RETURN_IF_ERROR(Decode(image, file, cv::IMREAD_GRAYSCALE | cv::IMREAD_ANYDEPTH,
                                     CV_16UC1, scratch.pixels.bytes));
  const uint8_t* sample = scratch.pixels.bytes.data();
  uint8_t* out = pixels.Resize(image.width, image.height);
  for (const uint8_t* end = out + pixels.bytes.size(); out < end; out += 3) {
    uint16_t value;
    std::memcpy(&value, sample, sizeof(value));
    std::fill_n(out, 3, static_cast<uint8_t>(std::min<uint16_t>(value, 255)));
    sample += sizeof(value);
  }
  return absl::OkStatus();
}

// OpenCV gives blue, green, red.
absl::Status DecodeColour(const ImageFile& image, const cv::Mat& file, Pixels& pixels) {
  pixels.width = image.frame.width;
  pixels.height = image.frame.height;
  CONTEXTPOOL_RETURN_IF_ERROR(Decode(image, file, cv::IMREAD_COLOR, CV_8UC3, pixels.bytes));
  BestRows().swap_channels(pixels.bytes.data(), pixels.bytes.size() / 3);
  return absl::OkStatus();
}

absl::Status DecodeFrame(const ImageFile& image, DecodeScratch& scratch, Pixels& pixels) {
  if (image.format == ImageFormat::kJpeg) return DecodeJpeg(image, pixels);
  const cv::Mat file = Joined(image, scratch.file);
  if (HasMarkOfOthers(file)) return BadImage(image, "has the mark of another format inside");
  return image.is_grey16 ? DecodeGrey16(image, file, scratch, pixels)
                         : DecodeColour(image, file, pixels);
}

// Puts a frame that is smaller than the picture where it belongs.
void PlaceFrame(const ImageFile& image, const Pixels& frame, Pixels& picture) {
  uint8_t* out = picture.Resize(image.width, image.height);
  std::memset(out, 0, picture.bytes.size());
  for (int32_t y = 0; y < frame.height; ++y) {
    std::memcpy(picture.row(image.frame.top + y) + size_t{3} * image.frame.left, frame.row(y),
                frame.row_bytes());
  }
}

absl::Status DecodeAndTurn(const ImageFile& image, DecodeScratch& scratch, Pixels& pixels) {
  CONTEXTPOOL_RETURN_IF_ERROR(DecodeFrame(image, scratch, pixels));
  if (image.frame.width != image.width || image.frame.height != image.height) {
    PlaceFrame(image, pixels, scratch.pixels);
    std::swap(pixels, scratch.pixels);
  }
  if (image.orientation != 1) {
    TurnUpright(pixels, image.orientation, scratch.pixels);
    std::swap(pixels, scratch.pixels);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status DecodeImage(const ImageFile& image, DecodeScratch& scratch, Pixels& pixels) {
  try {
    return DecodeAndTurn(image, scratch, pixels);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("there is not enough memory for the image");
  } catch (const cv::Exception& error) {
    if (error.code == cv::Error::StsNoMem) {
      return absl::ResourceExhaustedError("there is not enough memory for the image");
    }
    return BadImage(image, "is damaged: its pixels cannot be decoded");
  } catch (const std::exception&) {
    return BadImage(image, "is damaged: its pixels cannot be decoded");
  }
}

}  // namespace contextpool::engine
