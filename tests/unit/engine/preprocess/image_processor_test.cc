#include "engine/preprocess/image_processor.h"

#include <thread>

#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "engine/base/image_fault.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/preprocess/image_fixture.h"

namespace contextpool::engine {
namespace {

using ::testing::HasSubstr;

using Bytes = std::vector<uint8_t>;

absl::StatusOr<Bytes> Prepare(const ImageConfig& config, absl::string_view file,
                              ImageFacts* facts = nullptr) {
  const ImageProcessor processor(config);
  Bytes pixels(processor.pixel_bytes(), 0xa5);
  absl::Status status = processor.Prepare(file, {}, std::span(pixels), facts);
  if (!status.ok()) return status;
  return pixels;
}

ImageConfig AsTheyAre(int32_t height, int32_t width) {
  ImageConfig config;
  config.size = {height, width};
  return config;
}

TEST(ImageProcessor, WithoutResizingPixelsAreTheFiles) {
  EXPECT_EQ(*Prepare(AsTheyAre(5, 7), Png(Noise(7, 5), 7, 5)), Noise(7, 5));
}

TEST(ImageProcessor, ImagesAreTurnedBeforeTheyAreResized) {
  const nlohmann::json expected = GoldenJson("pixels.json")["lossless_orientation6.webp"];
  std::string rgb;
  ASSERT_TRUE(absl::Base64Unescape(expected["rgb"].get<std::string>(), &rgb));
  EXPECT_EQ(*Prepare(AsTheyAre(21, 14), ReadGolden("lossless_orientation6.webp")),
            Bytes(rgb.begin(), rgb.end()));
}

TEST(ImageProcessor, ImagesOfAnotherSizeAreRefusedByTheirHeaderWhereNothingIsResized) {
  std::string file = Png(Noise(5, 7), 5, 7);
  file[file.find("IDAT") + 6] ^= 0x40;
  const absl::Status wrong = Prepare(AsTheyAre(5, 7), file).status();
  EXPECT_EQ(wrong.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FaultOf(wrong), ImageFault::kWrongSize);
  EXPECT_THAT(std::string(wrong.message()), HasSubstr("5 x 7"));
  EXPECT_EQ(FaultOf(Prepare(AsTheyAre(7, 5), file).status()), ImageFault::kDamaged);
}

TEST(ImageProcessor, TheSizeThatMustFitIsThatOfTheUprightPicture) {
  const std::string file = ReadGolden("orientation6.jpg");
  EXPECT_TRUE(Prepare(AsTheyAre(21, 14), file).ok());
  EXPECT_EQ(FaultOf(Prepare(AsTheyAre(14, 21), file).status()), ImageFault::kWrongSize);
}

TEST(ImageProcessor, SmallImagesAreCroppedOntoBlack) {
  ImageConfig config = AsTheyAre(6, 4);
  config.center_crop = true;
  const Bytes source = Noise(3, 3);
  const Bytes pixels = *Prepare(config, Png(source, 3, 3));
  Bytes expected(6 * 4 * 3, 0);
  // Three rows in six, three columns in four: the odd black row and column come first.
  for (int y = 0; y < 3; ++y) {
    std::copy_n(&source[y * 9], 9, &expected[(y + 2) * 12 + 3]);
  }
  EXPECT_EQ(pixels, expected);
}

TEST(ImageProcessor, LongThinImagesAreCroppedAndNotEnlargedWhole) {
  ImageConfig config = AsTheyAre(224, 224);
  config.shortest_edge = 256;
  config.center_crop = true;
  const Bytes pixels = *Prepare(config, Png(Bytes(size_t{3} * 60000, 77), 60000, 1));
  EXPECT_EQ(pixels, Bytes(pixels.size(), 77));
}

TEST(ImageProcessor, ThreadsMayShareOne) {
  ImageConfig config = AsTheyAre(16, 16);
  config.resize = config.size;
  const ImageProcessor processor(config);
  std::vector<std::string> files;
  std::vector<Bytes> expected;
  for (const std::string& name : GoldenImageNames()) {
    files.push_back(ReadGolden(name));
    expected.push_back(*Prepare(config, files.back()));
  }
  std::vector<std::thread> threads;
  for (size_t first = 0; first < 4; ++first) {
    threads.emplace_back([&, first] {
      Bytes pixels(processor.pixel_bytes());
      for (size_t i = 0; i < files.size(); ++i) {
        const size_t file = (i * 7 + first) % files.size();
        EXPECT_TRUE(processor.Prepare(files[file], {}, std::span(pixels)).ok());
        EXPECT_EQ(pixels, expected[file]);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(ImageProcessor, TheSizeIsKnownEvenOfDamagedFiles) {
  ImageFacts facts;
  std::string file = ReadGolden("rgb16.png");
  EXPECT_TRUE(Prepare(AsTheyAre(14, 21), file, &facts).ok());
  EXPECT_EQ(facts.stored, (ImageSize{14, 21}));
  facts = {};
  file[file.find("IDAT") + 6] ^= 0x40;
  EXPECT_FALSE(Prepare(AsTheyAre(14, 21), file, &facts).ok());
  EXPECT_EQ(facts.stored, (ImageSize{14, 21}));
}

TEST(ImageProcessor, TheSeenPartIsThatOfTheUprightPicture) {
  ImageConfig config = AsTheyAre(7, 14);
  config.center_crop = true;
  // 14 x 21 pixels on their side.
  ImageFacts facts;
  ASSERT_TRUE(Prepare(config, ReadGolden("orientation6.jpg"), &facts).ok());
  EXPECT_EQ(facts.stored, (ImageSize{14, 21}));
  EXPECT_EQ(facts.orientation, 6);
  EXPECT_EQ(facts.seen, (ImageBox{0, 7.0f / 21, 1, 7.0f / 21}));
}

TEST(ImageProcessor, ScaleAndOffsetAreRescalingAndNormalising) {
  ImageConfig config;
  config.rescale_factor = 1.0 / 255;
  config.mean = {0.485, 0.456, 0.406};
  config.std = {0.229, 0.224, 0.225};
  for (int c = 0; c < 3; ++c) {
    for (const int pixel : {0, 1, 100, 255}) {
      const double expected = (pixel / 255.0 - config.mean[c]) / config.std[c];
      EXPECT_NEAR(pixel * config.scale()[c] + config.offset()[c], expected, 1e-6);
    }
  }
}

}  // namespace
}  // namespace contextpool::engine
