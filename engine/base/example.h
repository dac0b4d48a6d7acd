// One input as a model reads it: what preprocessing made of a text or of an image.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>

namespace contextpool::engine {

// Views; one of them is empty.
struct Example {
  std::span<const int32_t> token_ids;
  // [height, width, 3]: red, green, blue, as large as the model reads images.
  std::span<const uint8_t> pixels;

  int64_t size_bytes() const {
    return static_cast<int64_t>(token_ids.size_bytes() + pixels.size());
  }

  friend bool operator==(const Example& a, const Example& b) {
    return std::ranges::equal(a.token_ids, b.token_ids) && std::ranges::equal(a.pixels, b.pixels);
  }
  template <typename H>
  friend H AbslHashValue(H state, const Example& example) {
    const auto& [ids, pixels] = example;
    state = H::combine_contiguous(std::move(state), ids.data(), ids.size());
    state = H::combine_contiguous(std::move(state), pixels.data(), pixels.size());
    return H::combine(std::move(state), ids.size(), pixels.size());
  }
};

}  // namespace contextpool::engine
