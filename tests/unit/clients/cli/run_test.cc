#include "clients/cli/run.h"

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/clients/cli/fake_server.h"

namespace contextpool::cli {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST_F(RunTest, EmbedPrintsTheDocumentedJson) {
  EXPECT_EQ(RunWith({"embed", "--json", "abc", ""}), kExitOk);
  EXPECT_EQ(out_,
            "{\"index\":0,\"embedding\":[0.1,3.0,1e-08],\"tokens\":5,\"truncated\":false}\n"
            "{\"index\":1,\"embedding\":[0.1,0.0,1e-08],\"tokens\":2,\"truncated\":false}\n");
  EXPECT_EQ(err_, "");
}

TEST_F(RunTest, FailedInputIsReportedInItsPlace) {
  EXPECT_EQ(RunWith({"embed", "--json", "a", "bad", "c"}), kExitFailed);
  const std::vector<json> lines = Lines();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[1], json::parse(R"({"index": 1, "error": {"code": "INVALID_ARGUMENT",
                                      "message": "inputs[1].text: too long"}})"));
  EXPECT_TRUE(lines[2].contains("embedding"));
  EXPECT_EQ(RunWith({"embed", "a", "bad"}), kExitFailed);
  EXPECT_EQ(err_, "contextpool: input 1: INVALID_ARGUMENT: inputs[1].text: too long\n");
}

TEST_F(RunTest, TextThatIsNoUtf8FailsAlone) {
  EXPECT_EQ(RunWith({"embed", "--json", "-"}, "a\n\xFF\nc\n"), kExitFailed);
  const std::vector<json> lines = Lines();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_TRUE(lines[0].contains("embedding"));
  EXPECT_EQ(lines[1]["error"]["code"], "INVALID_ARGUMENT");
  EXPECT_TRUE(lines[2].contains("embedding"));
}

TEST_F(RunTest, ManyInputsGoOutAsSeveralRequestsInOrder) {
  std::string input;
  for (int i = 0; i < 2000; ++i) input += std::string(i % 50, 'x') + "\n";
  EXPECT_EQ(RunWith({"embed", "--json", "-"}, input), kExitOk);
  EXPECT_EQ(embedding_.calls, 8);
  const std::vector<json> lines = Lines();
  ASSERT_EQ(lines.size(), 2000u);
  for (int i = 0; i < 2000; ++i) {
    ASSERT_EQ(lines[i]["index"], i);
    ASSERT_EQ(lines[i]["embedding"][1], i % 50);
  }
}

TEST_F(RunTest, AFailedRequestStopsTheRestAndEveryInputIsAnswered) {
  std::string input;
  for (int i = 0; i < 5000; ++i) input += "x\n";
  EXPECT_EQ(RunWith({"embed", "-m", "fails-later", "--json", "-"}, input), kExitFailed);
  EXPECT_LT(embedding_.calls, 10);
  const std::vector<json> lines = Lines();
  ASSERT_EQ(lines.size(), 5000u);
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(lines[i]["index"], i);
  EXPECT_EQ(lines[4999]["error"]["code"], "UNAVAILABLE");
  EXPECT_EQ(lines[4999]["error"]["message"], "draining");
}

TEST_F(RunTest, MessagesCountInputsFromTheStartOfTheRun) {
  std::string input;
  for (int i = 0; i < 300; ++i) input += "x\n";
  EXPECT_EQ(RunWith({"embed", "--json", "-"}, input + "bad\n"), kExitFailed);
  const std::vector<json> lines = Lines();
  ASSERT_EQ(lines.size(), 301u);
  EXPECT_EQ(lines[300]["index"], 300);
  EXPECT_EQ(lines[300]["error"]["message"], "inputs[300].text: too long");
}

TEST_F(RunTest, OptionsReachTheServer) {
  EXPECT_EQ(
      RunWith({"embed", "x", "-m", "mini", "--model-version", "3", "--no-normalize", "--pooling",
               "cls", "--dimensions", "2", "--truncation", "left", "--priority", "bulk"}),
      kExitOk);
  const v1::EmbedRequest& request = embedding_.last;
  EXPECT_EQ(request.model().name(), "mini");
  EXPECT_EQ(request.model().version(), 3);
  EXPECT_TRUE(request.options().has_normalize());
  EXPECT_FALSE(request.options().normalize());
  EXPECT_EQ(request.options().pooling(), v1::POOLING_CLS);
  EXPECT_EQ(request.options().dimensions(), 2u);
  EXPECT_EQ(request.options().truncation(), v1::TRUNCATION_LEFT);
  EXPECT_EQ(request.priority(), v1::PRIORITY_BULK);
  EXPECT_EQ(RunWith({"classify", "x", "--top-k", "2", "--threshold", "0.5", "--labels", "a,b"}),
            kExitOk);
  EXPECT_EQ(classification_.last.options().top_k(), 2u);
  EXPECT_EQ(classification_.last.options().threshold(), 0.5f);
  EXPECT_EQ(classification_.last.options().labels_size(), 2);
  EXPECT_FALSE(classification_.last.options().logits());
}

TEST_F(RunTest, BusyServerIsAskedAgain) {
  EXPECT_EQ(RunWith({"embed", "-m", "busy", "x"}), kExitOk) << err_;
  EXPECT_EQ(embedding_.calls, 3);
}

TEST_F(RunTest, EmbedForPeopleShowsNormAndSimilarity) {
  EXPECT_EQ(RunWith({"embed", "--similarity", "a", "bad", "bcd"}), kExitFailed);
  EXPECT_THAT(out_, StartsWith("0  a  (3 tokens)\n   [0.1000, 1.0000, 0.0000]  3 dimensions, norm "
                               "1.0050\n"));
  EXPECT_THAT(out_, HasSubstr("cosine"));
  EXPECT_THAT(out_, HasSubstr("  1.000      -  0.998\n"));
}

TEST_F(RunTest, EmbedWritesAnArrayWithNanWhereInputsFailed) {
  const std::string path = ::testing::TempDir() + "contextpool_run_test.npy";
  EXPECT_EQ(RunWith({"embed", "--output", path, "a", "bad", "bcd"}), kExitFailed);
  EXPECT_EQ(out_, "wrote float32 [3, 3] to " + path + "; 1 rows of failed inputs are NaN\n");
  std::ifstream file(path, std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  ASSERT_EQ(bytes.size(), 128u + 36u);
  float values[9];
  memcpy(values, bytes.data() + 128, sizeof(values));
  EXPECT_EQ(values[1], 1);
  for (int i = 3; i < 6; ++i) EXPECT_TRUE(std::isnan(values[i]));
  EXPECT_EQ(values[7], 3);
  std::filesystem::remove(path);

  EXPECT_EQ(RunWith({"embed", "--output", path, "bad"}), kExitFailed);
  EXPECT_THAT(err_, HasSubstr("was not written"));
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_EQ(RunWith({"embed", "--output", "/nonexistent/x.npy", "a"}), kExitFailed);
  EXPECT_THAT(err_, HasSubstr("/nonexistent/x.npy"));
}

TEST_F(RunTest, ClassifyPrintsTheDocumentedJson) {
  EXPECT_EQ(RunWith({"classify", "--json", "x"}), kExitOk);
  EXPECT_EQ(out_,
            "{\"index\":0,\"scores\":[{\"label\":\"positive\",\"score\":0.97},"
            "{\"label\":\"n\u00E9gatif\",\"score\":0.03}]}\n");
  EXPECT_EQ(RunWith({"classify", "--json", "--logits", "x"}), kExitOk);
  EXPECT_EQ(Lines()[0]["scores"][0]["logit"], 2.5);
}

TEST_F(RunTest, ClassifyDrawsBarsOnATerminalOnly) {
  EXPECT_EQ(RunWith({"classify", "x"}), kExitOk);
  EXPECT_THAT(out_, Not(HasSubstr("\u2588")));
  EXPECT_THAT(out_, HasSubstr("   positive     0.9700\n"));
  EXPECT_EQ(RunWith({"classify", "x"}, "", {.is_tty = true, .color = false, .columns = 30}),
            kExitOk);
  EXPECT_THAT(out_, HasSubstr("   positive  \u2588\u2588\u2588\u2588\u2588\u2588\u2588\u2588\u258A"
                              "  0.9700\n"));
  EXPECT_THAT(out_, Not(HasSubstr("\x1B")));
  EXPECT_EQ(RunWith({"classify", "x"}, "", {.is_tty = true, .color = true}), kExitOk);
  EXPECT_THAT(out_, HasSubstr("\x1B[0m"));
}

TEST_F(RunTest, ARegressionIsANumberNotABar) {
  EXPECT_EQ(RunWith({"classify", "-m", "regression", "x"}, "", {.is_tty = true}), kExitOk);
  EXPECT_THAT(out_, HasSubstr("   stars     0.8750\n"));
}

TEST_F(RunTest, ExplainDrawsBelowTheAnswer) {
  const std::string picture = R"(
   layer 3   weights 0.1 to 1, support sizes 0.0 to 1.0 tokens
         ████
    ▂▂▂▂ ████
    good film
    good━━━
         film

   bar: how much a token counts; line: how far it looks
)";
  EXPECT_EQ(RunWith({"classify", "--explain", "x"}), kExitOk);
  EXPECT_THAT(out_, EndsWith("   n\u00E9gatif      0.0300\n" + picture));
  EXPECT_EQ(RunWith({"embed", "--explain", "x"}), kExitOk);
  EXPECT_THAT(out_, EndsWith("norm 1.0050\n" + picture));
  EXPECT_EQ(RunWith({"classify", "x"}), kExitOk);
  EXPECT_FALSE(classification_.last.options().explain());
  EXPECT_THAT(out_, Not(HasSubstr("layer 3")));
}

TEST_F(RunTest, ExplainPutsEveryNumberIntoTheJson) {
  const std::string explanation =
      R"("explanation":{"tokens":["good","film"],"layers":[{"layer":3,"weight":[0.1,1.0],)"
      R"("support_size":[1.0,0.0]}]}})"
      "\n";
  EXPECT_EQ(RunWith({"classify", "--explain", "--json", "x"}), kExitOk);
  EXPECT_THAT(out_, EndsWith("]," + explanation));
  EXPECT_EQ(RunWith({"embed", "--explain", "--json", "x"}), kExitOk);
  EXPECT_THAT(out_, EndsWith("\"truncated\":false," + explanation));
}

TEST_F(RunTest, ExplanationsAreShownBesideASavedArray) {
  const std::string path = ::testing::TempDir() + "contextpool_explain_test.npy";
  EXPECT_EQ(RunWith({"embed", "--explain", "--output", path, "x"}), kExitOk);
  EXPECT_THAT(out_, HasSubstr("layer 3"));
  EXPECT_TRUE(std::filesystem::remove(path));
}

TEST_F(RunTest, TokenizePrintsTokensAndIds) {
  EXPECT_EQ(RunWith({"tokenize", "--json", "x\u00E9"}), kExitOk);
  EXPECT_EQ(out_, "{\"index\":0,\"ids\":[101,7],\"tokens\":[\"[CLS]\",\"x\u00E9\"]}\n");
  EXPECT_EQ(RunWith({"tokenize", "x"}), kExitOk);
  EXPECT_THAT(out_, HasSubstr("   [CLS]  101\n   x        7\n"));
}

TEST_F(RunTest, ModelsPrintsATableWithReasons) {
  EXPECT_EQ(RunWith({"models"}), kExitOk);
  EXPECT_THAT(out_, StartsWith("MODEL   VERSION  STATE   TASKS           READS        DIMS"));
  EXPECT_THAT(out_, HasSubstr("\nmini          1  ready   embed,classify  text          384"));
  EXPECT_THAT(out_, HasSubstr("\nbroken        -  failed  -               -               -"));
  EXPECT_THAT(out_, HasSubstr("\n   config.json: not JSON\n"));
  EXPECT_THAT(out_, HasSubstr("\ndigits        1  ready   embed,classify  images 16x8     -"));
  EXPECT_EQ(RunWith({"models", "--json"}), kExitOk);
  const std::vector<json> lines = Lines();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0]["name"], "mini");
  EXPECT_EQ(lines[0]["state"], "ready");
  EXPECT_EQ(lines[0]["tasks"], json::parse(R"(["embed","classify"])"));
  EXPECT_EQ(lines[1]["state"], "failed");
  EXPECT_EQ(lines[1]["pooling"], "");
  EXPECT_EQ(lines[2]["modality"], "image");
  EXPECT_EQ(lines[2]["image_height"], 8);
  EXPECT_EQ(lines[2]["image_width"], 16);
  EXPECT_EQ(RunWith({"models", "-m", "other", "--json"}), kExitOk);
  EXPECT_EQ(Lines()[0]["name"], "other");
}

TEST_F(RunTest, ErrorsSayWhatToDo) {
  EXPECT_EQ(RunWith({"embed", "-m", "missing", "x"}), kExitFailed);
  EXPECT_EQ(err_,
            "contextpool: input 0: NOT_FOUND: model 'missing' is not in the repository; "
            "contextpool models lists what is served\n");
  EXPECT_EQ(RunWith({"tokenize", "-m", "slow", "--timeout", "0.05", "x"}), kExitFailed);
  EXPECT_THAT(err_, HasSubstr("DEADLINE_EXCEEDED: no answer within 0.05 s: raise --timeout"));
  server_->Shutdown();
  EXPECT_EQ(RunWith({"models"}), kExitFailed);
  EXPECT_THAT(err_, HasSubstr("cannot reach 127.0.0.1:" + std::to_string(port_) +
                              ": is the server running? start it with script/server or pass"));
}

TEST_F(RunTest, AWrongCommandLineExitsWith2) {
  EXPECT_EQ(RunWith({"embed", "--nope"}), kExitUsage);
  EXPECT_EQ(RunWith({"embed"}), kExitUsage);
  EXPECT_EQ(RunWith({"embed", "--input", "/nonexistent"}), kExitUsage);
  EXPECT_EQ(RunWith({"embed", "-"}, ""), kExitUsage);
  EXPECT_EQ(RunWith({"embed", "--help"}), kExitOk);
  EXPECT_EQ(embedding_.calls, 0);
}

TEST_F(RunTest, OutputThatCannotBeWrittenFails) {
  std::istringstream in;
  std::ostringstream out, err;
  out.setstate(std::ios::badbit);
  EXPECT_EQ(cli::Run({"embed", "x"}, {in, out, err, {}, "127.0.0.1:" + std::to_string(port_)}),
            kExitFailed);
  EXPECT_THAT(err.str(), HasSubstr("cannot write"));
}

}  // namespace
}  // namespace contextpool::cli
