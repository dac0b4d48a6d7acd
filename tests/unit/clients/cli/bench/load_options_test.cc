#include "clients/cli/bench/load_options.h"

#include "clients/cli/options.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::cli::bench {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Options Parse(std::vector<std::string> args) {
  args.insert(args.begin(), "bench");
  const auto invocation = ParseCommandLine(args, "default:1");
  EXPECT_TRUE(invocation.ok()) << invocation.status();
  return invocation.ok() ? invocation->options : Options{};
}

std::string ErrorOf(std::vector<std::string> args) {
  args.insert(args.begin(), "bench");
  const auto invocation = ParseCommandLine(args, "default:1");
  EXPECT_EQ(invocation.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(invocation.status().message());
}

TEST(BenchCommandLine, HasDefaults) {
  const Options options = Parse({"-c", "1"});
  const LoadOptions& load = options.load;
  EXPECT_EQ(options.command, Command::kBench);
  EXPECT_THAT(options.sources, IsEmpty());
  EXPECT_EQ(load.task, LoadTask::kEmbed);
  EXPECT_EQ(load.batch, 1u);
  EXPECT_EQ(load.connections, 1u);
  EXPECT_EQ(load.warmup, 1s);
  EXPECT_EQ(load.duration, 10s);
  EXPECT_EQ(load.seed, 1u);
  EXPECT_EQ(load.bulk_share, 0);
  EXPECT_THAT(load.deadlines, IsEmpty());
  EXPECT_FALSE(load.lengths.has_value());
}

TEST(BenchCommandLine, ReadsEveryFlagOfAnOpenLoop) {
  const Options options = Parse(
      {"-m",     "mini",     "--rate",        "100,2.5", "--arrivals",   "constant",
       "--task", "classify", "--batch",       "8",       "--lengths",    "fixed:32",
       "--seed", "7",        "--connections", "4",       "--deadline",   "50ms:0.75,none:0.25",
       "--bulk", "0.3",      "--warmup",      "0s",      "--duration",   "1m30s",
       "--json", "a.json",   "--plot",        "a.svg",   "--truncation", "reject"});
  const LoadOptions& load = options.load;
  EXPECT_EQ(options.model, "mini");
  EXPECT_EQ(options.truncation, v1::TRUNCATION_REJECT);
  EXPECT_FALSE(options.json);
  EXPECT_THAT(load.rates, ElementsAre(100, 2.5));
  EXPECT_EQ(load.arrivals, ArrivalShape::kConstant);
  EXPECT_EQ(load.task, LoadTask::kClassify);
  EXPECT_EQ(load.batch, 8u);
  EXPECT_EQ(FormatLengths(*load.lengths), "fixed:32");
  EXPECT_EQ(load.seed, 7u);
  EXPECT_EQ(load.connections, 4u);
  ASSERT_EQ(load.deadlines.size(), 2u);
  EXPECT_EQ(load.deadlines[0].deadline, 50ms);
  EXPECT_EQ(load.deadlines[0].share, 0.75);
  EXPECT_EQ(load.deadlines[1].deadline, std::nullopt);
  EXPECT_EQ(load.bulk_share, 0.3);
  EXPECT_EQ(load.warmup, 0s);
  EXPECT_EQ(load.duration, 90s);
  EXPECT_EQ(load.json_file, "a.json");
  EXPECT_EQ(load.plot_file, "a.svg");
}

TEST(BenchCommandLine, TheArgumentIsAFileOfTexts) {
  const Options named = Parse({"-c", "1,2,4", "--shuffle", "texts.txt"});
  ASSERT_EQ(named.sources.size(), 1u);
  EXPECT_EQ(named.sources[0].kind, InputSource::Kind::kFile);
  EXPECT_EQ(named.sources[0].value, "texts.txt");
  EXPECT_TRUE(named.load.shuffle);
  EXPECT_THAT(named.load.concurrency, ElementsAre(1, 2, 4));
  const Options after_dashes = Parse({"-c", "1", "--", "-strange-name"});
  ASSERT_EQ(after_dashes.sources.size(), 1u);
  EXPECT_EQ(after_dashes.sources[0].kind, InputSource::Kind::kFile);
}

TEST(BenchCommandLine, WantsExactlyOneLoad) {
  EXPECT_THAT(ErrorOf({}), HasSubstr("give --concurrency N (closed loop), --rate R"));
  EXPECT_THAT(ErrorOf({"-c", "1", "-r", "5"}), HasSubstr("exclude each other"));
  EXPECT_THAT(ErrorOf({"-r", "5", "--find-rate", "--p99", "5ms"}), HasSubstr("exclude each other"));
}

TEST(BenchCommandLine, RefusesCombinationsThatMeanNothing) {
  EXPECT_THAT(ErrorOf({"--find-rate"}), HasSubstr("add --p99"));
  EXPECT_THAT(ErrorOf({"-r", "5", "--p99", "5ms"}), HasSubstr("objective of --find-rate"));
  EXPECT_THAT(ErrorOf({"-r", "5", "--max-errors", "0"}), HasSubstr("objective of --find-rate"));
  EXPECT_THAT(ErrorOf({"-c", "5", "--arrivals", "poisson"}), HasSubstr("open loop"));
  EXPECT_THAT(ErrorOf({"-c", "5", "a.txt", "b.txt"}), HasSubstr("one file"));
  EXPECT_THAT(ErrorOf({"-c", "5", "a.txt", "--lengths", "fixed:3"}), HasSubstr("--lengths"));
  EXPECT_THAT(ErrorOf({"-c", "5", "--shuffle"}), HasSubstr("--shuffle"));
}

TEST(BenchCommandLine, SaysWhatAValueMayBe) {
  EXPECT_EQ(ErrorOf({"-c", "0"}),
            "--concurrency takes calls in flight, one whole number or several as in 1,2,4,8: from "
            "1 to 100000, not '0'");
  EXPECT_THAT(ErrorOf({"--rate", "100,-1"}), HasSubstr("more than 0, at most 1000000"));
  EXPECT_THAT(ErrorOf({"--rate", "2e6"}), HasSubstr("at most 1000000"));
  EXPECT_THAT(ErrorOf({"--arrivals", "bursty"}), HasSubstr("one of poisson, constant"));
  EXPECT_THAT(ErrorOf({"--task", "tokenize"}), HasSubstr("one of embed, classify"));
  EXPECT_THAT(ErrorOf({"--duration", "10"}), HasSubstr("with its unit, such as 50ms"));
  EXPECT_THAT(ErrorOf({"--duration", "0s"}), HasSubstr("more than 0"));
  EXPECT_THAT(ErrorOf({"--duration", "25h"}), HasSubstr("at most 24h"));
  EXPECT_THAT(ErrorOf({"--bulk", "1.5"}), HasSubstr("a share from 0 to 1"));
  EXPECT_THAT(ErrorOf({"--connections", "0"}), HasSubstr("from 1 to 1000"));
  EXPECT_THAT(ErrorOf({"--json="}), HasSubstr("the name of a file"));
  EXPECT_THAT(ErrorOf({"--concurency", "1"}), HasSubstr("did you mean --concurrency?"));
}

TEST(BenchCommandLine, DeadlineSharesMustAddUp) {
  for (const char* mix :
       {"50ms:0.5", "50ms:0.5,10ms:0.6", "50ms,10ms", "x", "50ms:", "50ms:1:1", "0s", ""}) {
    EXPECT_THAT(ErrorOf({"--deadline", mix}), HasSubstr("shares that add up to 1")) << mix;
  }
}

TEST(BenchCommandLine, LengthsOfMadeUpTexts) {
  for (const char* lengths : {"fixed:1", "uniform:5-60", "lognormal:30,20,200"}) {
    EXPECT_EQ(FormatLengths(*Parse({"-c", "1", "--lengths", lengths}).load.lengths), lengths);
  }
  EXPECT_EQ(Parse({"-c", "1", "--lengths", "lognormal:30,20"}).load.lengths->max, 100000u);
  for (const char* lengths : {"fixed:0", "fixed:", "uniform:6-5", "uniform:5", "lognormal:30",
                              "lognormal:30,0", "lognormal:0,3", "normal:3,4", "fixed:100001"}) {
    EXPECT_THAT(ErrorOf({"--lengths", lengths}), HasSubstr("uniform:MIN-MAX")) << lengths;
  }
}

TEST(BenchCommandLine, HelpNamesEveryFlag) {
  const auto invocation = ParseCommandLine({"bench", "--help"}, "default:1");
  ASSERT_TRUE(invocation.ok());
  for (const char* flag : {"--concurrency", "--rate", "--find-rate", "--p99", "--max-errors",
                           "--arrivals", "--deadline", "--bulk", "--lengths", "--plot FILE.svg",
                           "--json FILE", "--warmup", "--connections"}) {
    EXPECT_THAT(*invocation->print, HasSubstr(flag));
  }
}

}  // namespace
}  // namespace contextpool::cli::bench
