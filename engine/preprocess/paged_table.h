// A value per code point, equal pages stored once.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <type_traits>
#include <vector>

namespace contextpool::engine {

inline constexpr char32_t kCodePoints = 0x110000;

template <typename T>
class PagedTable {
  static_assert(std::has_unique_object_representations_v<T>);

 public:
  // `values` has kCodePoints entries.
  explicit PagedTable(const std::vector<T>& values) {
    std::map<std::string, uint16_t> seen;
    for (size_t page = 0; page < pages_.size(); ++page) {
      const T* begin = values.data() + page * kPageSize;
      const std::string content(reinterpret_cast<const char*>(begin), kPageSize * sizeof(T));
      const auto [it, is_new] = seen.try_emplace(content, static_cast<uint16_t>(seen.size()));
      if (is_new) entries_.insert(entries_.end(), begin, begin + kPageSize);
      pages_[page] = it->second;
    }
  }

  // REQUIRES: code_point < kCodePoints.
  const T& operator[](char32_t code_point) const {
    return entries_[(size_t{pages_[code_point / kPageSize]} * kPageSize) + code_point % kPageSize];
  }

 private:
  static constexpr size_t kPageSize = 128;
  std::array<uint16_t, kCodePoints / kPageSize> pages_;
  std::vector<T> entries_;
};

}  // namespace contextpool::engine
