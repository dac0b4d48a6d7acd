#include "engine/preprocess/image_jpeg_decoder.h"

#include <array>
#include <csetjmp>
#include <cstdint>
#include <span>
// clang-format off: each of these needs what the one before it declares.
#include <jerror.h>
#include <jpeglib.h>

#include <cstdio>
// clang-format on

#include "engine/preprocess/image_formats.h"

namespace contextpool::engine {
namespace {

// Where libjpeg goes when it fails.
struct ErrorManager : jpeg_error_mgr {
  std::jmp_buf failed;
};

// Reads a file that is in several parts, without joining them.
struct PartsSource : jpeg_source_mgr {
  std::span<const absl::string_view> rest;
};

[[noreturn]] void Fail(j_common_ptr state) {
  std::longjmp(static_cast<ErrorManager*>(state->err)->failed, 1);
}

// libjpeg would print these.
void IgnoreWarning(j_common_ptr /*state*/, int /*level*/) {}

void DoNothing(j_decompress_ptr /*state*/) {}

boolean NextPart(j_decompress_ptr state) {
  auto& source = *static_cast<PartsSource*>(state->src);
  if (source.rest.empty()) ERREXIT(state, JERR_INPUT_EOF);
  const absl::string_view part = source.rest.front();
  source.rest = source.rest.subspan(1);
  source.next_input_byte = reinterpret_cast<const JOCTET*>(part.data());
  source.bytes_in_buffer = part.size();
  return TRUE;
}

void Skip(j_decompress_ptr state, long bytes) {
  jpeg_source_mgr& source = *state->src;
  auto left = static_cast<size_t>(bytes);
  while (left > source.bytes_in_buffer) {
    left -= source.bytes_in_buffer;
    NextPart(state);
  }
  source.next_input_byte += left;
  source.bytes_in_buffer -= left;
}

// a * b / 255, to the nearest. REQUIRES: neither is above 255.
uint8_t MultiplyDivide255(uint32_t a, uint32_t b) {
  const uint32_t product = a * b + 128;
  return static_cast<uint8_t>((product + (product >> 8)) >> 8);
}

// Pillow takes all files for Adobe's, whose samples are 255 for no ink. `ink`: [width, 4].
void CmykToRgb(const uint8_t* ink, int32_t width, uint8_t* rgb) {
  for (int32_t x = 0; x < width; ++x, ink += 4, rgb += 3) {
    const uint8_t light = ink[3];
    for (int c = 0; c < 3; ++c) rgb[c] = light - MultiplyDivide255(255 - ink[c], light);
  }
}

// libjpeg fails by longjmp, so while it runs nothing between it and Decode has a destructor.
class Decompressor {
 public:
  explicit Decompressor(const ImageFile& image) : image_(image) {
    state_.err = jpeg_std_error(&errors_);
    errors_.error_exit = Fail;
    errors_.emit_message = IgnoreWarning;
    source_.init_source = DoNothing;
    source_.fill_input_buffer = NextPart;
    source_.skip_input_data = Skip;
    source_.resync_to_restart = jpeg_resync_to_restart;
    source_.term_source = DoNothing;
    source_.rest = image.parts;
  }
  ~Decompressor() { jpeg_destroy_decompress(&state_); }
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;

  // REQUIRES: `pixels` has the size of the picture.
  absl::Status Decode(Pixels& pixels) {
    if (setjmp(errors_.failed) != 0) return Error();
    jpeg_create_decompress(&state_);
    state_.src = &source_;
    jpeg_read_header(&state_, TRUE);
    const bool is_cmyk = state_.num_components == 4;
    state_.out_color_space = is_cmyk ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(&state_);
    if (state_.output_width != static_cast<JDIMENSION>(pixels.width) ||
        state_.output_height != static_cast<JDIMENSION>(pixels.height)) {
      return BadImage(image_, "is decoded to another size than its header says");
    }
    is_cmyk ? ReadCmyk(pixels) : ReadRgb(pixels);
    jpeg_finish_decompress(&state_);
    return absl::OkStatus();
  }

 private:
  j_common_ptr common() { return reinterpret_cast<j_common_ptr>(&state_); }

  absl::Status Error() {
    if (errors_.msg_code == JERR_OUT_OF_MEMORY) {
      return absl::ResourceExhaustedError("there is not enough memory for the image");
    }
    std::array<char, JMSG_LENGTH_MAX> reason;
    errors_.format_message(common(), reason.data());
    return BadImage(image_, "is damaged: its pixels cannot be decoded: ", reason.data());
  }

  void ReadRgb(Pixels& pixels) {
    while (state_.output_scanline < state_.output_height) {
      JSAMPROW row = pixels.row(static_cast<int32_t>(state_.output_scanline));
      jpeg_read_scanlines(&state_, &row, 1);
    }
  }

  void ReadCmyk(Pixels& pixels) {
    JSAMPARRAY ink = state_.mem->alloc_sarray(common(), JPOOL_IMAGE, 4 * state_.output_width, 1);
    for (int32_t y = 0; y < pixels.height; ++y) {
      jpeg_read_scanlines(&state_, ink, 1);
      CmykToRgb(ink[0], pixels.width, pixels.row(y));
    }
  }

  const ImageFile& image_;
  jpeg_decompress_struct state_ = {};
  ErrorManager errors_;
  PartsSource source_ = {};
};

}  // namespace

absl::Status DecodeJpeg(const ImageFile& image, Pixels& pixels) {
  pixels.Resize(image.width, image.height);
  return Decompressor(image).Decode(pixels);
}

}  // namespace contextpool::engine
