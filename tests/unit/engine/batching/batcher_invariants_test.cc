// What callers may rely on, whatever the formulas: a simulated device whose steps take exactly as
// long as predicted, under more work of several models than it can do.
#include <random>

#include "tests/unit/engine/batching/batcher_fixture.h"

namespace contextpool::engine {
namespace {

using ::std::chrono::microseconds;
using ::std::chrono::milliseconds;
using ::std::chrono::seconds;

struct Mix {
  std::string name;
  Duration fixed;  // of a step; a token takes 100 us
  int models;
  int bulk_percent;
  // Of the promises that may be broken.
  double most_broken;

  friend void PrintTo(const Mix& mix, std::ostream* out) { *out << mix.name; }
};

class BatcherInvariantsTest : public BatcherTest, public ::testing::WithParamInterface<Mix> {
 protected:
  static constexpr Duration kPerToken = microseconds(100);

  BatcherInvariantsTest() {
    for (int i = 0; i < GetParam().models; ++i) {
      models_.push_back(AddQueue(Eager()));
      Teach(models_.back(), GetParam().fixed, kPerToken);
    }
  }

  static QueueOptions Eager() {
    QueueOptions options = Options();
    options.max_wait = Duration::zero();
    return options;
  }

  Duration StepTime(int64_t tokens) const { return GetParam().fixed + tokens * kPerToken; }
  int Below(int bound) { return static_cast<int>(random_() % bound); }

  // Keeps about 1.5 times as much coming as there is time for.
  TestCall& Arrive() {
    const int64_t tokens = 5 + Below(40);
    TestCall& call = NewCall("call", {tokens}).On(models_[Below(GetParam().models)]);
    if (Below(100) < GetParam().bulk_percent) return call.Bulk().DueByDefaultIn(seconds(60));
    if (Below(10) == 0) return call.DueByDefaultIn(seconds(60));
    // Never less than an idle device needs, which tries everything.
    return call.DueIn(2 * StepTime(tokens) + microseconds(Below(200000)));
  }
  void ArriveUntil(TimePoint end) {
    while (next_arrival_ <= end) {
      clock_.Advance(next_arrival_ - clock_.Now());
      TestCall& call = Arrive();
      const bool promised = call.work().promised;
      if (promised) ++offered_;
      if (Enqueue(call).ok() && promised) {
        ++accepted_;
        call.on_abort = [this] { ++broken_; };
      }
      // A full step's tokens, 25 to a call on average.
      const double gap = static_cast<double>(StepTime(kBudget).count()) / 4 / 1.5;
      next_arrival_ +=
          Duration(static_cast<int64_t>(gap * std::exponential_distribution()(random_)));
    }
    clock_.Advance(end - clock_.Now());
  }
  // One step, and what comes meanwhile.
  void Step() {
    if (Waiting() == 0) ArriveUntil(next_arrival_);
    if (Waiting() == 0) return;
    Next();
    ArriveUntil(clock_.Now() + StepTime(batch_.cost));
    for (const Task* task : batch_.tasks) {
      const Submission& work = *task->queued.submission;
      if (work.promised && clock_.Now() > work.deadline) ++broken_;
    }
    Complete();
  }
  int64_t Waiting() const {
    int64_t inputs = 0;
    for (const QueueId queue : models_) {
      for (const int64_t waiting : batcher_.Depth(queue).inputs) inputs += waiting;
    }
    return inputs;
  }

  std::vector<QueueId> models_;
  std::mt19937 random_{1};
  TimePoint next_arrival_ = clock_.Now();
  int64_t offered_ = 0;
  int64_t accepted_ = 0;
  int64_t broken_ = 0;
};

TEST_P(BatcherInvariantsTest, WhatIsAcceptedWithADeadlineIsDoneByIt) {
  for (int i = 0; i < 2000; ++i) Step();
  RecordProperty("accepted", static_cast<int>(accepted_));
  RecordProperty("broken", static_cast<int>(broken_));
  EXPECT_LE(broken_, GetParam().most_broken * static_cast<double>(accepted_))
      << "of " << accepted_ << " of " << offered_;
  EXPECT_GT(accepted_, offered_ / 4) << "nothing is promised easily";
  EXPECT_LT(accepted_, offered_) << "there is more than can be done";
}

// Anything that may come without deadlines, and then a small call with a little patience.
TEST_P(BatcherInvariantsTest, AFloodWithoutDeadlinesKeepsNoSmallCallOut) {
  for (int round = 0; round < 50; ++round) {
    for (int i = Below(200); i > 0; --i) {
      TestCall& call = NewCall("flood", std::vector<int64_t>(1 + Below(8), 1 + Below(100)))
                           .On(models_[Below(GetParam().models)])
                           .DueByDefaultIn(seconds(60));
      (void)Enqueue(Below(3) == 0 ? call.Bulk() : call);
    }
    // In the middle of a step, or at its end.
    Next();
    clock_.Advance(StepTime(batch_.cost) * Below(5) / 4);
    const Duration patience = 4 * StepTime(kBudget);
    Accept(NewCall("call", {20}).On(models_[Below(GetParam().models)]).DueIn(patience));
  }
}

// Where steps have a fixed part, work of several models whose deadlines alternate may take more
// steps than admission expects.
INSTANTIATE_TEST_SUITE_P(
    Mixes, BatcherInvariantsTest,
    ::testing::Values(Mix{"OneModel", milliseconds(0), 1, 0, 0.0},
                      Mix{"OneModelWithAFixedPart", milliseconds(5), 1, 0, 0.0},
                      Mix{"OneModelBesideBulk", milliseconds(5), 1, 40, 0.0},
                      Mix{"FourModels", milliseconds(0), 4, 0, 0.0},
                      Mix{"FourModelsWithAFixedPart", milliseconds(5), 4, 0, 0.02},
                      Mix{"FourModelsBesideBulk", milliseconds(5), 4, 40, 0.02}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace contextpool::engine
