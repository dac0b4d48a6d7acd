#include "clients/cli/options.h"

#include <map>

#include "clients/cli/flags.h"
#include "clients/cli/help.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Options Parse(const std::vector<std::string>& args) {
  const auto invocation = ParseCommandLine(args, "default:1");
  EXPECT_TRUE(invocation.ok()) << invocation.status();
  return invocation.ok() ? invocation->options : Options{};
}

std::string ErrorOf(const std::vector<std::string>& args) {
  const auto invocation = ParseCommandLine(args, "default:1");
  EXPECT_EQ(invocation.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(invocation.status().message());
}

std::vector<std::string> Texts(const Options& options) {
  std::vector<std::string> texts;
  for (const InputSource& source : options.sources) {
    const bool file = source.kind == InputSource::Kind::kFile;
    const bool standard_input = source.kind == InputSource::Kind::kStandardInput;
    texts.push_back((file ? "file:" : standard_input ? "stdin:" : "") + source.value);
  }
  return texts;
}

TEST(CommandLine, HasDefaults) {
  const Options options = Parse({"embed", "hello"});
  EXPECT_EQ(options.command, Command::kEmbed);
  EXPECT_EQ(options.server, "default:1");
  EXPECT_EQ(options.model, "");
  EXPECT_EQ(options.timeout_s, 60);
  EXPECT_FALSE(options.normalize.has_value());
  EXPECT_EQ(options.truncation, v1::TRUNCATION_UNSPECIFIED);
  EXPECT_EQ(options.pooling, v1::POOLING_UNSPECIFIED);
  EXPECT_FALSE(options.json);
}

TEST(CommandLine, ReadsEveryPooling) {
  EXPECT_EQ(Parse({"embed", "--pooling=mean", "x"}).pooling, v1::POOLING_MEAN);
  EXPECT_EQ(Parse({"embed", "--pooling=cls", "x"}).pooling, v1::POOLING_CLS);
  EXPECT_EQ(Parse({"embed", "--pooling=max", "x"}).pooling, v1::POOLING_MAX);
  EXPECT_EQ(Parse({"embed", "--pooling=pooler", "x"}).pooling, v1::POOLING_POOLER);
}

TEST(CommandLine, ReadsEveryFlagOfEmbed) {
  const Options options = Parse({"embed",        "-m",         "mini",         "--model-version=2",
                                 "-s",           "h:9",        "--timeout",    "0.5",
                                 "--json",       "--output",   "o.npy",        "--no-normalize",
                                 "--pooling",    "last-token", "--dimensions", "64",
                                 "--truncation", "reject",     "--priority",   "bulk",
                                 "-i",           "f.txt"});
  EXPECT_EQ(options.model, "mini");
  EXPECT_EQ(options.model_version, 2);
  EXPECT_EQ(options.server, "h:9");
  EXPECT_EQ(options.timeout_s, 0.5);
  EXPECT_TRUE(options.json);
  EXPECT_EQ(options.output, "o.npy");
  EXPECT_EQ(options.normalize, false);
  EXPECT_EQ(options.pooling, v1::POOLING_LAST_TOKEN);
  EXPECT_EQ(options.dimensions, 64u);
  EXPECT_EQ(options.truncation, v1::TRUNCATION_REJECT);
  EXPECT_EQ(options.priority, v1::PRIORITY_BULK);
  EXPECT_THAT(Texts(options), ElementsAre("file:f.txt"));
}

TEST(CommandLine, ReadsEveryFlagOfClassifyAndTokenize) {
  const Options classify = Parse(
      {"classify", "x", "-k3", "--threshold=-0.25", "--labels", "a,b c", "--labels=d", "--logits"});
  EXPECT_EQ(classify.top_k, 3u);
  EXPECT_EQ(classify.threshold, -0.25f);
  EXPECT_THAT(classify.labels, ElementsAre("a", "b c", "d"));
  EXPECT_TRUE(classify.logits);
  EXPECT_TRUE(Parse({"tokenize", "--no-special-tokens", "x"}).without_special_tokens);
}

TEST(CommandLine, LeavesTextsAsTheyAre) {
  EXPECT_THAT(Texts(Parse({"embed", "[CLS]", "", "a=b", "classify", "--", "--json", "-", "--"})),
              ElementsAre("[CLS]", "", "a=b", "classify", "--json", "-", "--"));
  EXPECT_THAT(Texts(Parse({"embed", "a", "-", "--json", "b"})), ElementsAre("a", "stdin:-", "b"));
}

TEST(CommandLine, ExplainTakesAFileOrNone) {
  EXPECT_FALSE(Parse({"embed", "x"}).explain);
  const Options plain = Parse({"classify", "--explain", "x.png"});
  EXPECT_TRUE(plain.explain);
  EXPECT_EQ(plain.explain_file, "");
  EXPECT_THAT(Texts(plain), ElementsAre("x.png"));
  const Options picture = Parse({"embed", "--explain=out dir/o.PNG", "x.png"});
  EXPECT_TRUE(picture.explain);
  EXPECT_EQ(picture.explain_file, "out dir/o.PNG");
  EXPECT_THAT(ErrorOf({"embed", "--explain=out.jpg", "x"}),
              HasSubstr("--explain takes the name of a PNG file, as in --explain=out.png, not "
                        "'out.jpg'"));
}

TEST(CommandLine, RefusesWithAHint) {
  EXPECT_THAT(ErrorOf({}), HasSubstr("contextpool --help"));
  EXPECT_THAT(ErrorOf({"embd", "x"}), HasSubstr("did you mean embed?"));
  EXPECT_THAT(ErrorOf({"embed", "--jsn", "x"}), HasSubstr("did you mean --json?"));
  EXPECT_THAT(ErrorOf({"embed", "--zzz=1", "x"}), HasSubstr("unknown flag --zzz;"));
  EXPECT_THAT(ErrorOf({"embed", "-5"}), HasSubstr("write -- before a text"));
  EXPECT_THAT(ErrorOf({"embed", "--top-k", "3"}), HasSubstr("embed has no flag --top-k"));
  EXPECT_THAT(ErrorOf({"embed", "--json=yes"}), HasSubstr("--json takes no value"));
  EXPECT_THAT(ErrorOf({"embed", "x", "--model"}), HasSubstr("--model needs a value"));
  EXPECT_THAT(ErrorOf({"models", "x"}), HasSubstr("no TEXT"));
  EXPECT_THAT(ErrorOf({"embed", "-", "--input", "-"}), HasSubstr("only once"));
  EXPECT_THAT(ErrorOf({"embed", "--similarity", "--json", "x"}), HasSubstr("--similarity"));
  EXPECT_THAT(ErrorOf({"embed"}), HasSubstr("--input FILE"));
}

TEST(CommandLine, RefusesValuesOutOfRange) {
  EXPECT_THAT(ErrorOf({"classify", "-k", "0"}), HasSubstr("--top-k takes a whole number"));
  EXPECT_THAT(ErrorOf({"classify", "--top-k", "-1"}), HasSubstr("not '-1'"));
  EXPECT_THAT(ErrorOf({"classify", "--top-k", "4294967296"}), HasSubstr("--top-k"));
  EXPECT_THAT(ErrorOf({"classify", "--threshold", "nan"}), HasSubstr("--threshold"));
  EXPECT_THAT(ErrorOf({"embed", "--timeout", "0"}), HasSubstr("--timeout takes seconds"));
  EXPECT_THAT(ErrorOf({"embed", "--timeout", "nan"}), HasSubstr("--timeout"));
  EXPECT_THAT(ErrorOf({"embed", "--timeout", "1e300"}), HasSubstr("--timeout"));
  EXPECT_THAT(ErrorOf({"embed", "--pooling", "Mean"}), HasSubstr("mean, cls, max, last-token"));
  EXPECT_THAT(ErrorOf({"embed", "--truncation", "middle"}), HasSubstr("right, left, reject"));
  EXPECT_THAT(ErrorOf({"embed", "--priority", ""}), HasSubstr("interactive, bulk"));
  EXPECT_THAT(ErrorOf({"embed", "--server", ""}), HasSubstr("HOST:PORT"));
  EXPECT_THAT(ErrorOf({"embed", "--model-version", "0"}), HasSubstr("--model-version"));
}

TEST(Help, ListsEveryFlagOfTheCommandAndNoOther) {
  for (const CommandHelp& command : AllCommands()) {
    const auto invocation = ParseCommandLine({command.name, "text", "--help"}, "");
    ASSERT_TRUE(invocation.ok()) << invocation.status();
    ASSERT_TRUE(invocation->print.has_value());
    const std::string& help = *invocation->print;
    // Commands may give one name different meanings.
    std::map<std::string, bool> taken;
    for (const Flag& flag : AllFlags()) {
      taken[flag.name] |= (flag.commands & CommandBit(command.command)) != 0;
    }
    for (const auto& [name, is_taken] : taken) {
      const bool listed = help.find("--" + name + " ") != std::string::npos ||
                          help.find("--" + name + "[=") != std::string::npos;
      EXPECT_EQ(listed, is_taken) << command.name << " --" << name;
    }
    EXPECT_THAT(help, HasSubstr("Examples:"));
    EXPECT_THAT(help, HasSubstr("Exit status:"));
  }
}

TEST(Help, OfTheProgramListsEveryCommand) {
  for (const char* word : {"--help", "-h", "help"}) {
    const auto invocation = ParseCommandLine({word}, "");
    ASSERT_TRUE(invocation.ok() && invocation->print);
    for (const CommandHelp& command : AllCommands()) {
      EXPECT_THAT(*invocation->print, HasSubstr(command.name));
    }
  }
  EXPECT_THAT(*ParseCommandLine({"--version"}, "")->print, HasSubstr("contextpool 0."));
}

}  // namespace
}  // namespace contextpool::cli
