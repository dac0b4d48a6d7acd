// Longest-prefix search over a fixed set of byte strings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace contextpool::engine {

// A double-array trie: the child of node s for byte b is node base[s] + b, provided that its
// `parent` is s. One cache line per byte of a match, no hashing, no allocation.
class ByteTrie {
 public:
  struct Match {
    size_t size_bytes = 0;
    int32_t value = -1;  // -1: no key is a prefix.
  };

  // Values are not negative; of equal keys the first given counts. Empty keys never match.
  explicit ByteTrie(std::vector<std::pair<absl::string_view, int32_t>> entries);

  // The longest key that `text` starts with.
  Match LongestPrefix(absl::string_view text) const {
    Match match;
    uint32_t node = kRoot;
    for (size_t i = 0; i < text.size(); ++i) {
      const uint32_t child = nodes_[node].base + static_cast<uint8_t>(text[i]);
      if (nodes_[child].parent != node) break;
      node = child;
      if (nodes_[node].value >= 0) match = {i + 1, nodes_[node].value};
    }
    return match;
  }

  // Size and cost of building, both linear in the keys' bytes: places held, and places looked at.
  size_t node_count() const { return nodes_.size(); }
  size_t build_probes() const { return build_probes_; }

 private:
  static constexpr uint32_t kRoot = 0;
  static constexpr uint32_t kFree = 0xFFFFFFFF;
  struct Node {
    uint32_t base = 0;
    uint32_t parent = kFree;
    int32_t value = -1;
  };
  struct Range;

  uint32_t FindBase(const std::vector<uint8_t>& bytes);

  // Always kByteValues longer than the last base, so that no lookup needs a bounds check.
  std::vector<Node> nodes_;
  uint32_t first_candidate_ = 1;
  size_t end_ = 1;  // Behind the last node.
  size_t build_probes_ = 0;
};

}  // namespace contextpool::engine
