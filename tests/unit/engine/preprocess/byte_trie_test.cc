#include "engine/preprocess/byte_trie.h"

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

}  // namespace
}  // namespace contextpool::engine
