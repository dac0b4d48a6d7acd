// PNG files in memory.
#pragma once

#include <cstdint>
#include <opencv2/imgcodecs.hpp>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace contextpool::cli {

inline std::string EncodePng(const cv::Mat& image) {
  std::vector<uint8_t> bytes;
  cv::imencode(".png", image, bytes);
  return {bytes.begin(), bytes.end()};
}

// Empty if it is none.
inline cv::Mat DecodePng(absl::string_view file) {
  const std::vector<uint8_t> bytes(file.begin(), file.end());
  if (file.substr(1, 3) != "PNG") return {};
  return cv::imdecode(bytes, cv::IMREAD_COLOR);
}

}  // namespace contextpool::cli
