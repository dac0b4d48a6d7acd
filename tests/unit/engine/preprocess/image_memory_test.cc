// Images that memory does not suffice for. Each case runs in a process of its own, whose limit
// touches no other test.
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>

#include "engine/preprocess/image_decoder.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/preprocess/image_fixture.h"

namespace contextpool::engine {
namespace {

constexpr int32_t kSide = 7000;
constexpr size_t kPixelBytes = size_t{3} * kSide * kSide;

// The process may take so many bytes more than it has.
void LimitMemory(size_t more) {
  size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  const rlim_t bytes = pages * sysconf(_SC_PAGESIZE) + more;
  const rlimit limit = {bytes, bytes};
  if (setrlimit(RLIMIT_AS, &limit) != 0) std::abort();
}

// Exits with the status code of decoding.
[[noreturn]] void DecodeWithin(size_t bytes, const ImageFile& image) {
  DecodeScratch scratch;
  Pixels pixels;
  LimitMemory(bytes);
  std::exit(DecodeImage(image, scratch, pixels).raw_code());
}

ImageFile Large(ImageFormat format, const std::string& file) {
  ImageFile image;
  image.format = format;
  image.width = image.height = kSide;
  image.frame = {0, 0, kSide, kSide};
  image.parts = {file};
  return image;
}

testing::ExitedWithCode NoMemory() {
  return testing::ExitedWithCode(static_cast<int>(absl::StatusCode::kResourceExhausted));
}

TEST(ImageMemory, TooLittleForAJpegIsNoFaultOfTheFile) {
  std::string file = ReadGolden("progressive_444.jpg");
  const std::string side = BigEndian32(kSide).substr(2);
  file.replace(file.find("\xff\xc2") + 5, 4, side + side);
  const ImageFile image = Large(ImageFormat::kJpeg, file);
  EXPECT_EXIT(DecodeWithin(kPixelBytes / 2, image), NoMemory(), "") << "the pixels";
  EXPECT_EXIT(DecodeWithin(kPixelBytes * 2, image), NoMemory(), "") << "the coefficients";
}

TEST(ImageMemory, TooLittleForAPngIsNoFaultOfTheFile) {
  const std::string file = PngSignature() + PngHeader(kSide, kSide) +
                           PngChunk("IDAT", Stored("x")) + PngChunk("IEND", "");
  EXPECT_EXIT(DecodeWithin(kPixelBytes / 2, Large(ImageFormat::kPng, file)), NoMemory(), "");
}

}  // namespace
}  // namespace contextpool::engine
