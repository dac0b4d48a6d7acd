#include "engine/preprocess/image_view.h"

#include <algorithm>

namespace contextpool::engine {
namespace {

ImageSize ResizedSize(const ImageConfig& config, const ImageSize& upright) {
  if (config.shortest_edge == 0) return config.resizes() ? config.resize : upright;
  const int32_t shorter = std::min(upright.width, upright.height);
  const int32_t longer = std::max(upright.width, upright.height);
  const auto resized =
      static_cast<int32_t>(static_cast<double>(int64_t{config.shortest_edge} * longer) / shorter);
  return upright.width <= upright.height ? ImageSize{resized, config.shortest_edge}
                                         : ImageSize{config.shortest_edge, resized};
}

}  // namespace

ImageView ViewOf(const ImageConfig& config, const ImageSize& upright) {
  const ImageSize resized = ResizedSize(config, upright);
  // Halves are rounded down, also below 0.
  return {resized, (resized.width - config.size.width) >> 1,
          (resized.height - config.size.height) >> 1};
}

ImageBox BoxOf(const ImageConfig& config, const ImageView& view) {
  const auto width = static_cast<float>(view.resized.width);
  const auto height = static_cast<float>(view.resized.height);
  return {static_cast<float>(view.left) / width, static_cast<float>(view.top) / height,
          static_cast<float>(config.size.width) / width,
          static_cast<float>(config.size.height) / height};
}

}  // namespace contextpool::engine
