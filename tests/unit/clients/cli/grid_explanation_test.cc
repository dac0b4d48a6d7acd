#include "clients/cli/grid_explanation.h"

#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Two layers over a grid of 3 x 2 behind one token.
v1::Explanation TwoLayers() {
  v1::Explanation explanation;
  explanation.set_grid_height(2);
  explanation.set_grid_width(3);
  for (const uint32_t index : {1, 4}) {
    v1::ContextPoolLayer& layer = *explanation.add_layers();
    layer.set_layer(index);
    for (const float weight : {0.0f, 0.5f, 0.25f, 1.0f, 0.75f, 0.125f, 0.375f}) {
      layer.add_weight(weight);
      layer.add_support_size(weight * static_cast<float>(index));
    }
  }
  return explanation;
}

TEST(GridLayers, LeavesOutTheTokensBeforeTheGrid) {
  const auto layers = GridLayers(TwoLayers());
  ASSERT_TRUE(layers.ok()) << layers.status();
  ASSERT_EQ(layers->size(), 2u);
  EXPECT_EQ((*layers)[1].layer, 4u);
  EXPECT_THAT((*layers)[1].weights, ElementsAre(0.5f, 0.25f, 1.0f, 0.75f, 0.125f, 0.375f));
  EXPECT_THAT((*layers)[1].support_sizes, ElementsAre(2.0f, 1.0f, 4.0f, 3.0f, 0.5f, 1.5f));
}

TEST(GridLayers, TakesNumbersThatAreNoneAsZero) {
  v1::Explanation explanation = TwoLayers();
  explanation.mutable_layers(0)->set_weight(1, std::numeric_limits<float>::quiet_NaN());
  explanation.mutable_layers(0)->set_weight(2, std::numeric_limits<float>::infinity());
  explanation.mutable_layers(0)->set_weight(3, -1);
  EXPECT_THAT((*GridLayers(explanation))[0].weights,
              ElementsAre(0.0f, 0.0f, 0.0f, 0.75f, 0.125f, 0.375f));
}

TEST(GridLayers, RefusesMalformedReplies) {
  EXPECT_EQ(GridLayers({}).status().code(), absl::StatusCode::kInternal);
  v1::Explanation none = TwoLayers();
  none.clear_layers();
  EXPECT_FALSE(GridLayers(none).ok());
  v1::Explanation few = TwoLayers();
  few.mutable_layers(1)->mutable_weight()->Truncate(5);
  few.mutable_layers(1)->mutable_support_size()->Truncate(5);
  EXPECT_THAT(std::string(GridLayers(few).status().message()), HasSubstr("layer 4"));
  v1::Explanation uneven = TwoLayers();
  uneven.mutable_layers(0)->add_weight(1);
  EXPECT_FALSE(GridLayers(uneven).ok());
  v1::Explanation large = TwoLayers();
  large.set_grid_height(std::numeric_limits<uint32_t>::max());
  large.set_grid_width(std::numeric_limits<uint32_t>::max());
  EXPECT_FALSE(GridLayers(large).ok());
}

TEST(TabulateExplanation, HasALinePerLayer) {
  EXPECT_EQ("\n" + TabulateExplanation(TwoLayers(), 3), R"(
   LAYER  WEIGHT min  mean  max  SUPPORT SIZE min  mean  max
       1       0.125   0.5    1             0.125   0.5    1
       4       0.125   0.5    1               0.5     2    4

   grid of 3 x 2 tokens, support sizes in cells; --explain=out.png draws it
)");
  EXPECT_THAT(TabulateExplanation({}, 3), HasSubstr("   the server's explanation has no grid"));
}

}  // namespace
}  // namespace contextpool::cli
