// Many threads at once.
#include <array>
#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "engine/batching/batcher.h"
#include "gtest/gtest.h"

namespace contextpool::engine {
namespace {

using ::std::chrono::hours;
using ::std::chrono::microseconds;

constexpr int kProducers = 3;
constexpr int kRequests = 3000;
constexpr int kMostTasks = 4;

// Counts the answers to each of its tasks. Frees nothing: the test owns all requests.
class Request final : public Completion {
 public:
  Request(std::minstd_rand& random, int32_t text) : tasks_(1 + random() % kMostTasks) {
    for (Task& task : tasks_) {
      text_.push_back(text + static_cast<int32_t>(random() % 3));
      task.cost = task.bytes = 1 + text_.back() % 40;
      task.completion = this;
    }
    for (size_t i = 0; i < tasks_.size(); ++i) tasks_[i].token_ids = std::span(&text_[i], 1);
    work_.tasks = tasks_;
    work_.completion = this;
    if (random() % 4 == 0) work_.priority = Priority::kBulk;
    const bool hurried = random() % 4 == 0;
    work_.deadline =
        Clock::Real().Now() + (hurried ? Duration(microseconds(random() % 500)) : hours(1));
    work_.promised = hurried;
  }

  void Finish(Task&, absl::Status) override { ++answers_; }
  void Abort(int64_t tasks, absl::Status) override { answers_ += tasks; }

  Submission& work() { return work_; }
  int64_t size() const { return static_cast<int64_t>(tasks_.size()); }
  int64_t answers() const { return answers_; }

 private:
  std::vector<int32_t> text_;
  std::vector<Task> tasks_;
  Submission work_;
  std::atomic<int64_t> answers_ = 0;
};

TEST(BatcherStressTest, EveryTaskOfManyThreadsIsAnsweredExactlyOnce) {
  QueueOptions options;
  options.batch_token_budget = 100;
  options.max_inputs = 200;
  Batcher batcher(Clock::Real());
  const std::array<QueueId, 2> queues = {batcher.AddQueue(options), batcher.AddQueue(options)};

  std::thread executor([&] {
    Batch batch;
    while (batcher.NextBatch(batch)) {
      EXPECT_LE(batch.cost, 100);
      batch.took = microseconds(batch.cost);
      batcher.Seal(batch);
      for (Task* task : batch.tasks) {
        while (task != nullptr) {
          Task* const next = task->twin;
          task->completion->Finish(*task, absl::OkStatus());
          task = next;
        }
      }
    }
  });
  std::thread expiry([&] {
    while (batcher.ExpireNext()) {
    }
  });
  // What was accepted.
  std::vector<std::vector<std::unique_ptr<Request>>> requests(kProducers);
  std::vector<std::thread> producers;
  for (int p = 0; p < kProducers; ++p) {
    producers.emplace_back([&, p] {
      std::minstd_rand random(p + 1);
      std::vector<std::unique_ptr<Request>>& accepted = requests[p];
      while (accepted.size() < kRequests) {
        // Texts move slowly, so that producers often send the same.
        auto request = std::make_unique<Request>(random, static_cast<int32_t>(accepted.size() / 8));
        if (!batcher.Enqueue(queues[random() % 2], request->work()).ok()) {
          EXPECT_EQ(request->answers(), 0);
          std::this_thread::yield();
          continue;
        }
        accepted.push_back(std::move(request));
        if (random() % 3 == 0) batcher.Cancel(accepted[random() % accepted.size()]->work());
        if (random() % 64 == 0) batcher.Depth(queues[0]);
      }
    });
  }
  for (std::thread& producer : producers) producer.join();
  batcher.Close();
  executor.join();
  expiry.join();
  for (const auto& accepted : requests) {
    for (const auto& request : accepted) ASSERT_EQ(request->answers(), request->size());
  }
  for (const QueueId queue : queues) EXPECT_EQ(batcher.Depth(queue).bytes, 0);
}

}  // namespace
}  // namespace contextpool::engine
