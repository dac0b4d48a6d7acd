// Hundreds of damaged tokenizer.json files: each is refused with a reason or makes a tokeniser that
// works.
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "engine/preprocess/tokenizer.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/preprocess/tokenizer_fixture.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;
using Random = std::mt19937;

constexpr int kTriesPerDocument = 60;

std::vector<json> Documents() { return {WordPieceJson(), ByteLevelJson()}; }

// Loads `text` and, if that works, encodes with it. True if it loaded.
bool RefusedOrWorks(const std::string& text) {
  SCOPED_TRACE(text.substr(0, 4000));
  const auto tokenizer = Tokenizer::FromJson(text);
  if (!tokenizer.ok()) {
    EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_FALSE(tokenizer.status().message().empty());
    return false;
  }
  EncodeOptions options;
  options.max_tokens = 1 << 20;
  std::vector<int32_t> ids;
  const auto summary =
      (*tokenizer)->Encode("Unwanted [MASK] low\u4e2d\u00e9, running", options, ids);
  EXPECT_TRUE(summary.ok()) << summary.status();
  EXPECT_FALSE(ids.empty());
  for (const int32_t id : ids) {
    EXPECT_GE(id, 0);
    EXPECT_LT(id, (*tokenizer)->vocabulary_size());
  }
  return true;
}

// Every place in a document.
void Collect(const json& value, const json::json_pointer& place,
             std::vector<json::json_pointer>& places) {
  places.push_back(place);
  if (value.is_object()) {
    for (const auto& [key, child] : value.items()) Collect(child, place / key, places);
  } else if (value.is_array()) {
    for (size_t i = 0; i < value.size(); ++i) Collect(value[i], place / i, places);
  }
}

json& RandomValue(json& document, Random& random) {
  // The sections count alike, though the vocabulary has most of the places.
  json& section = *std::next(document.begin(), random() % document.size());
  std::vector<json::json_pointer> places;
  Collect(section, json::json_pointer(), places);
  return section.at(places[random() % places.size()]);
}

TEST(TokenizerMutation, SurvivesFlippedBits) {
  Random random(1);
  int loaded = 0;
  for (const json& document : Documents()) {
    for (int i = 0; i < kTriesPerDocument; ++i) {
      std::string text = document.dump();
      text[random() % text.size()] ^= static_cast<char>(1 << random() % 8);
      loaded += RefusedOrWorks(text);
    }
  }
  EXPECT_GT(loaded, 0);
}

TEST(TokenizerMutation, RefusesEveryTruncation) {
  Random random(2);
  EXPECT_FALSE(RefusedOrWorks(""));
  for (const json& document : Documents()) {
    const std::string text = document.dump();
    for (int i = 0; i < kTriesPerDocument; ++i) {
      EXPECT_FALSE(RefusedOrWorks(text.substr(0, random() % text.size())));
    }
  }
}

TEST(TokenizerMutation, SurvivesSwappedValues) {
  Random random(3);
  int loaded = 0;
  for (const json& document : Documents()) {
    for (int i = 0; i < kTriesPerDocument; ++i) {
      json mutated = document;
      const json other = RandomValue(mutated, random);
      json& value = RandomValue(mutated, random);
      const json old = value;
      value = other;
      if (i % 2 == 0) RandomValue(mutated, random) = old;
      loaded += RefusedOrWorks(mutated.dump());
    }
  }
  EXPECT_GT(loaded, 0);
}

TEST(TokenizerMutation, SurvivesValuesThatProgramsTripOver) {
  json deep = 1;
  for (int i = 0; i < 50; ++i) deep = json::array({deep});
  const std::vector<json> nasty = {nullptr,
                                   true,
                                   0,
                                   -1,
                                   INT64_MIN,
                                   INT64_MAX,
                                   UINT64_MAX,
                                   INT32_MAX,
                                   int64_t{1} << 32,
                                   1e300,
                                   0.5,
                                   "",
                                   std::string(1, '\0'),
                                   std::string(100000, 'x'),
                                   json::array(),
                                   json::object(),
                                   std::vector<int>(20000, 7),
                                   deep};
  Random random(4);
  for (const json& document : Documents()) {
    for (int i = 0; i < kTriesPerDocument; ++i) {
      json mutated = document;
      RandomValue(mutated, random) = nasty[i % nasty.size()];
      RefusedOrWorks(mutated.dump());
    }
  }
}

// What nlohmann::json cannot hold, so it is put into the text.
TEST(TokenizerMutation, RefusesTextThatNoWriterMakes) {
  const std::string depth(1 << 20, '[');
  const std::vector<std::string> raw = {"1e999",
                                        "-1e999",
                                        std::string(100000, '9'),
                                        "NaN",
                                        "\"\\ud800\"",
                                        "\"\xff\"",
                                        depth,
                                        absl::StrReplaceAll(depth, {{"[", "{\"a\":"}})};
  Random random(5);
  for (const json& document : Documents()) {
    for (int i = 0; i < kTriesPerDocument; ++i) {
      json mutated = document;
      RandomValue(mutated, random) = "<here>";
      EXPECT_FALSE(RefusedOrWorks(
          absl::StrReplaceAll(mutated.dump(), {{"\"<here>\"", raw[i % raw.size()]}})));
    }
  }
}

}  // namespace
}  // namespace contextpool::engine
