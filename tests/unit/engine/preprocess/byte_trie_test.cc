#include "engine/preprocess/byte_trie.h"

#include <random>
#include <set>
#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

TEST(ByteTrie, FindsTheLongestKeyThatTheTextStartsWith) {
  const ByteTrie trie({{"a", 0}, {"abc", 1}, {"b", 2}});
  EXPECT_EQ(trie.LongestPrefix("abcd").value, 1);
  EXPECT_EQ(trie.LongestPrefix("abcd").size_bytes, 3u);
  EXPECT_EQ(trie.LongestPrefix("abd").value, 0);
  EXPECT_EQ(trie.LongestPrefix("ab").size_bytes, 1u);
  EXPECT_EQ(trie.LongestPrefix("cab").value, -1);
  EXPECT_EQ(trie.LongestPrefix("").value, -1);
}

TEST(ByteTrie, HandlesEveryByteValue) {
  std::vector<std::string> keys;
  for (int b = 0; b < 256; ++b) keys.push_back({static_cast<char>(b), static_cast<char>(255 - b)});
  std::vector<std::pair<absl::string_view, int32_t>> entries;
  for (size_t i = 0; i < keys.size(); ++i) entries.emplace_back(keys[i], static_cast<int32_t>(i));
  const ByteTrie trie(entries);
  for (size_t i = 0; i < keys.size(); ++i) {
    EXPECT_EQ(trie.LongestPrefix(keys[i]).value, static_cast<int32_t>(i));
    EXPECT_EQ(trie.LongestPrefix(keys[i].substr(0, 1)).value, -1);
  }
}

TEST(ByteTrie, WithoutKeysFindsNothing) {
  const ByteTrie trie({});
  EXPECT_EQ(trie.LongestPrefix(absl::string_view("\0\0", 2)).value, -1);
}

TEST(ByteTrie, IgnoresEmptyKeysAndKeepsTheFirstOfEqualOnes) {
  const ByteTrie trie({{"", 0}, {"a", 1}, {"a", 2}});
  EXPECT_EQ(trie.LongestPrefix("a").value, 1);
  EXPECT_EQ(trie.LongestPrefix("b").value, -1);
}

// Random sets of children hardly ever fit between each other, so every node finds the holes before
// it useless.
TEST(ByteTrie, BuildingIsLinearEvenIfNoNodeFitsBetweenOthers) {
  for (const int children : {2, 6, 24, 100}) {
    std::mt19937 random(1);
    std::set<std::string> keys;
    for (int node = 0; node < 150000 / children; ++node) {
      for (int i = 0; i < children; ++i) {
        std::string key;
        for (const int c : {node >> 10, node >> 5 & 31, node & 31}) {
          key.push_back(static_cast<char>(c));
        }
        keys.insert(key + static_cast<char>(random() % 256));
      }
    }
    std::vector<std::pair<absl::string_view, int32_t>> entries;
    for (const std::string& key : keys) {
      entries.emplace_back(key, static_cast<int32_t>(entries.size()));
    }
    const ByteTrie trie(entries);
    EXPECT_LT(trie.build_probes(), 100 * keys.size()) << children;
    EXPECT_LT(trie.node_count(), 16 * keys.size()) << children;
    for (const auto& [key, value] : entries) ASSERT_EQ(trie.LongestPrefix(key).value, value);
  }
}

}  // namespace
}  // namespace contextpool::engine
