#include "engine/preprocess/image_processor.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "absl/strings/str_cat.h"
#include "engine/base/image_fault.h"
#include "engine/preprocess/image_decoder.h"
#include "engine/preprocess/image_resample.h"
#include "engine/preprocess/image_view.h"
#include "engine/preprocess/status_macros.h"

namespace contextpool::engine {
namespace {

// Of each buffer, what a thread keeps for its next image: enough for a photograph of five
// megapixels. The resampler keeps 16 MiB.
constexpr size_t kKeptBytes = size_t{16} << 20;

struct Scratch {
  DecodeScratch decode;
  Pixels picture;
  Resampler resampler;

  void Shrink() {
    decode.file.ShrinkTo(kKeptBytes);
    decode.pixels.bytes.ShrinkTo(kKeptBytes);
    picture.bytes.ShrinkTo(kKeptBytes);
    resampler.Shrink();
  }
};

ImageSize UprightSize(const ImageFile& file) {
  return file.orientation >= 5 ? ImageSize{file.width, file.height}
                               : ImageSize{file.height, file.width};
}

// Where an axis of the result lies on the resized image.
struct Cut {
  // Of the resized image.
  int32_t first;
  // Of the result; before and after these it is black.
  int32_t begin;
  int32_t count;
};

Cut CutOf(int32_t offset, int32_t resized, int32_t wanted) {
  return {std::max(offset, 0), std::max(-offset, 0), std::min(resized, wanted)};
}

absl::Status CheckSize(const ImageConfig& config, const ImageSize& resized) {
  if (config.center_crop || resized == config.size) return absl::OkStatus();
  return ImageError(
      ImageFault::kWrongSize,
      absl::StrCat("the model takes images of ", config.size.width, " x ", config.size.height,
                   " pixels as they are, and this one has ", resized.width, " x ", resized.height));
}

absl::Status Run(const ImageConfig& config, const ImageFile& file, const ImageView& view,
                 std::span<uint8_t> pixels, Scratch& scratch) {
  CONTEXTPOOL_RETURN_IF_ERROR(CheckSize(config, view.resized));
  CONTEXTPOOL_RETURN_IF_ERROR(DecodeImage(file, scratch.decode, scratch.picture));
  const Cut across = CutOf(view.left, view.resized.width, config.size.width);
  const Cut down = CutOf(view.top, view.resized.height, config.size.height);
  const size_t stride = size_t{3} * config.size.width;
  if (across.count < config.size.width || down.count < config.size.height) {
    std::memset(pixels.data(), 0, pixels.size());
  }
  const ResamplePlan plan = {
      config.resample, view.resized, across.first, down.first, {down.count, across.count}};
  scratch.resampler.Resample(scratch.picture, plan,
                             pixels.data() + down.begin * stride + size_t{3} * across.begin,
                             stride);
  return absl::OkStatus();
}

}  // namespace

absl::Status ImageProcessor::Prepare(absl::string_view file, const ImageLimits& limits,
                                     std::span<uint8_t> pixels, ImageFacts* facts) const {
  thread_local Scratch scratch;
  try {
    CONTEXTPOOL_ASSIGN_OR_RETURN(const ImageFile image, ParseImageFile(file, limits));
    const ImageView view = ViewOf(config_, UprightSize(image));
    if (facts != nullptr)
      *facts = {{image.height, image.width}, image.orientation, BoxOf(config_, view)};
    absl::Status status = Run(config_, image, view, pixels, scratch);
    scratch.Shrink();
    return status;
  } catch (const std::bad_alloc&) {
    scratch.Shrink();
    return absl::ResourceExhaustedError("there is not enough memory for the image");
  }
}

}  // namespace contextpool::engine
