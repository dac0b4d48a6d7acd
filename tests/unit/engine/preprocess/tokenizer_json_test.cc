// Which tokenizer.json documents load, and what the others are told.
#include <string>

#include "engine/preprocess/tokenizer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/preprocess/tokenizer_fixture.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string ErrorOf(const std::string& document) {
  const auto tokenizer = Tokenizer::FromJson(document);
  EXPECT_EQ(tokenizer.status().code(), absl::StatusCode::kInvalidArgument)
      << document.substr(0, 99);
  return std::string(tokenizer.status().message());
}

// The error after setting the value at `pointer`, in a document that loads without that.
std::string ErrorWith(json document, const char* pointer, const json& value) {
  document[json::json_pointer(pointer)] = value;
  return ErrorOf(document.dump());
}

std::string ErrorWithout(json document, const char* pointer) {
  const json::json_pointer where(pointer);
  document[where.parent_pointer()].erase(where.back());
  return ErrorOf(document.dump());
}

TEST(TokenizerJson, RefusesWhatIsNotAJsonObject) {
  for (const char* text : {"", "{", "[]", "null", "{} x", "{\"a\":\"\xff\"}"}) {
    // The caller puts the file's name in front.
    EXPECT_THAT(ErrorOf(text), AllOf(HasSubstr("JSON"), Not(HasSubstr("tokenizer.json")))) << text;
  }
}

TEST(TokenizerJson, RefusesDeepNestingByName) {
  EXPECT_THAT(ErrorOf(std::string(8 << 20, '[')), HasSubstr("nested deeper than 64"));
  EXPECT_THAT(ErrorOf("{\"model\":" + std::string(500000, '[') + std::string(500000, ']') + "}"),
              HasSubstr("nested deeper than 64"));
}

TEST(TokenizerJson, RefusesAKeyGivenTwice) {
  EXPECT_THAT(ErrorOf(R"({"model": {"vocab": {"a": 0, "a": 1}}})"), HasSubstr("\"a\" twice"));
}

TEST(TokenizerJson, NamesTheMissingKey) {
  for (const char* pointer :
       {"/model", "/model/type", "/model/vocab", "/model/unk_token",
        "/model/continuing_subword_prefix", "/model/max_input_chars_per_word",
        "/normalizer/lowercase", "/normalizer/clean_text", "/pre_tokenizer",
        "/post_processor/single", "/post_processor/special_tokens", "/added_tokens/0/content",
        "/added_tokens/0/id", "/added_tokens/0/normalized"}) {
    const std::string key = std::string(pointer).substr(std::string(pointer).rfind('/') + 1);
    EXPECT_THAT(ErrorWithout(WordPieceJson(), pointer), HasSubstr(key)) << pointer;
  }
}

TEST(TokenizerJson, NamesTheKeyOfAnotherType) {
  for (const char* pointer :
       {"/model", "/model/type", "/model/vocab", "/model/vocab/un", "/model/unk_token",
        "/model/max_input_chars_per_word", "/normalizer", "/normalizer/lowercase",
        "/normalizer/strip_accents", "/pre_tokenizer/type", "/added_tokens", "/added_tokens/1",
        "/post_processor/single", "/post_processor/special_tokens/[CLS]"}) {
    const std::string key = std::string(pointer).substr(std::string(pointer).rfind('/') + 1);
    EXPECT_THAT(ErrorWith(WordPieceJson(), pointer, json::array({1.5})), HasSubstr(key)) << pointer;
  }
}

TEST(TokenizerJson, RefusesUnsupportedPartsByName) {
  const json word_piece = WordPieceJson();
  EXPECT_THAT(ErrorWith(word_piece, "/model/type", "Unigram"),
              AllOf(HasSubstr("model"), HasSubstr("Unigram")));
  EXPECT_THAT(ErrorWith(word_piece, "/normalizer", {{"type", "NFKC"}}),
              AllOf(HasSubstr("normalizer"), HasSubstr("NFKC")));
  EXPECT_THAT(ErrorWith(word_piece, "/pre_tokenizer", {{"type", "Metaspace"}}),
              AllOf(HasSubstr("pre_tokenizer"), HasSubstr("Metaspace")));
  EXPECT_THAT(ErrorWith(word_piece, "/post_processor", {{"type", "Sequence"}}),
              AllOf(HasSubstr("post_processor"), HasSubstr("Sequence")));
  const json bytes = ByteLevelJson();
  EXPECT_THAT(ErrorWith(bytes, "/model/merges", {{"a", "b"}}), HasSubstr("model.merges"));
  EXPECT_THAT(ErrorWith(bytes, "/model/byte_fallback", true), HasSubstr("byte_fallback"));
  EXPECT_THAT(ErrorWith(bytes, "/model/ignore_merges", true), HasSubstr("ignore_merges"));
  EXPECT_THAT(ErrorWith(bytes, "/model/end_of_word_suffix", "</w>"), HasSubstr("end_of_word"));
  EXPECT_THAT(ErrorWith(bytes, "/pre_tokenizer/type", "BertPreTokenizer"),
              HasSubstr("pre_tokenizer"));
}

TEST(TokenizerJson, RefusesIdsThatAreNoRowsOfATable) {
  const json document = WordPieceJson();
  EXPECT_THAT(ErrorWith(document, "/model/vocab/un", -1), HasSubstr("model.vocab[\"un\"]"));
  EXPECT_THAT(ErrorWith(document, "/model/vocab/un", 4294967296), HasSubstr("vocab[\"un\"]"));
  EXPECT_THAT(ErrorWith(document, "/model/vocab/un", 16), HasSubstr("hole"));
  EXPECT_THAT(ErrorWith(document, "/model/vocab/un", 6), HasSubstr("twice"));
  EXPECT_THAT(ErrorWith(document, "/model/vocab", json::object()), HasSubstr("model.vocab"));
  EXPECT_THAT(ErrorWith(document, "/added_tokens/0/id", 7), HasSubstr("added_tokens[0]"));
  EXPECT_THAT(ErrorWith(document, "/added_tokens/2", AddedTokenJson("<new>", 17)),
              HasSubstr("added_tokens[2]"));
  EXPECT_THAT(ErrorWith(document, "/post_processor/special_tokens/[SEP]/ids/0", 16),
              HasSubstr("[SEP].ids[0]"));
}

TEST(TokenizerJson, RefusesAnUnknownTokenThatIsNotInTheVocabulary) {
  EXPECT_THAT(ErrorWith(WordPieceJson(), "/model/unk_token", "<unk>"),
              HasSubstr("model.unk_token"));
}

TEST(TokenizerJson, RefusesAByteWithoutToken) {
  json document = ByteLevelJson();
  document["model"]["vocab"].erase("a");
  document["model"]["vocab"]["instead"] = 'a' + 1;
  EXPECT_THAT(ErrorOf(document.dump()), HasSubstr("byte 97"));
}

TEST(TokenizerJson, RefusesAddedTokensThatCannotBeToldApart) {
  json document = WordPieceJson();
  document["added_tokens"].push_back(AddedTokenJson("Ab", 16, {"normalized"}));
  document["added_tokens"].push_back(AddedTokenJson("aB", 17, {"normalized"}));
  EXPECT_THAT(ErrorOf(document.dump()), HasSubstr("added_tokens"));
  EXPECT_THAT(ErrorWith(WordPieceJson(), "/added_tokens/1/content", ""),
              HasSubstr("added_tokens[1]"));
  EXPECT_THAT(ErrorWith(WordPieceJson(), "/added_tokens/1", AddedTokenJson("[CLS]", 2)),
              HasSubstr("twice"));
  EXPECT_THAT(
      ErrorWith(WordPieceJson(), "/added_tokens/2", AddedTokenJson("\u0301", 16, {"normalized"})),
      HasSubstr("empty after normalisation"));
}

TEST(TokenizerJson, RefusesTemplatesOfOtherShapes) {
  const json document = WordPieceJson();
  const json text = {{"Sequence", {{"id", "A"}}}};
  EXPECT_THAT(ErrorWith(document, "/post_processor/single", {text, text}), HasSubstr("single[1]"));
  EXPECT_THAT(ErrorWith(document, "/post_processor/single", json::array()), HasSubstr("single"));
  EXPECT_THAT(ErrorWith(document, "/post_processor/single/0/SpecialToken/id", "[X]"),
              HasSubstr("[X]"));
}

TEST(TokenizerJson, AcceptsEquivalentForms) {
  json document = WordPieceJson();
  document["post_processor"] = {
      {"type", "BertProcessing"}, {"cls", {"[CLS]", 2}}, {"sep", {"[SEP]", 3}}};
  document["normalizer"] = {
      {"type", "Sequence"},
      {"normalizers", {{{"type", "NFD"}}, {{"type", "StripAccents"}}, {{"type", "Lowercase"}}}}};
  document.erase("added_tokens");
  const auto tokenizer = Tokenizer::FromJson(document.dump());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  std::vector<int32_t> ids;
  ASSERT_TRUE((*tokenizer)->Encode("W\u00c1NT", {}, ids).ok());
  EXPECT_THAT(ids, testing::ElementsAre(2, 8, 3));
  document["normalizer"]["normalizers"].push_back({{"type", "NFD"}});
  EXPECT_THAT(ErrorOf(document.dump()), HasSubstr("normalizers[3]"));
}

}  // namespace
}  // namespace contextpool::engine
