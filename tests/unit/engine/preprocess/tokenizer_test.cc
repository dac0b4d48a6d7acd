#include "engine/preprocess/tokenizer.h"

#include <string>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/preprocess/tokenizer_fixture.h"

namespace contextpool::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::unique_ptr<Tokenizer> Make(const nlohmann::json& json) {
  auto tokenizer = Tokenizer::FromJson(json.dump());
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

// Ids without special tokens.
std::vector<int32_t> Ids(const Tokenizer& tokenizer, absl::string_view text) {
  EncodeOptions options;
  options.add_special_tokens = false;
  options.max_tokens = 1 << 30;
  std::vector<int32_t> ids;
  const auto summary = tokenizer.Encode(text, options, ids);
  EXPECT_TRUE(summary.ok()) << summary.status();
  return ids;
}

TEST(WordPieceTokenizer, TakesTheLongestPieceFirst) {
  const auto tokenizer = Make(WordPieceJson());
  EXPECT_THAT(Ids(*tokenizer, "UNwanted, running"), ElementsAre(5, 6, 7, 11, 9, 10));
  EXPECT_THAT(Ids(*tokenizer, "lowlowest"), ElementsAre(12, 14));
}

TEST(WordPieceTokenizer, AWordWithAnUnknownPartIsUnknownAsAWhole) {
  const auto tokenizer = Make(WordPieceJson());
  EXPECT_THAT(Ids(*tokenizer, "wantx want"), ElementsAre(1, 8));
}

TEST(WordPieceTokenizer, CountsCharactersAndNotBytesOfLongWords) {
  nlohmann::json json = WordPieceJson();
  json["model"]["vocab"]["\u00df"] = 16;
  json["model"]["vocab"]["##\u00df"] = 17;
  const auto tokenizer = Make(json);
  std::string word;
  for (int i = 0; i < 10; ++i) word += "\u00df";
  EXPECT_EQ(Ids(*tokenizer, word).size(), 10u);
  EXPECT_THAT(Ids(*tokenizer, word + "\u00df"), ElementsAre(1));
}

TEST(WordPieceTokenizer, SplitsAroundPunctuationAndChineseCharacters) {
  const auto tokenizer = Make(WordPieceJson());
  EXPECT_THAT(Ids(*tokenizer, "low,low\u4e2dlow"), ElementsAre(12, 11, 12, 15, 12));
}

TEST(WordPieceTokenizer, EmptyAndBlankTextsAreOnlySpecialTokens) {
  const auto tokenizer = Make(WordPieceJson());
  for (const char* text : {"", " ", "\t\n \u3000"}) {
    std::vector<int32_t> ids = {99};
    const auto summary = tokenizer->Encode(text, {}, ids);
    ASSERT_TRUE(summary.ok());
    EXPECT_THAT(ids, ElementsAre(99, 2, 3));
    EXPECT_EQ(summary->tokens_used, 2);
    EXPECT_EQ(summary->tokens_seen, 2);
    EXPECT_FALSE(summary->truncated);
  }
}

TEST(WordPieceTokenizer, TruncationLeavesRoomForSpecialTokens) {
  const auto tokenizer = Make(WordPieceJson());
  EncodeOptions options;
  options.max_tokens = 4;
  std::vector<int32_t> ids;
  auto summary = tokenizer->Encode("unwanted running", options, ids);
  ASSERT_TRUE(summary.ok());
  EXPECT_THAT(ids, ElementsAre(2, 5, 6, 3));
  EXPECT_EQ(summary->tokens_used, 4);
  EXPECT_EQ(summary->tokens_seen, 7);
  EXPECT_TRUE(summary->truncated);

  ids.clear();
  options.truncation = Truncation::kLeft;
  ASSERT_TRUE(tokenizer->Encode("unwanted running", options, ids).ok());
  EXPECT_THAT(ids, ElementsAre(2, 9, 10, 3));

  ids.clear();
  options.max_tokens = 7;
  summary = tokenizer->Encode("unwanted running", options, ids);
  EXPECT_FALSE(summary->truncated);
  EXPECT_EQ(ids.size(), 7u);
}

TEST(WordPieceTokenizer, RejectsWhatIsTooLongAndLeavesTheIdsAlone) {
  const auto tokenizer = Make(WordPieceJson());
  EncodeOptions options;
  options.max_tokens = 6;
  options.truncation = Truncation::kReject;
  std::vector<int32_t> ids = {42};
  const auto summary = tokenizer->Encode("unwanted running", options, ids);
  EXPECT_EQ(summary.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(summary.status().message()), HasSubstr("7 tokens, more than 6"));
  EXPECT_THAT(ids, ElementsAre(42));
}

TEST(WordPieceTokenizer, RejectsMalformedUtf8AndLeavesTheIdsAlone) {
  const auto tokenizer = Make(WordPieceJson());
  std::vector<int32_t> ids = {42};
  const auto summary = tokenizer->Encode("low\xff", {}, ids);
  EXPECT_EQ(summary.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(summary.status().message()), HasSubstr("byte 3"));
  EXPECT_THAT(ids, ElementsAre(42));
}

TEST(WordPieceTokenizer, RefusesALimitBelowTheSpecialTokens) {
  const auto tokenizer = Make(WordPieceJson());
  EncodeOptions options;
  options.max_tokens = 1;
  std::vector<int32_t> ids;
  EXPECT_FALSE(tokenizer->Encode("low", options, ids).ok());
  EXPECT_THAT(ids, IsEmpty());
}

TEST(WordPieceTokenizer, CountsAllTokensOfALongTextButKeepsFew) {
  const auto tokenizer = Make(WordPieceJson());
  std::string text = "want ";
  for (int i = 0; i < 200000; ++i) text += "low ";
  text += "run";
  EncodeOptions options;
  options.max_tokens = 5;
  std::vector<int32_t> ids;
  auto summary = tokenizer->Encode(text, options, ids);
  EXPECT_EQ(summary->tokens_seen, 200004);
  EXPECT_THAT(ids, ElementsAre(2, 8, 12, 12, 3));
  EXPECT_LT(ids.capacity(), 4096u);

  std::vector<int32_t> tail;
  options.truncation = Truncation::kLeft;
  summary = tokenizer->Encode(text, options, tail);
  EXPECT_EQ(summary->tokens_seen, 200004);
  EXPECT_THAT(tail, ElementsAre(2, 12, 12, 9, 3));
  EXPECT_LT(tail.capacity(), 4096u);
}

TEST(AddedTokens, AreFoundAnywhereExceptWhereTheirFlagsForbid) {
  nlohmann::json json = WordPieceJson();
  json["added_tokens"].push_back(AddedTokenJson("<w>", 16, {"single_word"}));
  json["added_tokens"].push_back(AddedTokenJson("<x", 17));
  json["added_tokens"].push_back(AddedTokenJson("<xy>", 18));
  const auto tokenizer = Make(json);
  EXPECT_THAT(Ids(*tokenizer, "low[MASK]low"), ElementsAre(12, 4, 12));
  EXPECT_THAT(Ids(*tokenizer, "[mask]"), ElementsAre(1, 1, 1)) << "not normalised: case counts";
  EXPECT_THAT(Ids(*tokenizer, "low,<w>"), ElementsAre(12, 11, 16));
  EXPECT_THAT(Ids(*tokenizer, "low<w>"), ElementsAre(12, 1, 1, 1));
  EXPECT_THAT(Ids(*tokenizer, "<xy><x,"), ElementsAre(18, 17, 11)) << "longest first";
}

TEST(AddedTokens, NormalizedOnesAreFoundInNormalizedText) {
  nlohmann::json json = WordPieceJson();
  json["added_tokens"].push_back(AddedTokenJson("Caf\u00e9", 16, {"normalized"}));
  const auto tokenizer = Make(json);
  EXPECT_THAT(Ids(*tokenizer, "CAFE\u0301,cafe"), ElementsAre(16, 11, 16));
  EXPECT_EQ(tokenizer->TokenText(16), "Caf\u00e9");
}

TEST(AddedTokens, StrippingTakesWhitespaceAlong) {
  nlohmann::json json = ByteLevelJson();
  json["added_tokens"].push_back(AddedTokenJson("<l>", 257, {"lstrip"}));
  json["added_tokens"].push_back(AddedTokenJson("<r>", 258, {"rstrip"}));
  const auto tokenizer = Make(json);
  EXPECT_THAT(Ids(*tokenizer, " \u3000<l> <r> \n!"), ElementsAre(257, ' ' + 1, 258, '!' + 1));
  EXPECT_THAT(Ids(*tokenizer, "<r>  <l>"), ElementsAre(258, 257));
}

TEST(ByteLevelTokenizer, EveryByteIsAToken) {
  const auto tokenizer = Make(ByteLevelJson());
  std::vector<int32_t> expected;
  for (const unsigned char byte : std::string("a \u00e9\U0001f600\n")) expected.push_back(byte + 1);
  EXPECT_THAT(Ids(*tokenizer, "a \u00e9\U0001f600\n"), ElementsAreArray(expected));
  EXPECT_THAT(Ids(*tokenizer, ""), IsEmpty());
  EXPECT_EQ(tokenizer->prefix_tokens() + tokenizer->suffix_tokens(), 0);
}

TEST(ByteLevelTokenizer, EveryPieceOfTextGetsASpaceIfAskedFor) {
  nlohmann::json json = ByteLevelJson();
  json["pre_tokenizer"]["add_prefix_space"] = true;
  const auto tokenizer = Make(json);
  EXPECT_THAT(Ids(*tokenizer, "a<pad>b<pad> c"),
              ElementsAre(' ' + 1, 'a' + 1, 0, ' ' + 1, 'b' + 1, 0, ' ' + 1, 'c' + 1));
  EXPECT_THAT(Ids(*tokenizer, ""), IsEmpty());
}

TEST(Tokenizer, KnowsItsVocabulary) {
  const auto tokenizer = Make(WordPieceJson());
  EXPECT_EQ(tokenizer->vocabulary_size(), 16);
  EXPECT_EQ(tokenizer->TokenText(6), "##want");
  EXPECT_EQ(tokenizer->TokenText(-1), "");
  EXPECT_EQ(tokenizer->TokenText(16), "");
  EXPECT_EQ(tokenizer->prefix_tokens(), 1);
  EXPECT_EQ(tokenizer->suffix_tokens(), 1);
}

TEST(Tokenizer, ServesManyThreadsAtOnce) {
  const auto tokenizer = Make(WordPieceJson());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&tokenizer, t] {
      std::string text;
      for (int i = 0; i <= t; ++i) text += "Unw\u00e1nted, ";
      for (int i = 0; i < 500; ++i) ASSERT_EQ(Ids(*tokenizer, text).size(), 4u * (t + 1));
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace contextpool::engine
