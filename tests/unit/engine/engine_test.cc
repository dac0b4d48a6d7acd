#include "engine/engine.h"

#include <atomic>
#include <future>
#include <memory>
#include <new>
#include <numeric>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "engine/base/retry.h"
#include "engine/engine_impl.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_device.h"
#include "tests/support/fake_model.h"
#include "tests/support/fake_tokenizer.h"
#include "tests/unit/engine/model/model_files.h"

namespace contextpool::engine {
namespace {

using std::chrono::milliseconds;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::FloatEq;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A gate that passes stand at until it is opened.
class Gate {
 public:
  void Close() {
    MutexLock lock(mutex_);
    open_ = false;
  }
  void Open() {
    MutexLock lock(mutex_);
    open_ = true;
    changed_.NotifyAll();
  }
  void Pass() {
    MutexLock lock(mutex_);
    ++arrived_;
    changed_.NotifyAll();
    while (!open_) changed_.Wait(mutex_);
  }
  void WaitForArrivals(int count) {
    MutexLock lock(mutex_);
    while (arrived_ < count) changed_.Wait(mutex_);
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  bool open_ ABSL_GUARDED_BY(mutex_) = true;
  int arrived_ ABSL_GUARDED_BY(mutex_) = 0;
};

ModelSpec Spec(const std::string& name, QueueOptions queue = {}) {
  ModelSpec spec;
  spec.name = name;
  spec.queue = queue;
  return spec;
}

uint64_t Total(const HistogramSnapshot& histogram) {
  return std::accumulate(histogram.counts.begin(), histogram.counts.end(), uint64_t{0});
}

class EngineTest : public ::testing::Test {
 protected:
  void Start(std::vector<ModelSpec> specs) {
    EngineOptions options;
    options.models = std::move(specs);
    auto device = std::make_unique<testing::FakeDevice>();
    device_ = device.get();
    EngineParts parts;
    parts.device = std::move(device);
    parts.load_model = [this](const ModelSpec& spec,
                              Device&) -> absl::StatusOr<std::unique_ptr<Model>> {
      if (spec.name == "broken") return absl::InvalidArgumentError("config.json: is broken");
      if (spec.name == "throws") throw std::bad_alloc();
      prefix_tokens_ = spec.prefix_tokens;
      return std::make_unique<testing::FakeModel>(spec, hooks_);
    };
    parts.load_tokenizer = [this](const ModelSpec&) -> absl::StatusOr<std::unique_ptr<Tokenizer>> {
      if (!tokenizer_error_.ok()) return tokenizer_error_;
      return std::make_unique<testing::FakeTokenizer>();
    };
    engine_ = std::make_unique<EngineImpl>(std::move(options), std::move(parts), Clock::Real());
    engine_->WaitUntilLoaded();
  }

  // Why a model does not serve.
  std::string FailureOf(absl::string_view name) {
    for (const ModelStatus& model : engine_->ListModels()) {
      if (model.info->name == name && model.state == ModelState::kFailed) return model.reason;
    }
    return "";
  }

  std::future<absl::StatusOr<Response>> Send(Request request) {
    auto promise = std::make_shared<std::promise<absl::StatusOr<Response>>>();
    auto future = promise->get_future();
    engine_->Infer(std::move(request), [promise](absl::StatusOr<Response> response) {
      promise->set_value(std::move(response));
    });
    return future;
  }

  static Request Texts(std::vector<const char*> texts, TaskKind task = TaskKind::kEmbed) {
    Request request;
    request.task = task;
    for (const char* text : texts) request.inputs.emplace_back(TextInput{text});
    return request;
  }

  // Passes begin, are counted, and stand until the gate is opened.
  void HoldPasses() {
    gate_.Close();
    hooks_.forward = [this](const PackedBatch&) {
      ++passes_;
      gate_.Pass();
      return absl::OkStatus();
    };
  }

  Gate gate_;
  std::atomic<int> passes_{0};
  testing::FakeModel::Hooks hooks_;
  testing::FakeDevice* device_ = nullptr;
  // What the last model was told of its tokeniser.
  std::optional<int32_t> prefix_tokens_;
  // What every tokeniser fails with.
  absl::Status tokenizer_error_;
  std::unique_ptr<EngineImpl> engine_;
};

TEST_F(EngineTest, AModelIsLoadedKnowingWhatItsTokeniserPutsFirst) {
  Start({Spec("model")});
  EXPECT_EQ(prefix_tokens_, 2);
}

TEST_F(EngineTest, WhatIsWrongWithTheModelIsToldBeforeAMissingTokeniser) {
  tokenizer_error_ = absl::NotFoundError("tokenizer.json: is missing");
  Start({Spec("broken"), Spec("m")});
  EXPECT_EQ(FailureOf("broken"), "config.json: is broken");
  EXPECT_EQ(FailureOf("m"), "tokenizer.json: is missing");
}

TEST_F(EngineTest, ATokeniserThatCannotBeReadIsToldBeforeWhatItMayHaveDoneToTheModel) {
  tokenizer_error_ = absl::InvalidArgumentError("tokenizer.json: is broken");
  Start({Spec("broken"), Spec("m")});
  EXPECT_EQ(FailureOf("broken"), "tokenizer.json: is broken");
  EXPECT_EQ(FailureOf("m"), "tokenizer.json: is broken");
}

TEST_F(EngineTest, AnswersEveryInputInItsOwnRow) {
  Start({Spec("m")});
  const auto response = Send(Texts({"ab", "c"})).get();
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->model->name, "m");
  EXPECT_THAT(response->row(0), ElementsAre(2, 'a' + 'b'));
  EXPECT_THAT(response->row(1), ElementsAre(1, 'c'));
  EXPECT_EQ(response->results[0].tokens_used, 2);
  EXPECT_GT(response->timing.compute, Duration::zero());
}

TEST_F(EngineTest, FaultOfOneInputLeavesTheOthersAlone) {
  Start({Spec("m")});
  const auto response = Send(Texts({"a", "refused", "", "b"})).get();
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_TRUE(response->results[0].status.ok());
  EXPECT_EQ(response->results[1].status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(response->results[1].status.message(), "inputs[1].text: is refused");
  EXPECT_EQ(response->results[2].status.message(), "inputs[2].text: has no token");
  EXPECT_THAT(response->row(1), ElementsAre(0, 0));
  EXPECT_THAT(response->row(3), ElementsAre(1, 'b'));
}

TEST_F(EngineTest, RequestWhoseInputsAllFailIsStillAnswered) {
  Start({Spec("m")});
  const auto response = Send(Texts({"refused"})).get();
  ASSERT_TRUE(response.ok());
  EXPECT_FALSE(response->results[0].status.ok());
}

TEST_F(EngineTest, TokenIdsAreUsedAsGivenAndChecked) {
  Start({Spec("m")});
  const std::vector<int32_t> good = {5, 6};
  const std::vector<int32_t> none;
  const std::vector<int32_t> outside = {1, 1000};
  const std::vector<int32_t> negative = {-1};
  const std::vector<int32_t> many(17, 1);
  Request request;
  for (const auto* ids : {&good, &none, &outside, &negative, &many}) {
    request.inputs.emplace_back(TokenIdsInput{*ids});
  }
  request.inputs.emplace_back(TextInput{"a"});
  const auto response = Send(std::move(request)).get();
  ASSERT_TRUE(response.ok());
  EXPECT_THAT(response->row(0), ElementsAre(2, 11));
  EXPECT_THAT(std::string(response->results[1].status.message()),
              HasSubstr("inputs[1].token_ids: holds no token id"));
  EXPECT_THAT(std::string(response->results[2].status.message()),
              HasSubstr("inputs[2].token_ids: ids[1] is 1000"));
  EXPECT_THAT(std::string(response->results[3].status.message()), HasSubstr("ids[0] is -1"));
  EXPECT_THAT(std::string(response->results[4].status.message()), HasSubstr("holds 17 ids"));
  EXPECT_THAT(response->row(5), ElementsAre(1, 'a'));
}

TEST_F(EngineTest, NonFiniteOutputIsTheErrorOfThatInputAlone) {
  Start({Spec("m")});
  const std::vector<int32_t> bad = {testing::FakeModel::kNanId};
  Request request = Texts({"a"});
  request.inputs.emplace_back(TokenIdsInput{bad});
  const auto response = Send(std::move(request)).get();
  ASSERT_TRUE(response.ok());
  EXPECT_TRUE(response->results[0].status.ok());
  EXPECT_EQ(response->results[1].status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(response->row(1), ElementsAre(0, 0));
}

TEST_F(EngineTest, MergesCallersOfBothTasksIntoOneBatch) {
  Start({Spec("m")});
  Gate gate;
  std::vector<int> sizes;
  hooks_.forward = [&](const PackedBatch& batch) {
    sizes.push_back(batch.sequences());
    gate.Pass();
    return absl::OkStatus();
  };
  gate.Close();
  auto first = Send(Texts({"a"}));
  gate.WaitForArrivals(1);
  auto second = Send(Texts({"b"}));
  auto third = Send(Texts({"c", "d"}, TaskKind::kClassify));
  gate.Open();
  EXPECT_THAT(first.get()->row(0), ElementsAre(1, 'a'));
  EXPECT_THAT(second.get()->row(0), ElementsAre(1, 'b'));
  const auto classified = third.get();
  EXPECT_THAT(classified->row(0), ElementsAre('c', -'c'));
  EXPECT_THAT(classified->row(1), ElementsAre('d', -'d'));
  EXPECT_THAT(sizes, ElementsAre(1, 3));
}

TEST_F(EngineTest, ExplainsEveryInputWithItsOwnTokens) {
  Start({Spec("pools")});
  for (TaskKind task : {TaskKind::kEmbed, TaskKind::kClassify}) {
    const std::vector<int32_t> ids = {testing::FakeModel::kPassId, 16, 999};
    Request request = Texts({"ab", "refused", "c"}, task);
    request.inputs.emplace_back(TokenIdsInput{ids});
    request.explain = true;
    const auto response = Send(std::move(request)).get();
    ASSERT_TRUE(response.ok()) << response.status();
    ASSERT_EQ(response->explanations.size(), 4u);
    const Explanation& first = response->explanations[0];
    EXPECT_THAT(first.tokens, ElementsAre("a", "b"));
    ASSERT_EQ(first.context_pool.size(), 8u);
    EXPECT_THAT(first.weight(0), ElementsAre(FloatEq('a'), FloatEq('b')));
    EXPECT_THAT(first.support_size(0), ElementsAre(0, 1));
    EXPECT_THAT(first.weight(1), ElementsAre(FloatEq('a'), FloatEq('b')));
    EXPECT_THAT(first.support_size(1), ElementsAre(0.5, 1.5));
    EXPECT_THAT(response->explanations[1].tokens, IsEmpty());
    EXPECT_THAT(response->explanations[1].context_pool, IsEmpty());
    EXPECT_THAT(response->explanations[2].weight(1), ElementsAre(FloatEq('c')));
    const Explanation& given = response->explanations[3];
    EXPECT_THAT(given.tokens, ElementsAre("\x0E", "\x10", "")) << "the tokeniser knows 256 tokens";
    EXPECT_THAT(given.weight(1), ElementsAre(0, FloatEq(16), FloatEq(999)));
    EXPECT_THAT(given.support_size(1), ElementsAre(0, 1.5, 2.5)) << "0 where passed through";
  }
}

TEST_F(EngineTest, ExplainsWhatIsLeftOfATruncatedInput) {
  Start({Spec("pools")});
  Request request = Texts({"0123456789abcdefXYZ"});
  request.explain = true;
  const auto response = Send(std::move(request)).get();
  ASSERT_TRUE(response.ok());
  ASSERT_EQ(response->explanations[0].tokens.size(), 16u);
  EXPECT_EQ(response->explanations[0].tokens.back(), "f");
  EXPECT_FLOAT_EQ(response->explanations[0].weight(1).back(), 'f');
}

TEST_F(EngineTest, ExplanationsOfManyInputsComeFromSeveralBatches) {
  QueueOptions queue;
  queue.batch_token_budget = 16;
  queue.batch_max_inputs = 5;
  Start({Spec("pools", queue)});
  std::atomic<int> passes{0};
  hooks_.forward = [&](const PackedBatch&) {
    ++passes;
    return absl::OkStatus();
  };
  std::vector<std::string> texts;
  for (int i = 0; i < 40; ++i) texts.emplace_back(1 + i % 7, static_cast<char>('A' + i));
  Request request;
  for (const std::string& text : texts) request.inputs.emplace_back(TextInput{text});
  request.explain = true;
  const auto response = Send(std::move(request)).get();
  ASSERT_TRUE(response.ok());
  EXPECT_GT(passes, 8);
  for (int i = 0; i < 40; ++i) {
    const Explanation& explanation = response->explanations[i];
    ASSERT_EQ(explanation.tokens.size(), texts[i].size());
    EXPECT_THAT(explanation.weight(0), Each(FloatEq(static_cast<float>('A' + i))));
    EXPECT_EQ(explanation.support_size(1).back(), texts[i].size() - 0.5f);
  }
}

TEST_F(EngineTest, OneBatchCarriesRequestsWithAndWithoutExplanations) {
  Start({Spec("pools")});
  HoldPasses();
  auto running = Send(Texts({"x"}));
  gate_.WaitForArrivals(1);
  auto plain = Send(Texts({"abc"}));
  Request wanted = Texts({"de"}, TaskKind::kClassify);
  wanted.explain = true;
  auto explained = Send(std::move(wanted));
  auto last = Send(Texts({"f"}));
  gate_.Open();
  EXPECT_THAT(running.get()->explanations, IsEmpty());
  EXPECT_THAT(plain.get()->explanations, IsEmpty());
  EXPECT_THAT(last.get()->row(0), ElementsAre(1, 'f'));
  const auto response = explained.get();
  EXPECT_EQ(passes_, 2);
  EXPECT_THAT(response->row(0), ElementsAre('d', -'d'));
  EXPECT_THAT(response->explanations[0].weight(0), ElementsAre(FloatEq('d'), FloatEq('e')));
  EXPECT_THAT(response->explanations[0].support_size(0), ElementsAre(0, 1));
}

TEST_F(EngineTest, FailedInputExplainsNothingAndLeavesItsNeighboursExplained) {
  Start({Spec("pools")});
  const std::vector<int32_t> bad = {7, testing::FakeModel::kNanId};
  Request request = Texts({"a"});
  request.inputs.emplace_back(TokenIdsInput{bad});
  request.inputs.emplace_back(TextInput{"b"});
  request.explain = true;
  const auto response = Send(std::move(request)).get();
  ASSERT_TRUE(response.ok());
  EXPECT_FALSE(response->results[1].status.ok());
  EXPECT_THAT(response->explanations[1].tokens, IsEmpty());
  EXPECT_THAT(response->explanations[1].context_pool, IsEmpty());
  EXPECT_THAT(response->explanations[0].weight(0), ElementsAre(FloatEq('a')));
  EXPECT_THAT(response->explanations[2].weight(0), ElementsAre(FloatEq('b')));
}

TEST_F(EngineTest, ModelWithoutContextPoolHasNothingToExplain) {
  Start({Spec("m")});
  Request request = Texts({"a"});
  request.explain = true;
  const auto refused = Send(std::move(request)).get();
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("options.explain: the model \"m\" has no layer with ContextPool"));
  EXPECT_EQ(engine_->Snapshot().requests_in_flight, 0);
}

TEST_F(EngineTest, ExplanationsAreBoundedTogetherUntilTheyAreAnswered) {
  const auto explained = [](const char* text) {
    Request request = Texts({text});
    request.explain = true;
    return request;
  };
  QueueOptions queue;
  queue.max_bytes = 1024;  // of which "abcd" takes about 700
  Start({Spec("pools", queue)});
  const auto too_large = Send(explained("abcdefghij")).get();
  EXPECT_EQ(too_large.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(too_large.status().message()), HasSubstr("options.explain: "));
  EXPECT_FALSE(RetryDelay(too_large.status()).has_value());

  HoldPasses();
  auto running = Send(explained("abcd"));
  gate_.WaitForArrivals(1);  // it waits no more
  auto second = Send(explained("abcd"));
  EXPECT_EQ(second.wait_for(std::chrono::seconds(10)), std::future_status::ready)
      << "refused at once, whatever runs";
  auto plain = Send(Texts({"abcdefghij"}));
  gate_.Open();
  const auto refused = second.get();
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("options.explain: "));
  EXPECT_TRUE(RetryDelay(refused.status()).has_value());
  EXPECT_TRUE(running.get().ok());
  EXPECT_TRUE(plain.get().ok());
  while (engine_->Snapshot().requests_in_flight > 0) std::this_thread::yield();
  EXPECT_TRUE(Send(explained("abcd")).get().ok()) << "the room is given back";
  const Stats stats = engine_->Snapshot();
  EXPECT_EQ(stats.models[0].rejected[static_cast<size_t>(RejectReason::kTooLarge)], 1u);
  EXPECT_EQ(stats.models[0].rejected[static_cast<size_t>(RejectReason::kQueueFull)], 1u);
}

TEST_F(EngineTest, SamplesContextPoolOfTheFirstBatchAndEvery64thAfterIt) {
  Start({Spec("pools")});
  ContextPoolStats stats = engine_->Snapshot().models[0].context_pool;
  ASSERT_EQ(stats.support_size.size(), 2u);
  EXPECT_EQ(Total(stats.support_size[0]), 0u) << "warming up does not count";
  EXPECT_EQ(stats.computed_tiles, 0u);
  const std::vector<int32_t> ids = {testing::FakeModel::kPassId, 5, 6, testing::FakeModel::kNanId};
  for (int i = 0; i < 66; ++i) {
    Request request = Texts({});
    request.inputs.emplace_back(TokenIdsInput{ids});
    request.explain = i % 2 == 0;
    ASSERT_TRUE(Send(std::move(request)).get().ok());
    if (i % 64 == 0) continue;  // a sample is surely counted when the next batch runs
    stats = engine_->Snapshot().models[0].context_pool;
    EXPECT_EQ(Total(stats.support_size[0]), i < 64 ? 2u : 4u) << "what is pooled and finite";
  }
  EXPECT_EQ(stats.support_size[0].sum, 2 * (1 + 2));
  EXPECT_EQ(stats.support_size[1].sum, 2 * (1.5 + 2.5));
  EXPECT_EQ(stats.computed_tiles, 2u * 4);
  EXPECT_EQ(stats.skipped_tiles, 2u * 12);
  EXPECT_EQ(stats.skipped_tiles_ratio, 0.75);
}

TEST_F(EngineTest, FullQueueRefusesWithARetryDelayAndCountsIt) {
  QueueOptions queue;
  queue.max_inputs = 2;
  Start({Spec("m", queue)});
  HoldPasses();
  auto running = Send(Texts({"a"}));
  gate_.WaitForArrivals(1);
  auto waiting = Send(Texts({"b", "c"}));
  const auto refused = Send(Texts({"d"})).get();
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(RetryDelay(refused.status()).has_value());
  const auto too_large = Send(Texts({"a", "b", "c"})).get();
  EXPECT_EQ(too_large.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(RetryDelay(too_large.status()).has_value());
  EXPECT_EQ(engine_->Snapshot().requests_in_flight, 2);
  EXPECT_EQ(engine_->Snapshot().models[0].queue_inputs[0], 2);
  gate_.Open();
  EXPECT_TRUE(running.get().ok());
  EXPECT_TRUE(waiting.get().ok());
  const Stats stats = engine_->Snapshot();
  EXPECT_EQ(stats.models[0].rejected[static_cast<size_t>(RejectReason::kQueueFull)], 1u);
  EXPECT_EQ(stats.models[0].rejected[static_cast<size_t>(RejectReason::kTooLarge)], 1u);
}

TEST_F(EngineTest, DeadlineThatPassesInTheQueueFailsTheRequestUncomputed) {
  Start({Spec("m")});
  HoldPasses();
  auto running = Send(Texts({"a"}));
  gate_.WaitForArrivals(1);
  Request late = Texts({"b"});
  late.deadline = Clock::Real().Now();
  auto expired = Send(std::move(late));
  gate_.Open();
  EXPECT_EQ(expired.get().status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(running.get().ok());
  EXPECT_EQ(passes_, 1);
  EXPECT_EQ(engine_->Snapshot().models[0].dropped[static_cast<size_t>(DropReason::kDeadline)], 1u);
}

TEST_F(EngineTest, WorkOfACancelledCallIsDroppedBeforeItIsComputed) {
  Start({Spec("m")});
  HoldPasses();
  auto running = Send(Texts({"a"}));
  gate_.WaitForArrivals(1);
  std::atomic<bool> gave_up{false};
  Request request = Texts({"b"});
  request.cancelled = [&] { return gave_up.load(); };
  auto cancelled = Send(std::move(request));
  gave_up = true;
  gate_.Open();
  EXPECT_EQ(cancelled.get().status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(running.get().ok());
  EXPECT_EQ(passes_, 1);
  EXPECT_EQ(engine_->Snapshot().models[0].dropped[static_cast<size_t>(DropReason::kCancelled)], 1u);
}

TEST_F(EngineTest, FailedPassFailsItsRequestsAndTheNextOnesWork) {
  Start({Spec("m")});
  hooks_.forward = [](const PackedBatch&) { return absl::InternalError("the device is hot"); };
  EXPECT_EQ(Send(Texts({"a"})).get().status().code(), absl::StatusCode::kInternal);
  hooks_.forward = nullptr;
  device_->next_failure = absl::InternalError("the device is hot");
  EXPECT_EQ(Send(Texts({"a"})).get().status().code(), absl::StatusCode::kInternal);
  EXPECT_TRUE(Send(Texts({"a"})).get().ok());
}

TEST_F(EngineTest, BrokenModelIsReportedAndTheOthersServe) {
  Start({Spec("good"), Spec("broken")});
  const auto models = engine_->ListModels();
  ASSERT_EQ(models.size(), 2u);
  EXPECT_EQ(models[0].info->name, "broken");
  EXPECT_EQ(models[0].state, ModelState::kFailed);
  EXPECT_EQ(models[0].reason, "config.json: is broken");
  EXPECT_EQ(models[1].state, ModelState::kReady);
  EXPECT_TRUE(Send(Texts({"a"})).get().ok()) << "the only ready model needs no name";
  Request request = Texts({"a"});
  request.model = "broken";
  const auto refused = Send(std::move(request)).get();
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("config.json: is broken"));
}

TEST_F(EngineTest, BudgetBelowTheLongestInputIsAnErrorOfTheModel) {
  QueueOptions queue;
  queue.batch_token_budget = 15;
  Start({Spec("m", queue)});
  EXPECT_EQ(engine_->ListModels()[0].state, ModelState::kFailed);
  EXPECT_THAT(engine_->ListModels()[0].reason, HasSubstr("token_budget is 15"));
}

TEST_F(EngineTest, ModelsAreFoundByNameAndVersion) {
  ModelSpec second = Spec("a");
  second.version = 2;
  Start({Spec("a"), second, Spec("b")});
  Request request = Texts({"x"});
  request.model = "a";
  EXPECT_EQ(Send(std::move(request)).get()->model->version, 2);
  request = Texts({"x"});
  request.model = "a";
  request.version = 1;
  EXPECT_EQ(Send(std::move(request)).get()->model->version, 1);
  request = Texts({"x"});
  request.model = "nobody";
  const auto unknown = Send(std::move(request)).get();
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(unknown.status().message()), HasSubstr("\"a\", \"b\""));
  const auto ambiguous = Send(Texts({"x"})).get();
  EXPECT_EQ(ambiguous.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(ambiguous.status().message()),
              HasSubstr("several models offer embeddings of text: \"a\", \"b\""));
  request = Texts({"x"});
  request.version = 1;
  EXPECT_THAT(std::string(Send(std::move(request)).get().status().message()),
              HasSubstr("model.version"));
}

TEST_F(EngineTest, VersionsOfTheOnlyModelNeedNoName) {
  ModelSpec second = Spec("a");
  second.version = 2;
  Start({Spec("a"), second});
  EXPECT_EQ(Send(Texts({"x"})).get()->model->version, 2);
  EXPECT_EQ(engine_->GetModel("", 0)->info->version, 2);
}

TEST_F(EngineTest, ExceptionWhileLoadingIsThatModelsErrorAlone) {
  Start({Spec("throws"), Spec("m")});
  EXPECT_EQ(engine_->ListModels()[1].state, ModelState::kFailed);
  EXPECT_THAT(engine_->ListModels()[1].reason, HasSubstr("not enough memory"));
  EXPECT_TRUE(Send(Texts({"x"})).get().ok());
}

TEST_F(EngineTest, ModelThatDoesNotFitLeavesTheOthersServing) {
  Start({Spec("m"), Spec("z large")});
  EXPECT_EQ(engine_->ListModels()[1].state, ModelState::kFailed);
  EXPECT_TRUE(Send(Texts({"x"})).get().ok());
}

TEST_F(EngineTest, DefaultBudgetHoldsTheLongestInput) {
  Start({Spec("long")});
  EXPECT_EQ(engine_->ListModels()[0].state, ModelState::kReady);
  EXPECT_EQ(engine_->ListModels()[0].info->batch_token_budget, 5000);
}

// Two sequences of the fake model, whose embedding is (length, sum of ids).
std::string GoldenBytes(float last_sum) {
  const std::vector<int32_t> ids = {5, 6, 7};
  const std::vector<int32_t> ends = {0, 1, 3};
  const auto integers = [](const std::vector<int32_t>& values) {
    return TestTensor{"I32",
                      {static_cast<int64_t>(values.size())},
                      {reinterpret_cast<const char*>(values.data()), values.size() * 4}};
  };
  return SafetensorsBytes({{"input_ids", integers(ids)},
                           {"cu_lengths", integers(ends)},
                           {"embedding", F32Tensor({2, 2}, {1, 5, 2, last_sum})},
                           {"logits", F32Tensor({2, 2}, {5, -5, 6, -6})}});
}

TEST_F(EngineTest, AModelThatComputesItsGoldenFileServesAndItsCountersStayAtZero) {
  TempDirectory directory;
  directory.Write("config.json", SmallConfig());
  directory.Write("golden.safetensors", absl::string_view(GoldenBytes(13)));
  hooks_.forward = [this](const PackedBatch&) {
    ++passes_;
    return absl::OkStatus();
  };
  ModelSpec spec = Spec("m");
  spec.directory = directory.path();
  Start({spec});
  ASSERT_EQ(engine_->ListModels()[0].state, ModelState::kReady) << engine_->ListModels()[0].reason;
  EXPECT_EQ(passes_, 3) << "to warm up, embeddings, logits";
  const Stats stats = engine_->Snapshot();
  EXPECT_EQ(stats.models[0].batch_inputs.sum, 0);
  EXPECT_EQ(stats.models[0].batch_tokens.sum, 0);
}

TEST_F(EngineTest, AModelThatComputesSomethingElseFailsAndTheOthersServe) {
  TempDirectory directory;
  directory.Write("config.json", SmallConfig());
  directory.Write("golden.safetensors", absl::string_view(GoldenBytes(13.5)));
  ModelSpec spec = Spec("m");
  spec.directory = directory.path();
  Start({spec, Spec("other")});
  EXPECT_EQ(engine_->ListModels()[0].state, ModelState::kFailed);
  EXPECT_THAT(engine_->ListModels()[0].reason,
              HasSubstr("golden.safetensors: sequence 1, dimension 1 of \"embedding\": expected "
                        "13.5, computed 13"));
  EXPECT_TRUE(Send(Texts({"a"})).get().ok());
}

TEST_F(EngineTest, AGoldenFileIsComputedInBatchesWithinTheLimits) {
  TempDirectory directory;
  directory.Write("config.json", SmallConfig());
  directory.Write("golden.safetensors", absl::string_view(GoldenBytes(13)));
  std::vector<int> sizes;
  hooks_.forward = [&](const PackedBatch& batch) {
    sizes.push_back(batch.sequences());
    return absl::OkStatus();
  };
  QueueOptions queue;
  queue.batch_max_inputs = 1;
  ModelSpec spec = Spec("m", queue);
  spec.directory = directory.path();
  Start({spec});
  EXPECT_EQ(engine_->ListModels()[0].state, ModelState::kReady) << engine_->ListModels()[0].reason;
  EXPECT_THAT(sizes, ElementsAre(1, 1, 1, 1, 1));
}

TEST_F(EngineTest, AFailedPassOfTheGoldenFileFailsTheModel) {
  TempDirectory directory;
  directory.Write("config.json", SmallConfig());
  directory.Write("golden.safetensors", absl::string_view(GoldenBytes(13)));
  hooks_.forward = [this](const PackedBatch&) {
    return ++passes_ == 2 ? absl::InternalError("the device is hot") : absl::OkStatus();
  };
  ModelSpec spec = Spec("m");
  spec.directory = directory.path();
  Start({spec});
  EXPECT_EQ(engine_->ListModels()[0].state, ModelState::kFailed);
  EXPECT_EQ(engine_->ListModels()[0].reason, "the device is hot");
}

TEST_F(EngineTest, DrainFinishesAcceptedWorkAndRefusesNewWork) {
  Start({Spec("m")});
  HoldPasses();
  std::vector<std::future<absl::StatusOr<Response>>> accepted;
  for (int i = 0; i < 8; ++i) accepted.push_back(Send(Texts({"a"})));
  gate_.WaitForArrivals(1);
  std::thread drain([&] { engine_->Drain(); });
  gate_.Open();
  drain.join();
  for (auto& call : accepted) EXPECT_TRUE(call.get().ok());
  EXPECT_EQ(Send(Texts({"b"})).get().status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(EngineTest, TokenizeAnswersTextByText) {
  Start({Spec("m")});
  const auto response = engine_->Tokenize({}, {"ab", "refused", "0123456789abcdefg"});
  ASSERT_TRUE(response.ok());
  EXPECT_THAT(response->results[0].ids, ElementsAre('a', 'b'));
  EXPECT_EQ(response->results[1].status.message(), "texts[1]: is refused");
  EXPECT_TRUE(response->results[2].truncated);
  EXPECT_EQ(response->results[2].tokens_seen, 17);
}

TEST_F(EngineTest, EveryCallOfManyThreadsGetsItsOwnAnswer) {
  Start({Spec("a"), Spec("b")});
  std::vector<std::thread> threads;
  for (int t = 0; t < 8; ++t) {
    threads.emplace_back([&, t] {
      const std::string text(1 + t, static_cast<char>('a' + t));
      for (int i = 0; i < 200; ++i) {
        Request request = Texts({text.c_str()});
        request.model = i % 2 == 0 ? "a" : "b";
        const auto response = Send(std::move(request)).get();
        ASSERT_TRUE(response.ok());
        EXPECT_THAT(response->row(0), ElementsAre(1 + t, (1 + t) * ('a' + t)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  engine_->Drain();  // a request is in flight until its callback has returned
  EXPECT_EQ(engine_->Snapshot().requests_in_flight, 0);
}

}  // namespace
}  // namespace contextpool::engine
