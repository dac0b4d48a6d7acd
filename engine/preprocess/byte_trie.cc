#include "engine/preprocess/byte_trie.h"

#include <algorithm>

namespace contextpool::engine {

namespace {
constexpr size_t kByteValues = 256;
// Free places tried for one node's children. More would pack a hostile key set tighter, but then
// building is quadratic in the keys; a real vocabulary hardly gets here.
constexpr int kMaxMisses = 256;
}  // namespace

// Entries [begin, end) share their first `depth` bytes, which lead to `node`.
struct ByteTrie::Range {
  size_t begin, end, depth;
  uint32_t node;
};

ByteTrie::ByteTrie(std::vector<std::pair<absl::string_view, int32_t>> entries) {
  std::stable_sort(entries.begin(), entries.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  nodes_.resize(kRoot + 1 + kByteValues);
  std::vector<Range> pending = {{0, entries.size(), 0, kRoot}};
  std::vector<Range> children;
  std::vector<uint8_t> bytes;
  while (!pending.empty()) {
    Range range = pending.back();
    pending.pop_back();
    for (; range.begin < range.end && entries[range.begin].first.size() == range.depth;
         ++range.begin) {
      int32_t& value = nodes_[range.node].value;
      if (range.depth > 0 && value < 0) value = entries[range.begin].second;
    }
    children.clear();
    bytes.clear();
    for (size_t i = range.begin; i < range.end; ++i) {
      const auto byte = static_cast<uint8_t>(entries[i].first[range.depth]);
      if (bytes.empty() || bytes.back() != byte) {
        bytes.push_back(byte);
        children.push_back({i, i, range.depth + 1, 0});
      }
      children.back().end = i + 1;
    }
    if (bytes.empty()) continue;
    const uint32_t base = FindBase(bytes);
    nodes_[range.node].base = base;
    for (size_t i = 0; i < bytes.size(); ++i) {
      children[i].node = base + bytes[i];
      nodes_[children[i].node].parent = range.node;
      pending.push_back(children[i]);
    }
  }
  nodes_.shrink_to_fit();
}

uint32_t ByteTrie::FindBase(const std::vector<uint8_t>& bytes) {
  const auto is_free = [this](size_t index) {
    return index >= nodes_.size() || nodes_[index].parent == kFree;
  };
  size_t used = 0;
  int misses = 0;
  const size_t begin = std::max<size_t>(first_candidate_, bytes.front() + 1);
  size_t index = begin;
  for (; misses < kMaxMisses; ++index) {
    ++build_probes_;
    if (!is_free(index)) {
      ++used;
      continue;
    }
    const size_t base = index - bytes.front();
    if (std::all_of(bytes.begin(), bytes.end(), [&](uint8_t b) { return is_free(base + b); })) {
      break;
    }
    ++misses;
  }
  // Never looking again at what is nearly full, or took all tries, keeps building linear.
  const bool gave_up = misses == kMaxMisses;
  if (gave_up || used * 20 >= (index - begin + 1) * 19) first_candidate_ = index;
  if (gave_up) index = std::max(index, end_);
  const size_t base = index - bytes.front();
  end_ = std::max(end_, base + bytes.back() + 1);
  nodes_.resize(std::max(nodes_.size(), base + 2 * kByteValues));
  return base;
}

}  // namespace contextpool::engine
