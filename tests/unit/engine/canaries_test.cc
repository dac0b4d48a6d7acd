#include "engine/canaries.h"

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_clock.h"

namespace contextpool::engine {
namespace {

using ::std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr Duration kTick{1};
constexpr Duration kInterval = seconds(10);

Response AnswerWith(absl::Status status) {
  Response response;
  response.results.push_back({std::move(status), 4, 4, false});
  return response;
}

// Ready models whose canaries wait to be answered by the test.
class CanariesTest : public ::testing::Test {
 protected:
  struct Sent {
    Request request;
    Engine::Callback done;
  };

  CanariesTest() { AddModel("m"); }

  void AddModel(const std::string& name) {
    auto info = std::make_shared<ModelInfo>();
    info->name = name;
    info->max_tokens = 16;
    info->vocabulary_size = 1000;
    auto counters = std::make_shared<ModelCounters>();
    counters->last_computed = clock_.Now();
    models_.push_back({std::move(info), std::move(counters), &steps_});
  }

  void BatchWasComputed() { models_[0].counters->last_computed = clock_.Now(); }

  // The model becomes due, is asked, and its canary ends like this.
  void AskAndAnswer(absl::StatusOr<Response> response) {
    clock_.Advance(kInterval);
    canaries_.SendDue();
    ASSERT_THAT(sent_, SizeIs(1));
    AnswerNext(std::move(response));
  }

  void AnswerNext(absl::StatusOr<Response> response) {
    Engine::Callback done = std::move(sent_.front().done);
    sent_.erase(sent_.begin());
    done(std::move(response));
  }

  // ok, failed, skipped
  auto Counts() const { return CountersSnapshot(*models_[0].counters).canaries; }

  testing::FakeClock clock_;
  StepWatch steps_;
  std::vector<CanaryModel> models_;
  std::vector<Sent> sent_;
  uint64_t decoded_ = 0;
  Canaries canaries_{kInterval,
                     clock_,
                     {[this] { return models_; },
                      [this](Request request, Engine::Callback done) {
                        sent_.push_back({std::move(request), std::move(done)});
                      },
                      [this] { return decoded_; }}};
};

TEST_F(CanariesTest, AModelIsAskedOnceItWasIdleForTheInterval) {
  clock_.Advance(kInterval - kTick);
  EXPECT_EQ(canaries_.SendDue(), clock_.Now() + kTick);
  EXPECT_THAT(sent_, SizeIs(0));
  clock_.Advance(kTick);
  canaries_.SendDue();
  ASSERT_THAT(sent_, SizeIs(1));
  EXPECT_EQ(sent_[0].request.model, "m");
  EXPECT_TRUE(sent_[0].request.canary);
  EXPECT_EQ(sent_[0].request.deadline, clock_.Now() + Canaries::kAnswerLimit);
  EXPECT_THAT(std::get<TokenIdsInput>(sent_[0].request.inputs.at(0)).ids, SizeIs(4));
}

TEST_F(CanariesTest, AModelThatComputedABatchIsLeftAlone) {
  clock_.Advance(kInterval - kTick);
  BatchWasComputed();
  clock_.Advance(kTick);
  EXPECT_EQ(canaries_.SendDue(), clock_.Now() + kInterval - kTick);
  EXPECT_THAT(sent_, SizeIs(0));
}

TEST_F(CanariesTest, OnlyTheIdleOneOfTwoModelsIsAsked) {
  AddModel("idle");
  clock_.Advance(kInterval);
  BatchWasComputed();
  canaries_.SendDue();
  ASSERT_THAT(sent_, SizeIs(1));
  EXPECT_EQ(sent_[0].request.model, "idle");
}

TEST_F(CanariesTest, AModelHasOneCanaryAtATime) {
  clock_.Advance(kInterval);
  canaries_.SendDue();
  clock_.Advance(kInterval);
  canaries_.SendDue();
  EXPECT_THAT(sent_, SizeIs(1));
  AnswerNext(AnswerWith(absl::OkStatus()));
  canaries_.SendDue();
  EXPECT_THAT(sent_, SizeIs(1));
}

TEST_F(CanariesTest, AModelThatFailedIsAskedAgainAfterTheInterval) {
  AskAndAnswer(absl::InternalError("the device is hot"));
  EXPECT_EQ(canaries_.SendDue(), clock_.Now() + kInterval);
  EXPECT_THAT(sent_, SizeIs(0));
}

TEST_F(CanariesTest, AnAnsweredCanaryIsHealthAndCountedAsOk) {
  AskAndAnswer(AnswerWith(absl::OkStatus()));
  EXPECT_TRUE(canaries_.Health().healthy);
  EXPECT_THAT(Counts(), ElementsAre(1, 0, 0));
}

TEST_F(CanariesTest, AFailedCanaryIsUnhealthyAndTheNextSuccessHeals) {
  AskAndAnswer(absl::InternalError("the device is hot"));
  const EngineHealth health = canaries_.Health();
  EXPECT_FALSE(health.healthy);
  EXPECT_TRUE(health.can_recover);
  EXPECT_EQ(health.since, clock_.Now());
  EXPECT_THAT(health.reason, HasSubstr("\"m\""));
  EXPECT_THAT(health.reason, HasSubstr("the device is hot"));
  AskAndAnswer(AnswerWith(absl::OkStatus()));
  EXPECT_TRUE(canaries_.Health().healthy);
  EXPECT_THAT(Counts(), ElementsAre(1, 1, 0));
}

TEST_F(CanariesTest, ANonFiniteAnswerIsAFailure) {
  AskAndAnswer(AnswerWith(absl::InternalError("inputs[0]: a value that is not finite")));
  EXPECT_FALSE(canaries_.Health().healthy);
  EXPECT_THAT(canaries_.Health().reason, HasSubstr("not finite"));
}

TEST_F(CanariesTest, ABatchOfCallersHealsLikeACanary) {
  AskAndAnswer(absl::InternalError("the device is hot"));
  clock_.Advance(seconds(1));
  BatchWasComputed();
  EXPECT_TRUE(canaries_.Health().healthy);
}

TEST_F(CanariesTest, ThreeFailuresInARowCannotRecoverAndAreUnhealthySinceTheFirst) {
  AskAndAnswer(absl::InternalError("the device is hot"));
  const TimePoint first = clock_.Now();
  AskAndAnswer(absl::InternalError("the device is hot"));
  EXPECT_TRUE(canaries_.Health().can_recover);
  AskAndAnswer(absl::InternalError("the device is hot"));
  EXPECT_FALSE(canaries_.Health().can_recover);
  EXPECT_EQ(canaries_.Health().since, first);
}

TEST_F(CanariesTest, FailuresBeforeASuccessOfCallersAreForgotten) {
  AskAndAnswer(absl::InternalError("the device is hot"));
  AskAndAnswer(absl::InternalError("the device is hot"));
  clock_.Advance(seconds(1));
  BatchWasComputed();
  AskAndAnswer(absl::InternalError("the device is hot"));
  EXPECT_FALSE(canaries_.Health().healthy);
  EXPECT_TRUE(canaries_.Health().can_recover);
  EXPECT_EQ(canaries_.Health().since, clock_.Now());
}

TEST_F(CanariesTest, ARefusedCanarySaysNothing) {
  for (const absl::Status& refusal :
       {absl::ResourceExhaustedError("full"), absl::UnavailableError("draining"),
        absl::NotFoundError("unloaded")}) {
    AskAndAnswer(refusal);
  }
  EXPECT_TRUE(canaries_.Health().healthy);
  EXPECT_THAT(Counts(), ElementsAre(0, 0, 3));
}

TEST_F(CanariesTest, ACanaryThatExpiresBehindOtherWorkSaysNothing) {
  clock_.Advance(kInterval);
  canaries_.SendDue();
  steps_.Begin(clock_.Now(), Duration::zero());
  steps_.End();
  clock_.Advance(Canaries::kAnswerLimit);
  AnswerNext(absl::DeadlineExceededError("in the queue"));
  EXPECT_TRUE(canaries_.Health().healthy);
  EXPECT_THAT(Counts(), ElementsAre(0, 0, 1));
}

TEST_F(CanariesTest, ACanaryWithoutAnAnswerBehindImagesThatAreDecodedSaysNothing) {
  clock_.Advance(kInterval);
  canaries_.SendDue();
  ++decoded_;
  clock_.Advance(Canaries::kAnswerLimit);
  EXPECT_TRUE(canaries_.Health().healthy);
  AnswerNext(absl::DeadlineExceededError("before the images were decoded"));
  EXPECT_TRUE(canaries_.Health().healthy);
  EXPECT_THAT(Counts(), ElementsAre(0, 0, 1));
}

TEST_F(CanariesTest, ACanaryThatExpiresWhileNothingIsComputedFailed) {
  clock_.Advance(kInterval);
  canaries_.SendDue();
  clock_.Advance(Canaries::kAnswerLimit);
  AnswerNext(absl::DeadlineExceededError("in the queue"));
  EXPECT_FALSE(canaries_.Health().healthy);
  EXPECT_THAT(Counts(), ElementsAre(0, 1, 0));
}

TEST_F(CanariesTest, ACanaryWithoutAnAnswerIsUnhealthyAtItsLimit) {
  clock_.Advance(kInterval);
  canaries_.SendDue();
  clock_.Advance(Canaries::kAnswerLimit - kTick);
  EXPECT_TRUE(canaries_.Health().healthy);
  clock_.Advance(kTick);
  EXPECT_FALSE(canaries_.Health().healthy);
  EXPECT_EQ(canaries_.Health().since, clock_.Now());
  AnswerNext(AnswerWith(absl::OkStatus()));
  EXPECT_TRUE(canaries_.Health().healthy);
}

TEST_F(CanariesTest, AModelThatMovedIsJudgedByTheDeviceThatWasAsked) {
  StepWatch busy;
  for (int step = 0; step < 3; ++step) {
    busy.Begin(clock_.Now(), seconds(1));
    busy.End();
  }
  clock_.Advance(kInterval);
  canaries_.SendDue();
  models_[0].steps = &busy;  // a reload put its next copy there
  clock_.Advance(Canaries::kAnswerLimit);
  EXPECT_FALSE(canaries_.Health().healthy) << "those steps are of another device";
}

TEST_F(CanariesTest, WhileAStepRunsItsOwnLimitJudges) {
  clock_.Advance(kInterval);
  canaries_.SendDue();
  steps_.Begin(clock_.Now(), seconds(1));  // may take ten
  clock_.Advance(Canaries::kAnswerLimit);
  EXPECT_TRUE(canaries_.Health().healthy);
  AnswerNext(absl::DeadlineExceededError("the deadline passed while the request was queued"));
  EXPECT_TRUE(canaries_.Health().healthy);
  EXPECT_THAT(Counts(), ElementsAre(0, 0, 1));
}

TEST_F(CanariesTest, AModelThatIsGoneCountsNoMoreAndItsLateAnswerIsDropped) {
  AskAndAnswer(absl::InternalError("the device is hot"));
  clock_.Advance(kInterval);
  canaries_.SendDue();
  const std::vector<CanaryModel> models = std::exchange(models_, {});
  EXPECT_TRUE(canaries_.Health().healthy);
  canaries_.SendDue();
  models_ = models;
  BatchWasComputed();
  canaries_.SendDue();
  clock_.Advance(seconds(1));
  AnswerNext(absl::InternalError("the device is hot"));
  EXPECT_TRUE(canaries_.Health().healthy) << "it was loaded again";
  EXPECT_THAT(Counts(), ElementsAre(0, 1, 0));
}

}  // namespace
}  // namespace contextpool::engine
