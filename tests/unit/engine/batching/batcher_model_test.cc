// Random operations on the batcher and on an obvious reference, which must always agree.
#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <utility>

#include "engine/base/retry.h"
#include "tests/unit/engine/batching/batcher_fixture.h"
#include "tests/unit/engine/batching/reference_batcher.h"

namespace contextpool::engine {
namespace {

using ::std::chrono::microseconds;
using ::std::chrono::milliseconds;

#if defined(CONTEXTPOOL_TSAN)
constexpr int kOperations = 5000;
#else
constexpr int kOperations = 12000;
#endif

// Doubles that are added up in another order may differ by a few nanoseconds.
constexpr Duration kRounding = microseconds(1);

// A task, by its call and its index.
using Name = std::pair<int32_t, int32_t>;

class ModelCheck {
 public:
  explicit ModelCheck(unsigned seed) : random_(seed), batcher_(clock_, kTotal), model_(kTotal) {
    for (int i = 0; i < 3; ++i) AddQueue();
  }

  void Step() {
    const int choice = Below(100);
    if (choice < busyness_) {
      Enqueue();
    } else if (choice < 50) {
      clock_.Advance(microseconds(Below(2000)) + Duration(Below(1000)));
    } else if (choice < 58) {
      Cancel();
    } else if (choice < 62) {
      Expire();
    } else if (choice < 80) {
      Next();
    } else if (choice < 97) {
      SealOrComplete();
    } else if (choice < 98) {
      Teach();
    } else if (choice < 99) {
      AddOrRemoveQueue();
    } else {
      busyness_ = 10 + Below(35);
    }
    Compare();
  }

  void Drain() {
    batcher_.Close();
    TestCall refused("refused", {1}, queues_.front(), clock_);
    EXPECT_EQ(batcher_.Enqueue(refused.queue(), refused.work()).code(),
              absl::StatusCode::kUnavailable);
    Complete();
    while (model_.HasWork(clock_.Now())) {
      Next();
      clock_.Advance(microseconds(Below(2000)));
      Complete();
      Compare();
    }
    model_.EndStep();
    model_.Expire(clock_.Now());
    EXPECT_FALSE(batcher_.NextBatch(batch_));
    Compare();
    EXPECT_TRUE(calls_.empty()) << "not answered";
  }

  int64_t batches() const { return batches_; }
  int64_t twins() const { return twins_; }
  const std::map<Verdict::Kind, int64_t>& verdicts() const { return verdicts_; }

 private:
  static constexpr QueueBounds kTotal{.max_tokens = 2500, .max_inputs = 120, .max_bytes = 1 << 20};
  static constexpr Priority kBothClasses[] = {Priority::kInteractive, Priority::kBulk};

  int Below(int bound) { return static_cast<int>(random_() % bound); }

  void AddQueue() {
    QueueOptions options;
    options.batch_token_budget = 64 + Below(200);
    options.batch_max_inputs = 2 + Below(20);
    options.max_tokens = 1000 + Below(1000);
    options.max_inputs = 30 + Below(60);
    options.max_bytes = 1500;
    options.max_wait = Duration::zero();
    options.interactive_weight = 1 + Below(8);
    options.bulk_weight = 1 + Below(3);
    const QueueId queue = batcher_.AddQueue(options);
    ASSERT_EQ(std::count(queues_.begin(), queues_.end(), queue), 0);
    queues_.push_back(queue);
    model_.AddQueue(queue, options);
  }

  void AddOrRemoveQueue() {
    if (queues_.size() < 4 && Below(2) == 0) return AddQueue();
    const QueueId queue = queues_[Below(static_cast<int>(queues_.size()))];
    if (queues_.size() == 1 || !model_.CanRemove(queue)) return;
    batcher_.RemoveQueue(queue);
    model_.RemoveQueue(queue);
    std::erase(queues_, queue);
  }

  void Teach() {
    const QueueId queue = queues_[Below(static_cast<int>(queues_.size()))];
    const int64_t tokens = 1 + Below(200);
    const Duration took = microseconds(Below(2000));
    batcher_.Teach(queue, tokens, took);
    model_.Teach(queue, tokens, took, clock_.Now());
  }

  static int64_t CostOf(int32_t text) { return 1 + text * 37 % 64; }

  ReferenceCall NewCall() {
    ReferenceCall call;
    call.queue = queues_[Below(static_cast<int>(queues_.size()))];
    call.priority = kBothClasses[Below(4) == 0];
    const int kind = Below(10);
    call.deadline = kind == 0   ? TimePoint::max()
                    : kind == 1 ? clock_.Now() - microseconds(Below(2))
                                : clock_.Now() + microseconds(Below(kind < 6 ? 20000 : 200000));
    call.promised = Below(3) > 0;
    for (int i = Below(8); i >= 0; --i) {
      ReferenceTask task;
      task.index = static_cast<int32_t>(call.tasks.size());
      task.text = Below(50);
      // Now and then one that no batch could hold.
      task.cost = Below(2000) == 0 ? 1000 : CostOf(task.text);
      call.tasks.push_back(task);
    }
    return call;
  }

  std::unique_ptr<TestCall> Real(const ReferenceCall& call, int32_t id) {
    std::vector<int64_t> costs;
    std::vector<std::vector<int32_t>> texts;
    for (const ReferenceTask& task : call.tasks) {
      costs.push_back(task.cost);
      texts.push_back({task.text});
    }
    auto real = std::make_unique<TestCall>(std::to_string(id), costs, call.queue, clock_);
    const Duration due_in = call.deadline - clock_.Now();
    call.promised ? real->DueIn(due_in) : real->DueByDefaultIn(due_in);
    real->Saying(texts);
    if (call.priority == Priority::kBulk) real->Bulk();
    return real;
  }

  void Enqueue() {
    const int32_t id = next_id_++;
    const ReferenceCall call = NewCall();
    std::unique_ptr<TestCall> real = Real(call, id);
    const bool stopped = Below(50) == 0;
    std::stop_source caller;
    if (stopped) {
      caller.request_stop();
      batcher_.Cancel(real->StoppedBy(caller).work());
    }
    const absl::Status status = batcher_.Enqueue(call.queue, real->work());
    if (stopped) {
      ASSERT_EQ(status.code(), absl::StatusCode::kCancelled);
      return;
    }
    const Verdict verdict = model_.Judge(call, clock_.Now());
    ++verdicts_[verdict.kind];
    if (verdict.slack > kRounding) {
      ASSERT_EQ(KindOf(status), verdict.kind) << status;
    }
    if (!status.ok()) return;
    model_.Accept(id, call, clock_.Now());
    ids_[real.get()] = id;
    calls_[id] = std::move(real);
  }

  static Verdict::Kind KindOf(const absl::Status& status) {
    if (status.ok()) return Verdict::kAccepted;
    if (IsTooLate(status)) return Verdict::kTooLate;
    if (absl::IsResourceExhausted(status)) return Verdict::kFull;
    return absl::IsInvalidArgument(status) ? Verdict::kTooLarge : Verdict::kLate;
  }

  void Cancel() {
    if (calls_.empty()) return;
    const auto call = std::next(calls_.begin(), Below(static_cast<int>(calls_.size())));
    batcher_.Cancel(call->second->work());
    model_.Cancel(call->first);
  }

  // Waits for the earliest deadline, if it is near.
  void Expire() {
    if (model_.EarliestDeadline() > clock_.Now() + milliseconds(5)) return;
    const TimePoint expected = std::max(model_.EarliestDeadline(), clock_.Now());
    ASSERT_TRUE(batcher_.ExpireNext());
    ASSERT_EQ(clock_.Now(), expected);
    model_.Expire(expected);
  }

  Name NameOf(const Task& task) const { return {ids_.at(task.completion), task.index}; }

  void Next() {
    if (model_.running() || !model_.HasWork(clock_.Now())) return;
    ASSERT_TRUE(batcher_.NextBatch(batch_));
    const ReferenceBatch& expected = model_.NextBatch(clock_.Now());
    std::vector<Name> names;
    for (const Task* task : batch_.tasks) names.push_back(NameOf(*task));
    std::vector<Name> expected_names;
    for (const ReferenceTask& task : expected.tasks) {
      expected_names.push_back({task.call, task.index});
    }
    ASSERT_EQ(names, expected_names);
    ASSERT_EQ(batch_.queue, expected.queue);
    ASSERT_EQ(batch_.cost, expected.cost);
    reference_batch_ = &expected;
    began_ = clock_.Now();
    ++batches_;
  }

  void SealOrComplete() {
    if (!model_.running() || sealed_ || Below(2) == 0) return Complete();
    Seal();
  }

  // Now and then a step fails.
  void Seal() {
    batch_.took = Below(20) == 0 ? Duration::zero() : clock_.Now() - began_;
    batcher_.Seal(batch_);
    model_.Seal(batch_.took, clock_.Now());
    sealed_ = true;
  }

  void Complete() {
    if (!model_.running()) return;
    if (!sealed_) Seal();
    sealed_ = false;
    std::multiset<Name> twins;
    for (Task* task : batch_.tasks) {
      for (bool lead = true; task != nullptr; lead = false) {
        Task* const next = task->twin;
        if (!lead) twins.insert(NameOf(*task));
        task->completion->Finish(*task, absl::OkStatus());
        task = next;
      }
    }
    std::multiset<Name> expected_twins;
    for (const ReferenceTask& task : reference_batch_->twins) {
      expected_twins.insert({task.call, task.index});
    }
    ASSERT_EQ(twins, expected_twins);
    twins_ += static_cast<int64_t>(twins.size());
    model_.Complete();
  }

  // Each task was answered as often as the model says, and the books are the same.
  void Compare() {
    for (auto call = calls_.begin(); call != calls_.end();) {
      const ReferenceCall& expected = model_.calls().at(call->first);
      ASSERT_EQ(call->second->finished(), expected.finished) << call->first;
      ASSERT_EQ(call->second->aborted(), expected.aborted) << call->first;
      if (call->second->answered() < call->second->size()) {
        ++call;
        continue;
      }
      ids_.erase(call->second.get());
      call = calls_.erase(call);
    }
    for (const QueueId queue : queues_) {
      const QueueDepth depth = batcher_.Depth(queue);
      int64_t bytes = 0;
      for (const Priority priority : kBothClasses) {
        const auto index = static_cast<size_t>(priority);
        ASSERT_EQ(depth.inputs[index], model_.Inputs(queue, priority));
        ASSERT_EQ(depth.tokens[index], model_.Tokens(queue, priority));
        bytes += depth.tokens[index];
      }
      ASSERT_EQ(depth.bytes, bytes);
      ASSERT_LE(std::chrono::abs(depth.expected_wait - model_.ExpectedWait(clock_.Now())),
                kRounding);
    }
  }

  std::mt19937 random_;
  ScriptedClock clock_;
  Batcher batcher_;
  ReferenceBatcher model_;
  std::vector<QueueId> queues_;
  std::map<int32_t, std::unique_ptr<TestCall>> calls_;  // that are not answered
  std::map<const Completion*, int32_t> ids_;
  Batch batch_;
  const ReferenceBatch* reference_batch_ = nullptr;
  TimePoint began_{};
  bool sealed_ = false;
  int busyness_ = 30;
  int32_t next_id_ = 0;
  int64_t batches_ = 0;
  int64_t twins_ = 0;
  std::map<Verdict::Kind, int64_t> verdicts_;
};

class BatcherModelTest : public ::testing::TestWithParam<unsigned> {};

TEST_P(BatcherModelTest, AgreesWithAnObviousReference) {
  RecordProperty("seed", static_cast<int>(GetParam()));
  ModelCheck check(GetParam());
  for (int i = 0; i < kOperations; ++i) {
    check.Step();
    if (HasFatalFailure()) FAIL() << "operation " << i << ", seed " << GetParam();
  }
  check.Drain();
  // The walk went everywhere.
  EXPECT_GT(check.batches(), kOperations / 50);
  EXPECT_GT(check.twins(), kOperations / 50);
  for (const Verdict::Kind kind :
       {Verdict::kAccepted, Verdict::kLate, Verdict::kFull, Verdict::kTooLate}) {
    EXPECT_GT(check.verdicts().count(kind), 0u) << kind;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, BatcherModelTest, ::testing::Values(1u, 2u, 3u, 4u),
                         ::testing::PrintToStringParamName());

}  // namespace
}  // namespace contextpool::engine
