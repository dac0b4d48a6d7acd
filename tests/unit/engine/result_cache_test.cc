#include "engine/result_cache.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

// A task over ids and room of its own.
struct Input {
  explicit Input(std::vector<int32_t> token_ids, OutputSpec output = {}, float value = 0)
      : ids(std::move(token_ids)), values(4, value) {
    task.token_ids = ids;
    task.output = output;
    task.values = values;
  }

  std::vector<int32_t> ids;
  std::vector<float> values;
  Task task;
};

std::vector<int32_t> Ids(int32_t first, size_t count = 3) {
  std::vector<int32_t> ids(count);
  std::iota(ids.begin(), ids.end(), first);
  return ids;
}

TEST(ResultCacheTest, GivesTheResultOfTheSameIdsAndOutput) {
  ResultCache cache(1 << 20);
  cache.Put(Input(Ids(1), {}, 0.25f).task);
  Input again(Ids(1));
  EXPECT_TRUE(cache.Find(again.task));
  EXPECT_EQ(again.values, std::vector<float>(4, 0.25f));
}

TEST(ResultCacheTest, TellsThousandsOfInputsApart) {
  ResultCache cache(1 << 24);
  constexpr int32_t kInputs = 20'000;
  for (int32_t i = 0; i < kInputs; ++i) cache.Put(Input(Ids(i), {}, static_cast<float>(i)).task);
  for (int32_t i = 0; i < kInputs; ++i) {
    Input again(Ids(i));
    ASSERT_TRUE(cache.Find(again.task));
    ASSERT_EQ(again.values[0], static_cast<float>(i));
  }
}

TEST(ResultCacheTest, OutlivesTheTaskThatFilledIt) {
  ResultCache cache(1 << 20);
  {
    Input gone(Ids(7), {}, 2);
    cache.Put(gone.task);
    std::fill(gone.ids.begin(), gone.ids.end(), -1);
  }
  Input again(Ids(7));
  EXPECT_TRUE(cache.Find(again.task));
}

TEST(ResultCacheTest, OtherIdsAndOtherOutputsMiss) {
  ResultCache cache(1 << 20);
  const OutputSpec output{TaskKind::kEmbed, Pooling::kMean, true, false};
  cache.Put(Input(Ids(1), output, 1).task);
  const auto misses = [&cache](Input input) { return !cache.Find(input.task); };
  EXPECT_TRUE(misses(Input(Ids(2), output)));
  EXPECT_TRUE(misses(Input(Ids(1, 2), output)));
  EXPECT_TRUE(misses(Input(Ids(1, 4), output)));
  EXPECT_TRUE(misses(Input(Ids(1), {TaskKind::kClassify, Pooling::kMean, true, false})));
  EXPECT_TRUE(misses(Input(Ids(1), {TaskKind::kEmbed, Pooling::kCls, true, false})));
  EXPECT_TRUE(misses(Input(Ids(1), {TaskKind::kEmbed, Pooling::kMean, false, false})));
  EXPECT_FALSE(misses(Input(Ids(1), output)));
}

TEST(ResultCacheTest, ExplainedResultsAreNeitherKeptNorGiven) {
  ResultCache cache(1 << 20);
  OutputSpec explained;
  explained.explain = true;
  cache.Put(Input(Ids(1), explained).task);
  EXPECT_EQ(cache.bytes(), 0);
  cache.Put(Input(Ids(1)).task);
  Input input(Ids(1), explained);
  EXPECT_FALSE(cache.Find(input.task));
}

TEST(ResultCacheTest, TheLeastRecentlyUsedMakesRoom) {
  ResultCache measure(1 << 20);
  measure.Put(Input(Ids(0)).task);
  const int64_t entry = measure.bytes();
  ResultCache cache(3 * entry);
  for (int32_t first : {0, 10, 20}) cache.Put(Input(Ids(first)).task);
  const auto hits = [&cache](int32_t first) {
    Input input(Ids(first));
    return cache.Find(input.task);
  };
  EXPECT_TRUE(hits(0));  // 10 is now the oldest
  cache.Put(Input(Ids(30)).task);
  EXPECT_EQ(cache.bytes(), 3 * entry);
  EXPECT_FALSE(hits(10));
  EXPECT_TRUE(hits(0));
  EXPECT_TRUE(hits(20));
  EXPECT_TRUE(hits(30));
}

TEST(ResultCacheTest, NeverExceedsItsBoundAndRefusesWhatIsLarger) {
  ResultCache cache(2000);
  for (int32_t first = 0; first < 100; ++first) {
    cache.Put(Input(Ids(first, 1 + first % 40)).task);
    EXPECT_LE(cache.bytes(), 2000);
  }
  const int64_t before = cache.bytes();
  cache.Put(Input(Ids(0, 1000)).task);
  EXPECT_EQ(cache.bytes(), before);
  Input huge(Ids(0, 1000));
  EXPECT_FALSE(cache.Find(huge.task));
}

TEST(ResultCacheTest, PuttingAResultTwiceKeepsOne) {
  ResultCache cache(1 << 20);
  cache.Put(Input(Ids(1)).task);
  const int64_t bytes = cache.bytes();
  cache.Put(Input(Ids(1)).task);
  EXPECT_EQ(cache.bytes(), bytes);
}

}  // namespace
}  // namespace contextpool::engine
