// What the batcher's policy is worth: the share of inputs that are done by their deadlines, beside
// first-in first-out on the same arrivals.
//
//   policy_bench [--seconds=S] [--fixed_us=A] [--token_us=B] [--jitter=J] [--seed=N]
//
// A simulation: nothing is computed, a step of n tokens takes A + B * n microseconds of a clock
// that jumps from event to event. Requests arrive as a Poisson process: four of five inputs are
// interactive, one each, due in 50 or 500 ms; one of five is bulk work, 16 to a request, due in
// 10 s. Lengths are log-normal. A load of 1 is what full batches can just do.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <functional>
#include <queue>
#include <random>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "engine/batching/batcher.h"

ABSL_FLAG(double, seconds, 60, "Length of the trace.");
ABSL_FLAG(double, fixed_us, 1000, "Time of a step whatever it holds.");
ABSL_FLAG(double, token_us, 5, "Time of a token.");
ABSL_FLAG(double, jitter, 0, "Standard deviation of a step's time, as a share of it.");
ABSL_FLAG(uint32_t, seed, 1, "Of the trace.");

namespace contextpool::engine {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int32_t kBulkInputs = 16;
constexpr double kBulkShare = 0.2;  // of the inputs

Duration Microseconds(double value) { return Duration(static_cast<int64_t>(value * 1e3)); }

Duration StepTime(int64_t tokens) {
  return Microseconds(absl::GetFlag(FLAGS_fixed_us) +
                      absl::GetFlag(FLAGS_token_us) * static_cast<double>(tokens));
}

// A device whose steps now and then take longer, or shorter.
class Device {
 public:
  Duration Run(int64_t tokens) {
    const double noise = 1 + absl::GetFlag(FLAGS_jitter) * normal_(random_);
    const auto time = static_cast<double>(StepTime(tokens).count());
    return Duration(static_cast<int64_t>(time * std::max(noise, 0.1)));
  }

 private:
  std::mt19937 random_{absl::GetFlag(FLAGS_seed)};
  std::normal_distribution<double> normal_;
};

struct Arrival {
  TimePoint time;
  TimePoint deadline;
  Priority priority = Priority::kInteractive;
  std::vector<int64_t> costs;
};

class Trace {
 public:
  explicit Trace(double load) : random_(absl::GetFlag(FLAGS_seed)) {
    const double capacity =  // tokens per second
        static_cast<double>(kDefaultBatchTokenBudget) / Seconds(StepTime(kDefaultBatchTokenBudget));
    const double inputs_per_request = 1 / (1 - kBulkShare + kBulkShare / kBulkInputs);
    std::exponential_distribution<double> gap(load * capacity / MeanLength() / inputs_per_request);
    const TimePoint begin{seconds(3600)};
    const double end = absl::GetFlag(FLAGS_seconds);
    for (double time = gap(random_); time < end; time += gap(random_)) {
      arrivals_.push_back(NewArrival(begin + Microseconds(time * 1e6)));
    }
  }
  const std::vector<Arrival>& arrivals() const { return arrivals_; }

 private:
  int64_t Length() {
    return std::clamp<int64_t>(std::lround(std::lognormal_distribution(3.8, 0.8)(random_)), 4, 512);
  }
  double MeanLength() {
    double sum = 0;
    for (int i = 0; i < 100000; ++i) sum += static_cast<double>(Length());
    return sum / 100000;
  }
  Arrival NewArrival(TimePoint time) {
    // One bulk request stands for many inputs, so there are fewer of them.
    constexpr double kBulkRequests =
        kBulkShare / kBulkInputs / (1 - kBulkShare + kBulkShare / kBulkInputs);
    Arrival arrival;
    arrival.time = time;
    arrival.deadline = time + milliseconds(random_() % 2 == 0 ? 50 : 500);
    int32_t inputs = 1;
    if (std::bernoulli_distribution(kBulkRequests)(random_)) {
      arrival.priority = Priority::kBulk;
      arrival.deadline = time + seconds(10);
      inputs = kBulkInputs;
    }
    for (int32_t i = 0; i < inputs; ++i) arrival.costs.push_back(Length());
    return arrival;
  }

  std::mt19937 random_;
  std::vector<Arrival> arrivals_;
};

// Inputs.
struct Score {
  int64_t offered = 0;
  int64_t accepted = 0;
  int64_t in_time = 0;
};
struct Scores {
  Score all;
  Score of[kPriorities];
  void Add(const Arrival& arrival, int64_t Score::*counter, int64_t inputs) {
    all.*counter += inputs;
    of[static_cast<size_t>(arrival.priority)].*counter += inputs;
  }
};

// Plain first-in first-out: one queue, batches of the same size, refuses only what finds no room.
Scores FirstInFirstOut(const Trace& trace, bool drops_expired) {
  struct Waiting {
    const Arrival* arrival;
    int64_t cost;
  };
  Scores scores;
  Device device;
  std::deque<Waiting> queue;
  int64_t waiting_tokens = 0;
  TimePoint now{};
  auto next = trace.arrivals().begin();
  const auto arrive = [&](TimePoint until) {
    for (; next != trace.arrivals().end() && next->time <= until; ++next) {
      const auto inputs = static_cast<int64_t>(next->costs.size());
      scores.Add(*next, &Score::offered, inputs);
      int64_t tokens = 0;
      for (const int64_t cost : next->costs) tokens += cost;
      if (waiting_tokens + tokens > QueueBounds().max_tokens) continue;
      scores.Add(*next, &Score::accepted, inputs);
      for (const int64_t cost : next->costs) queue.push_back({&*next, cost});
      waiting_tokens += tokens;
    }
  };
  while (!queue.empty() || next != trace.arrivals().end()) {
    if (queue.empty()) now = std::max(now, next->time);
    arrive(now);
    std::vector<const Arrival*> batch;
    int64_t tokens = 0;
    while (!queue.empty() && tokens + queue.front().cost <= kDefaultBatchTokenBudget) {
      const Waiting first = queue.front();
      queue.pop_front();
      waiting_tokens -= first.cost;
      if (drops_expired && first.arrival->deadline <= now) continue;
      batch.push_back(first.arrival);
      tokens += first.cost;
    }
    if (batch.empty()) continue;
    now += device.Run(tokens);
    for (const Arrival* arrival : batch) {
      if (now <= arrival->deadline) scores.Add(*arrival, &Score::in_time, 1);
    }
    arrive(now);
  }
  return scores;
}

// Lets the simulation go on while the batcher waits.
class SimulatedClock final : public Clock {
 public:
  TimePoint Now() const override { return now; }
  void WaitUntil(CondVar&, Mutex& mutex, TimePoint deadline) override
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    mutex.Unlock();
    on_wait(deadline);
    mutex.Lock();
  }

  TimePoint now{};
  std::function<void(TimePoint)> on_wait;
};

class Simulation {
 public:
  explicit Simulation(const Trace& trace)
      : next_(trace.arrivals().begin()), end_(trace.arrivals().end()), batcher_(clock_) {
    QueueOptions options;
    options.batch_token_budget = kDefaultBatchTokenBudget;
    queue_ = batcher_.AddQueue(options);
    // A wait ends with the next arrival, at the latest.
    clock_.on_wait = [this](TimePoint deadline) {
      PassUntil(next_ == end_ ? deadline : std::min(deadline, next_->time));
    };
  }

  Scores Run() {
    Batch batch;
    while (waiting_ > 0 || next_ != end_) {
      if (waiting_ == 0) {
        PassUntil(next_->time);
        continue;
      }
      batcher_.NextBatch(batch);
      for (const Task* task : batch.tasks) static_cast<Caller*>(task->completion)->Take();
      waiting_ -= static_cast<int64_t>(batch.tasks.size());
      batch.took = device_.Run(batch.cost);
      PassUntil(clock_.now + batch.took);
      batcher_.Seal(batch);
      for (Task* task : batch.tasks) task->completion->Finish(*task, absl::OkStatus());
    }
    batcher_.Close();
    return scores_;
  }

 private:
  class Caller final : public Completion {
   public:
    Caller(Simulation& simulation, const Arrival& arrival)
        : simulation_(simulation), arrival_(arrival), tasks_(arrival.costs.size()) {
      for (size_t i = 0; i < tasks_.size(); ++i) {
        tasks_[i].cost = arrival.costs[i];
        tasks_[i].token_ids = {&ids_.emplace_back(simulation.inputs_++), 1};
        tasks_[i].completion = this;
      }
      work_.tasks = tasks_;
      work_.priority = arrival.priority;
      work_.deadline = arrival.deadline;
      work_.promised = true;
      work_.completion = this;
      waiting_ = static_cast<int64_t>(tasks_.size());
    }
    Submission& work() { return work_; }
    const Arrival& arrival() const { return arrival_; }
    bool waits() const { return waiting_ > 0; }
    void Take() { --waiting_; }
    void Finish(Task&, absl::Status) override {
      if (simulation_.clock_.now <= arrival_.deadline) {
        simulation_.scores_.Add(arrival_, &Score::in_time, 1);
      }
    }
    void Abort(int64_t tasks, absl::Status) override {
      waiting_ -= tasks;
      simulation_.waiting_ -= tasks;
    }

   private:
    Simulation& simulation_;
    const Arrival& arrival_;
    std::vector<Task> tasks_;
    std::deque<int32_t> ids_;
    Submission work_;
    int64_t waiting_ = 0;
  };
  struct DueLater {
    bool operator()(const Caller* a, const Caller* b) const {
      return a->arrival().deadline > b->arrival().deadline;
    }
  };

  // Lets callers arrive and work expire.
  void PassUntil(TimePoint until) {
    while (true) {
      const TimePoint due = due_.empty() ? TimePoint::max() : due_.top()->arrival().deadline;
      const TimePoint arrives = next_ == end_ ? TimePoint::max() : next_->time;
      if (std::min(due, arrives) > until) break;
      clock_.now = std::max(clock_.now, std::min(due, arrives));
      due <= arrives ? Expire() : Arrive();
    }
    clock_.now = std::max(clock_.now, until);
  }
  void Expire() {
    if (due_.top()->waits()) batcher_.ExpireNext();
    due_.pop();
  }
  void Arrive() {
    const Arrival& arrival = *next_++;
    const auto inputs = static_cast<int64_t>(arrival.costs.size());
    scores_.Add(arrival, &Score::offered, inputs);
    Caller& caller = callers_.emplace_back(*this, arrival);
    if (!batcher_.Enqueue(queue_, caller.work()).ok()) return;
    scores_.Add(arrival, &Score::accepted, inputs);
    waiting_ += inputs;
    due_.push(&caller);
  }

  std::vector<Arrival>::const_iterator next_;
  const std::vector<Arrival>::const_iterator end_;
  SimulatedClock clock_;
  Batcher batcher_;
  QueueId queue_ = -1;
  std::deque<Caller> callers_;
  std::priority_queue<Caller*, std::vector<Caller*>, DueLater> due_;
  Device device_;
  Scores scores_;
  int64_t waiting_ = 0;  // tasks
  int32_t inputs_ = 0;
};

double Percent(int64_t part, int64_t whole) {
  return whole == 0 ? 100 : 100 * static_cast<double>(part) / static_cast<double>(whole);
}

void Print(double load, const char* policy, const Scores& scores) {
  const auto in_time = [](const Score& score) { return Percent(score.in_time, score.offered); };
  std::printf("| %.1f | %s | %.1f%% | %.1f%% | %.1f%% | %.1f%% | %.2f%% |\n", load, policy,
              in_time(scores.all), in_time(scores.of[0]), in_time(scores.of[1]),
              Percent(scores.all.accepted, scores.all.offered),
              Percent(scores.all.in_time, scores.all.accepted));
}

int Main() {
  std::printf(
      "| load | policy | done in time | interactive | bulk | accepted | in time of accepted |\n"
      "|---:|---|---:|---:|---:|---:|---:|\n");
  for (const double load : {0.7, 0.9, 1.0, 1.2, 1.5, 2.0}) {
    const Trace trace(load);
    Print(load, "ours", Simulation(trace).Run());
    Print(load, "first-in first-out, drops what expired", FirstInFirstOut(trace, true));
    Print(load, "first-in first-out", FirstInFirstOut(trace, false));
  }
  return 0;
}

}  // namespace
}  // namespace contextpool::engine

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  return contextpool::engine::Main();
}
