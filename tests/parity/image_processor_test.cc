// Preparing images as transformers' Pillow image processors do:
// tests/golden/images/processors.json.
#include "engine/preprocess/image_processor.h"

#include <span>
#include <vector>

#include "engine/model/image_config.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/preprocess/image_fixture.h"

namespace contextpool::engine {
namespace {

TEST(ImageProcessorParity, PixelsAreThoseOfTransformersProcessors) {
  const nlohmann::json cases = GoldenJson("processors.json");
  ASSERT_EQ(cases.size(), 36u);
  for (const auto& expected : cases) {
    SCOPED_TRACE(expected.dump());
    const ImageSize size = {expected["to_height"], expected["to_width"]};
    const auto config = ParseImageConfig(expected["config"].dump(), size);
    ASSERT_TRUE(config.ok()) << config.status();
    EXPECT_EQ(config->size, size);
    const int32_t width = expected["width"], height = expected["height"];
    const ImageProcessor processor(*config);
    std::vector<uint8_t> pixels(processor.pixel_bytes());
    const absl::Status status =
        processor.Prepare(Png(Noise(width, height), width, height), {}, std::span(pixels));
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(Crc32(pixels.data(), pixels.size()), expected["crc32"]);
  }
}

}  // namespace
}  // namespace contextpool::engine
