#include "server/observe/log.h"

#include "gtest/gtest.h"

namespace contextpool::server {
namespace {

TEST(LogTest, TextIsOneLineWhateverTheValues) {
  EXPECT_EQ(Logger::Format(LogFormat::kText, "T", LogLevel::kInfo, "model ready",
                           {{"model", "m"},
                            {"reason", "two words\nand \"quotes\""},
                            {"empty", ""},
                            {"count", int64_t{3}},
                            {"seconds", 0.5},
                            {"ok", true}}),
            R"(T INFO model ready model=m reason="two words\nand \"quotes\"" empty="" count=3)"
            R"( seconds=0.5 ok=true)");
}

TEST(LogTest, JsonEscapesAndKeepsTypes) {
  EXPECT_EQ(Logger::Format(LogFormat::kJson, "T", LogLevel::kError, "a\nb",
                           {{"text", "\"x\""}, {"count", int64_t{3}}, {"ok", false}}),
            R"({"time":"T","level":"error","message":"a\nb","text":"\"x\"","count":3,"ok":false})");
}

TEST(LogTest, BytesThatAreNotUtf8DoNotBreakJson) {
  EXPECT_EQ(Logger::Format(LogFormat::kJson, "T", LogLevel::kInfo, "\xff", {}),
            "{\"time\":\"T\",\"level\":\"info\",\"message\":\"\xEF\xBF\xBD\"}");
}

TEST(LogTest, LevelsBelowTheLimitAreOff) {
  const Logger logger(LogFormat::kText, LogLevel::kWarning, -1);
  EXPECT_FALSE(logger.enabled(LogLevel::kInfo));
  EXPECT_TRUE(logger.enabled(LogLevel::kWarning));
}

}  // namespace
}  // namespace contextpool::server
