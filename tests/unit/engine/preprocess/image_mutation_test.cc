// Ten thousand damaged image files: each is refused with a reason or gives pixels, the same ones
// every time.
#include <iterator>
#include <random>

#include "engine/preprocess/image_processor.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/preprocess/image_fixture.h"

namespace contextpool::engine {
namespace {

using Random = std::mt19937;

constexpr int kMutations = 10'000;
// So that sizes which a mutation enlarged do not make the test slow.
constexpr ImageLimits kLimits = {.max_pixels = 200'000};

// Most of what matters is in the first bytes of a file.
size_t RandomPlace(const std::string& file, Random& random) {
  return random() % (random() % 2 ? file.size() : std::min<size_t>(file.size(), 80));
}

void Damage(std::string& file, const std::string& other, Random& random) {
  const size_t at = RandomPlace(file, random);
  const size_t length = std::min<size_t>(1 + random() % 40, file.size() - at);
  switch (random() % 7) {
    case 0:
      file[at] ^= static_cast<char>(1 << random() % 8);
      break;
    case 1:
      file[at] = static_cast<char>(random());
      break;
    case 2:
      file.resize(at + 1);
      break;
    case 3:
      file.erase(at, length);
      break;
    case 4:
      file.insert(at, file.substr(RandomPlace(file, random), length));
      break;
    case 5: {
      // Numbers that programs trip over.
      constexpr uint32_t kNasty[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xffff, 0x10000};
      std::string number = BigEndian32(kNasty[random() % std::size(kNasty)]);
      if (random() % 2) std::reverse(number.begin(), number.end());
      file.replace(at, std::min<size_t>(4, file.size() - at), number);
      break;
    }
    default:
      file.replace(at, file.size() - at, other.substr(std::min(at, other.size())));
  }
}

ImageConfig SmallConfig() {
  ImageConfig config;
  config.size = {16, 16};
  config.shortest_edge = 18;
  config.center_crop = true;
  return config;
}

// Whether `file` gives pixels.
bool RefusedOrRight(const std::string& file) {
  static const ImageProcessor processor(SmallConfig());
  std::vector<uint8_t> first(processor.pixel_bytes(), 0), second(processor.pixel_bytes(), 255);
  const absl::Status status = processor.Prepare(file, kLimits, std::span(first));
  if (!status.ok()) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_FALSE(status.message().empty());
    return false;
  }
  // Another image in between leaves other bytes in the thread's memory.
  static const std::string other = ReadGolden("rgb8.png");
  EXPECT_TRUE(processor.Prepare(other, kLimits, std::span(second)).ok());
  EXPECT_TRUE(processor.Prepare(file, kLimits, std::span(second)).ok());
  EXPECT_EQ(first, second);
  return true;
}

TEST(ImageMutation, DamagedFilesAreRefusedOrGiveTheSamePixelsEveryTime) {
  std::vector<std::string> files;
  for (const std::string& name : GoldenImageNames()) files.push_back(ReadGolden(name));
  Random random(1);
  int right = 0;
  for (int i = 0; i < kMutations; ++i) {
    std::string file = files[i % files.size()];
    for (uint32_t n = 1 + random() % 3; n > 0 && !file.empty(); --n) {
      Damage(file, files[random() % files.size()], random);
    }
    right += RefusedOrRight(file);
    ASSERT_FALSE(testing::Test::HasFailure())
        << "mutation " << i << " of file " << i % files.size();
  }
  // Neither outcome is rare, so both have been tried.
  EXPECT_GT(right, kMutations / 10);
  EXPECT_LT(right, kMutations * 9 / 10);
}

}  // namespace
}  // namespace contextpool::engine
