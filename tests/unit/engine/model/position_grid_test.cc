#include "engine/model/position_grid.h"

#include <cmath>
#include <string>

#include "engine/model/safetensors.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/model/model_files.h"

namespace contextpool::engine {
namespace {

constexpr int64_t kColumns = 3;
constexpr ImageSize kFrom = {5, 5};

std::vector<float> Tensor(const std::string& name) {
  auto file = SafetensorsFile::Open(GoldenFolder() / "vit", "positions.safetensors");
  EXPECT_TRUE(file.ok()) << file.status();
  const TensorEntry* entry = file->Find(name);
  std::vector<float> values(entry == nullptr ? 0 : static_cast<size_t>(entry->size));
  EXPECT_TRUE(entry != nullptr && file->ReadFloats(*entry, values).ok()) << name;
  return values;
}

TEST(PositionGridTest, InterpolatesAsPyTorch) {
  const std::vector<float> grid = Tensor("grid");
  for (const bool antialias : {false, true}) {
    for (const ImageSize& to :
         {ImageSize{2, 3}, ImageSize{5, 5}, ImageSize{4, 9}, ImageSize{1, 1}, ImageSize{16, 5}}) {
      const std::string name = std::string(antialias ? "antialiased_" : "plain_") +
                               std::to_string(to.height) + "_" + std::to_string(to.width);
      const std::vector<float> wanted = Tensor(name);
      const std::vector<float> found = ResizePositionGrid(grid, kColumns, kFrom, to, antialias);
      ASSERT_EQ(found.size(), wanted.size()) << name;
      for (size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], wanted[i], 2e-6) << name;
    }
  }
}

TEST(PositionGridTest, AGridOfTheSameSizeStays) {
  const std::vector<float> grid = Tensor("grid");
  EXPECT_EQ(ResizePositionGrid(grid, kColumns, kFrom, kFrom, false), grid);
}

}  // namespace
}  // namespace contextpool::engine
