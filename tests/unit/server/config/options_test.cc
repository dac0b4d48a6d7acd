#include "server/config/options.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/config/flags.h"

namespace contextpool::server {
namespace {

using ::testing::HasSubstr;

TEST(OptionsTest, DefaultsAreValid) { EXPECT_TRUE(ValidateOptions(Options()).ok()); }

TEST(OptionsTest, OutOfRangeNamesFlagValueAndRange) {
  Options options;
  options.grpc_port = 70000;
  absl::Status status = ValidateOptions(options);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "--grpc_port=70000: allowed is 0 to 65535");
  options = Options();
  options.max_inputs = 0;
  EXPECT_THAT(std::string(ValidateOptions(options).message()), HasSubstr("--max_inputs=0"));
  options = Options();
  options.canary_interval = std::chrono::milliseconds(-1);
  EXPECT_EQ(ValidateOptions(options).message(),
            "--canary_interval=-1ms: allowed is 0 to 24h (0: never)");
  options = Options();
  options.max_in_flight_bytes = options.max_message_bytes - 1;
  EXPECT_THAT(std::string(ValidateOptions(options).message()), HasSubstr("--max_message_bytes"));
}

TEST(OptionsTest, DevicesAreNamedOnceOrLeftToTheServer) {
  const auto check = [](std::vector<std::string> devices) {
    Options options;
    options.devices = std::move(devices);
    return std::string(ValidateOptions(options).message());
  };
  using Names = std::vector<std::string>;
  for (const Names& good : {Names{"auto"},
                            {"cpu"},
                            {"cuda"},
                            {"cuda:0"},
                            {"cuda:1", "cuda:10"},
                            {"cuda", "cpu"},
                            {"cpu", "cuda:0"}}) {
    EXPECT_EQ(check(good), "") << testing::PrintToString(good);
  }
  EXPECT_THAT(check({}), HasSubstr("--device="));
  EXPECT_THAT(check({"auto", "cpu"}), HasSubstr("--device=auto,cpu: allowed is auto alone"));
  EXPECT_THAT(check({"gpu"}), HasSubstr("a list of cpu, cuda and cuda:<index>"));
  EXPECT_THAT(check({"cuda:01"}), HasSubstr("a list of cpu, cuda and cuda:<index>"));
  EXPECT_THAT(check({"cpu", "cuda:1", "cuda:1"}), HasSubstr("cuda:1 is listed twice"));
  EXPECT_THAT(check({"cuda", "cuda:1"}), HasSubstr("cuda is every GPU already"));
}

TEST(OptionsTest, PortsMustDifferUnlessPickedFreely) {
  Options options;
  options.metrics_port = options.grpc_port;
  EXPECT_FALSE(ValidateOptions(options).ok());
  options.metrics_port = options.grpc_port = 0;
  EXPECT_TRUE(ValidateOptions(options).ok());
}

TEST(FlagsTest, HelpDescribesEveryFlagWithItsDefault) {
  const std::string help = HelpText();
  for (const char* text :
       {"--model_repository (default: none)", "--grpc_port (default: 8001)",
        "--metrics_port (default: 8002)", "--max_message_bytes (default: 67108864)",
        "--max_inputs (default: 4096)", "--drain_timeout (default: 30s)", "--log_format",
        "--canary_interval (default: 10s)", "--unhealthy_exit (default: 30s)",
        "--device (default: auto)", "--gpu_dtype (default: bfloat16)", "--require_all_models",
        "--ready_file", "--healthcheck", "--max_connection_age"}) {
    EXPECT_THAT(help, HasSubstr(text));
  }
}

absl::StatusOr<CommandLine> Parse(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), "contextpool-server");
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  return ParseCommandLine(static_cast<int>(argv.size()), argv.data());
}

TEST(FlagsTest, ParsesIntoOptions) {
  const auto line = Parse({"--model_repository=/a,/b", "--drain_timeout=1500ms", "--drain_grace=5s",
                           "--log_format=json", "--log_level=debug", "--grpc_port=0",
                           "--canary_interval=0", "--unhealthy_exit=1m"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->mode, Mode::kServe);
  EXPECT_THAT(line->options.model_repositories, testing::ElementsAre("/a", "/b"));
  EXPECT_EQ(line->options.drain_grace, std::chrono::seconds(5));
  EXPECT_EQ(line->options.drain_timeout, std::chrono::milliseconds(1500));
  EXPECT_EQ(line->options.canary_interval, std::chrono::milliseconds(0));
  EXPECT_EQ(line->options.unhealthy_exit, std::chrono::minutes(1));
  EXPECT_EQ(line->options.log_format, LogFormat::kJson);
  EXPECT_EQ(line->options.log_level, LogLevel::kDebug);
  EXPECT_EQ(line->options.grpc_port, 0);
}

TEST(FlagsTest, ParsesDevices) {
  auto line = Parse({"--device=cuda:1, cpu", "--gpu_dtype=float16"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_THAT(line->options.devices, testing::ElementsAre("cuda:1", "cpu"));
  EXPECT_EQ(line->options.gpu_dtype, engine::DType::kF16);
  line = Parse({"--device=auto", "--gpu_dtype=bfloat16"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_THAT(line->options.devices, testing::ElementsAre("auto"));
  EXPECT_EQ(line->options.gpu_dtype, engine::DType::kBF16);
  EXPECT_EQ(Parse({"--gpu_dtype=float32"}).status().message(),
            "--gpu_dtype=float32: allowed is bfloat16, float16");
  Parse({"--gpu_dtype=bfloat16"}).IgnoreError();
}

TEST(FlagsTest, DurationsBelowAMillisecondAreNotNone) {
  const auto line = Parse({"--unhealthy_exit=500us", "--repository_poll_interval=1500us"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->options.unhealthy_exit, std::chrono::milliseconds(1));
  EXPECT_EQ(line->options.repository_poll_interval, std::chrono::milliseconds(2));
  EXPECT_EQ(Parse({"--unhealthy_exit=-500us"}).status().message(),
            "--unhealthy_exit=-1ms: allowed is 0 to 24h (0: never)");
  Parse({"--unhealthy_exit=30s", "--repository_poll_interval=0"}).IgnoreError();
}

TEST(FlagsTest, WrongChoicesAndStrayArgumentsAreRefused) {
  EXPECT_EQ(Parse({"--log_format=xml"}).status().message(),
            "--log_format=xml: allowed is text, json");
  EXPECT_THAT(std::string(Parse({"--log_format=text", "models"}).status().message()),
              HasSubstr("unexpected argument \"models\""));
}

TEST(FlagsTest, HelpAndVersionWinOverEverything) {
  EXPECT_EQ(Parse({"--no_such_flag", "--help"})->mode, Mode::kHelp);
  EXPECT_EQ(Parse({"--version"})->mode, Mode::kVersion);
}

}  // namespace
}  // namespace contextpool::server
