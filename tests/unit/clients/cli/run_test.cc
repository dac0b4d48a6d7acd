#include "clients/cli/run.h"

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "contextpool/v1/classification.grpc.pb.h"
#include "contextpool/v1/embedding.grpc.pb.h"
#include "contextpool/v1/model.grpc.pb.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"

namespace contextpool::cli {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

void AddExplanation(v1::Explanation& explanation) {
  explanation.add_tokens("good");
  explanation.add_tokens("film");
  v1::ContextPoolLayer& layer = *explanation.add_layers();
  layer.set_layer(3);
  layer.add_weight(0.1f);
  layer.add_weight(1);
  layer.add_support_size(1);
  layer.add_support_size(0);
}

// Vectors made of the text's length; "bad" fails alone; the model "missing" is not there.
class FakeEmbedding : public v1::EmbeddingService::Service {
 public:
  grpc::Status Embed(grpc::ServerContext*, const v1::EmbedRequest* request,
                     v1::EmbedResponse* response) override {
    ++calls;
    if (request->inputs_size() == 1) last = *request;
    if (request->model().name() == "missing") {
      return {grpc::StatusCode::NOT_FOUND, "model 'missing' is not in the repository"};
    }
    if (request->model().name() == "busy" && calls < 3) {
      return {grpc::StatusCode::RESOURCE_EXHAUSTED, "the queue is full"};
    }
    if (request->model().name() == "fails-later" && calls == 2) {
      return {grpc::StatusCode::UNAVAILABLE, "draining"};
    }
    for (const v1::Input& input : request->inputs()) {
      v1::EmbedResult& result = *response->add_results();
      if (input.text() == "bad") {
        result.mutable_error()->set_code(3);
        result.mutable_error()->set_message(
            "inputs[" + std::to_string(response->results_size() - 1) + "].text: too long");
        continue;
      }
      const auto length = static_cast<float>(input.text().size());
      for (const float value : {0.1f, length, 1e-8f}) {
        result.mutable_embedding()->add_values(value);
      }
      if (request->options().explain()) AddExplanation(*result.mutable_explanation());
      result.mutable_usage()->set_tokens_used(2 + input.text().size());
      result.mutable_usage()->set_tokens_seen(2 + input.text().size());
    }
    return grpc::Status::OK;
  }

  std::atomic<int> calls = 0;
  // The last request of one input: such requests never overlap here.
  v1::EmbedRequest last;
};

class FakeClassification : public v1::ClassificationService::Service {
 public:
  grpc::Status Classify(grpc::ServerContext*, const v1::ClassifyRequest* request,
                        v1::ClassifyResponse* response) override {
    last = *request;
    for (int i = 0; i < request->inputs_size(); ++i) {
      v1::ClassifyResult& answer = *response->add_results();
      if (request->options().explain()) AddExplanation(*answer.mutable_explanation());
      v1::Classification& result = *answer.mutable_classification();
      if (request->model().name() == "regression") {
        Add("stars", 0.875f, request->options().logits(), result);
        continue;
      }
      Add("positive", 0.97f, request->options().logits(), result);
      Add("n\u00E9gatif", 0.03f, request->options().logits(), result);
    }
    return grpc::Status::OK;
  }

  v1::ClassifyRequest last;

 private:
  static void Add(const char* label, float score, bool logit, v1::Classification& result) {
    v1::LabelScore& entry = *result.add_scores();
    entry.set_label(label);
    entry.set_score(score);
    if (logit) entry.set_logit(2.5f);
  }
};

class FakeModels : public v1::ModelService::Service {
 public:
  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                          v1::ListModelsResponse* response) override {
    v1::Model& good = *response->add_models();
    good.mutable_ref()->set_name("mini");
    good.mutable_ref()->set_version(1);
    good.set_state(v1::MODEL_STATE_READY);
    good.add_tasks(v1::TASK_EMBED);
    good.set_embedding_dimensions(384);
    good.set_pooling(v1::POOLING_MEAN);
    v1::Model& bad = *response->add_models();
    bad.mutable_ref()->set_name("broken");
    bad.set_state(v1::MODEL_STATE_FAILED);
    bad.set_reason("config.json: not JSON");
    return grpc::Status::OK;
  }

  grpc::Status GetModel(grpc::ServerContext*, const v1::GetModelRequest* request,
                        v1::GetModelResponse* response) override {
    *response->mutable_model()->mutable_ref() = request->model();
    return grpc::Status::OK;
  }

  grpc::Status Tokenize(grpc::ServerContext* context, const v1::TokenizeRequest* request,
                        v1::TokenizeResponse* response) override {
    if (request->model().name() == "slow") {
      while (!context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      return grpc::Status::CANCELLED;
    }
    for (const std::string& text : request->texts()) {
      v1::Tokens& tokens = *response->add_results()->mutable_tokens();
      tokens.add_ids(101);
      tokens.add_tokens("[CLS]");
      tokens.add_ids(7);
      tokens.add_tokens(text);
    }
    return grpc::Status::OK;
  }
};

class RunTest : public ::testing::Test {
 protected:
  RunTest() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&embedding_);
    builder.RegisterService(&classification_);
    builder.RegisterService(&models_);
    server_ = builder.BuildAndStart();
  }
  ~RunTest() override { server_->Shutdown(); }

  int RunWith(const std::vector<std::string>& args, const std::string& input = "",
              const Terminal& terminal = {}) {
    std::istringstream in(input);
    std::ostringstream out, err;
    const int exit_code =
        cli::Run(args, {in, out, err, terminal, "127.0.0.1:" + std::to_string(port_)});
    out_ = out.str();
    err_ = err.str();
    return exit_code;
  }

  // Every line of the output as JSON.
  std::vector<json> Lines() const {
    std::vector<json> lines;
    std::istringstream stream(out_);
    for (std::string line; std::getline(stream, line);) lines.push_back(json::parse(line));
    return lines;
  }

  int port_ = 0;
  FakeEmbedding embedding_;
  FakeClassification classification_;
  FakeModels models_;
  std::unique_ptr<grpc::Server> server_;
  std::string out_;
  std::string err_;
};

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
  EXPECT_THAT(out_, StartsWith("MODEL   VERSION  STATE   TASKS  DIMS"));
  EXPECT_THAT(out_, HasSubstr("\n   config.json: not JSON\n"));
  EXPECT_EQ(RunWith({"models", "--json"}), kExitOk);
  const std::vector<json> lines = Lines();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0]["name"], "mini");
  EXPECT_EQ(lines[0]["state"], "ready");
  EXPECT_EQ(lines[0]["tasks"], json::parse(R"(["embed"])"));
  EXPECT_EQ(lines[1]["state"], "failed");
  EXPECT_EQ(lines[1]["pooling"], "");
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
