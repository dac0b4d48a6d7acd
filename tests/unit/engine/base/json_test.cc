#include "engine/base/json.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

using ::testing::HasSubstr;

std::string ErrorOf(const std::string& text) {
  return std::string(ParseJson(text).status().message());
}

TEST(Json, ReadsObjectsAndArrays) {
  EXPECT_EQ((*ParseJson(R"({"a": [1, {"a": 2}], "b": {"a": 3}})"))["a"][1]["a"], 2);
  EXPECT_EQ(ParseJson("[1, 2]")->size(), 2u);
  EXPECT_THAT(ErrorOf("1"), HasSubstr("neither a JSON object nor an array"));
}

TEST(Json, NamesTheByteOfTheFault) {
  EXPECT_THAT(ErrorOf("{\"a\": x}"), HasSubstr("byte 7"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("not valid JSON"));
  EXPECT_THAT(ErrorOf("{\"a\": 1e999}"), HasSubstr("out of range"));
}

TEST(Json, ReadsNestingUpTo64) {
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_TRUE(ParseJson(nested(64)).ok());
  EXPECT_THAT(ErrorOf(nested(66)), HasSubstr("nested deeper than 64"));
}

// What follows the 65th bracket is not even read, or this would be a syntax error.
TEST(Json, StopsAtTheFirstValueThatIsTooDeep) {
  EXPECT_THAT(ErrorOf(std::string(8 << 20, '[') + "x"), HasSubstr("nested deeper than 64"));
}

TEST(Json, RefusesAKeyTwiceInOneObject) {
  EXPECT_THAT(ErrorOf(R"({"x": {"a": 1, "b": 2, "a": 3}})"), HasSubstr("\"a\" twice"));
}

TEST(Json, QuotesAndCutsUntrustedText) {
  EXPECT_EQ(Quoted("a\n\"\xff"), "\"a\\n\\\"\\377\"");
  EXPECT_LT(Quoted(std::string(1000, 'x')).size(), 130u);
}

}  // namespace
}  // namespace contextpool::engine
