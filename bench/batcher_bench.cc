// How many tasks per second one core takes through the batcher: enqueue, batch, complete.
//
//   batcher_bench [--seconds=S] [--depth=N --inputs=N ...]
//
// One thread keeps so many requests waiting, takes a batch, completes it, and queues the requests
// that are done again. Prints a Markdown table of tasks per second of processor time.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <random>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "engine/batching/batcher.h"

ABSL_FLAG(double, seconds, 0.5, "Processor time for each row.");
ABSL_FLAG(int32_t, depth, 0, "Requests that wait; 0: several.");
ABSL_FLAG(int32_t, inputs, 0, "Inputs of a request; 0: several.");
ABSL_FLAG(int32_t, tokens, 16, "Tokens of an input.");

namespace contextpool::engine {
namespace {

double ProcessorSeconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

struct Load {
  int32_t depth = 1;
  int32_t inputs = 1;
  bool twins = false;             // every input comes twice
  bool random_deadlines = false;  // else none
};

// A request that is queued again and again.
class Caller final : public Completion {
 public:
  Caller(const Load& load, std::vector<Caller*>& done) : done_(done), tasks_(load.inputs) {}

  // Each input is tokens of the `number`-th text.
  void Fill(int32_t number, int32_t tokens) {
    ids_.resize(tasks_.size() * tokens);
    for (size_t i = 0; i < ids_.size(); ++i) {
      ids_[i] = number * static_cast<int32_t>(ids_.size()) + static_cast<int32_t>(i);
    }
    for (size_t i = 0; i < tasks_.size(); ++i) {
      tasks_[i].token_ids = std::span(ids_).subspan(i * tokens, tokens);
      tasks_[i].cost = tokens;
      tasks_[i].bytes = tokens * static_cast<int64_t>(sizeof(int32_t));
      tasks_[i].completion = this;
    }
  }

  void Queue(Batcher& batcher, QueueId queue, TimePoint deadline) {
    work_ = {};
    work_.tasks = tasks_;
    work_.completion = this;
    work_.deadline = deadline;
    work_.promised = deadline != TimePoint::max();
    left_ = static_cast<int64_t>(tasks_.size());
    const absl::Status status = batcher.Enqueue(queue, work_);
    if (!status.ok()) Fail(status);
  }

  void Finish(Task&, absl::Status) override {
    if (--left_ == 0) done_.push_back(this);
  }
  void Abort(int64_t, absl::Status status) override { Fail(status); }

 private:
  [[noreturn]] static void Fail(const absl::Status& status) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    std::exit(1);
  }

  std::vector<Caller*>& done_;
  std::vector<int32_t> ids_;
  std::vector<Task> tasks_;
  Submission work_;
  int64_t left_ = 0;
};

// Tasks per second.
double Measure(const Load& load) {
  const int64_t inputs = int64_t{load.depth} * load.inputs;
  QueueOptions options;
  options.batch_token_budget = kDefaultBatchTokenBudget;
  options.max_wait = Duration::zero();
  options.max_inputs = inputs;
  options.max_tokens = options.max_bytes = int64_t{1} << 40;
  Batcher batcher(Clock::Real(), options);
  const QueueId queue = batcher.AddQueue(options);

  std::vector<Caller*> done;
  std::vector<Caller> callers(load.depth, Caller(load, done));
  for (int32_t i = 0; i < load.depth; ++i) {
    callers[i].Fill(load.twins ? i / 2 : i, absl::GetFlag(FLAGS_tokens));
    done.push_back(&callers[i]);
  }
  std::minstd_rand random;
  TimePoint now{};
  const auto deadline = [&] {
    if (!load.random_deadlines) return TimePoint::max();
    return now + std::chrono::hours(1) + std::chrono::microseconds(random() >> 8);
  };

  Batch batch;
  int64_t tasks = 0;
  double begin = 0;
  // The first round warms up.
  for (const double seconds : {absl::GetFlag(FLAGS_seconds) / 5, absl::GetFlag(FLAGS_seconds)}) {
    tasks = 0;
    begin = ProcessorSeconds();
    while (ProcessorSeconds() < begin + seconds) {
      for (int i = 0; i < 16; ++i) {
        now = Clock::Real().Now();
        for (Caller* caller : done) caller->Queue(batcher, queue, deadline());
        done.clear();
        batcher.NextBatch(batch);
        batch.took = std::chrono::nanoseconds(batch.cost);
        batcher.Seal(batch);
        for (Task* task : batch.tasks) {
          for (; task != nullptr; ++tasks) {
            Task* const next = task->twin;
            task->completion->Finish(*task, absl::OkStatus());
            task = next;
          }
        }
      }
    }
  }
  const double rate = static_cast<double>(tasks) / (ProcessorSeconds() - begin);
  batcher.Close();
  while (batcher.NextBatch(batch)) batcher.Seal(batch);
  return rate;
}

std::vector<int32_t> Chosen(int32_t flag, std::vector<int32_t> all) {
  return flag == 0 ? all : std::vector<int32_t>{flag};
}

int Main() {
  std::printf(
      "| waiting requests | inputs each | inputs | deadlines | million tasks/s | ns/task |\n"
      "|---:|---:|---|---|---:|---:|\n");
  for (const int32_t inputs : Chosen(absl::GetFlag(FLAGS_inputs), {1, 16})) {
    for (const int32_t depth : Chosen(absl::GetFlag(FLAGS_depth), {1, 64, 1024, 16384})) {
      for (const bool twins : {false, true}) {
        if (twins && depth == 1) continue;  // one request has none
        for (const bool random : {false, true}) {
          const double rate = Measure({depth, inputs, twins, random});
          std::printf("| %d | %d | %s | %s | %.2f | %.0f |\n", depth, inputs,
                      twins ? "each twice" : "distinct", random ? "random" : "none", rate * 1e-6,
                      1e9 / rate);
          std::fflush(stdout);
        }
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace contextpool::engine

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  return contextpool::engine::Main();
}
