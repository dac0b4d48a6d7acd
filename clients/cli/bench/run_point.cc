#include "clients/cli/bench/run_point.h"

#include <sys/resource.h>

#include <algorithm>
#include <ctime>

#include "clients/cli/bench/collector_load.h"
#include "clients/cli/bench/loop.h"

namespace contextpool::cli::bench {
namespace {

constexpr auto kProgressPeriod = std::chrono::milliseconds(250);
// How long the loop below may sleep without a look at the flag and the clock, and the time between
// looks that cost something.
constexpr auto kTick = std::chrono::milliseconds(50);

Nanoseconds FromTimeval(const timeval& time) {
  return std::chrono::seconds(time.tv_sec) + std::chrono::microseconds(time.tv_usec);
}

Nanoseconds ProcessCpu() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return FromTimeval(usage.ru_utime) + FromTimeval(usage.ru_stime);
}

Nanoseconds ThreadCpu() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + Nanoseconds(time.tv_nsec);
}

// One run: the loop's calls into the recorder.
class Run {
 public:
  Run(const LoadPoint& point, std::span<const CallKind> kinds, Caller& caller,
      const RunControl& control)
      : rate_per_s_(point.rate_per_s),
        caller_(caller),
        control_(control),
        loop_(MakeLoop(point, kinds, caller)),
        begin_(Clock::now()),
        recorder_(point, kinds, begin_),
        collector_load_(begin_ + point.warmup, recorder_.end()) {}

  PointResult Measure() {
    const Nanoseconds process_cpu = ProcessCpu();
    loop_->Begin(begin_, recorder_.end());
    if (control_.objective) Watch();
    Collect();
    PointResult result = recorder_.Finish(loop_->Scheduled(recorder_), collector_load_.Share());
    result.client_cpu_per_call =
        (ProcessCpu() - process_cpu) / static_cast<int64_t>(std::max<uint64_t>(answered_, 1));
    return result;
  }

 private:
  void Watch() { watch_.emplace(*control_.objective, *rate_per_s_, *loop_->Scheduled(recorder_)); }

  void Collect() {
    while (loop_->sending() || caller_.in_flight() > 0) {
      const auto ended = caller_.Next(Clock::now() + kTick);
      if (ended && !abandoned_) {
        ++answered_;
        recorder_.Record(*ended);
        if (watch_ && recorder_.Measures(ended->due)) watch_->Count(*ended);
        loop_->CallEnded();
      }
      LookAround(Clock::now());
    }
  }

  void LookAround(Time now) {
    if (control_.stop && !abandoned_) {
      Abandon([&](Time end, size_t in_flight) { recorder_.Interrupt(end, in_flight); });
    }
    if (!cancelled_ && (loop_->hopeless() || now > recorder_.end() + control_.patience)) {
      cancelled_ = true;
      loop_->Stop();
      caller_.CancelAll();
    }
    if (now >= next_tick_) {
      next_tick_ = now + kTick;
      if (!abandoned_) LookClosely(now);
    }
    if (now >= next_progress_) {
      next_progress_ = now + kProgressPeriod;
      control_.progress({now - begin_, answered_, caller_.in_flight()});
    }
  }

  void LookClosely(Time now) {
    collector_load_.Look(now, ThreadCpu());
    if (!watch_) return;
    const std::string lost = watch_->WhyLost(caller_.CountInFlight([&](const SentCall& call) {
      return recorder_.Measures(call.due) && watch_->IsOverdue(call, now);
    }));
    if (lost.empty()) return;
    Abandon([&](Time end, size_t in_flight) { recorder_.GiveUp(end, in_flight, lost); });
  }

  // Ends the run before its time; `record` notes when, and how many calls were in flight.
  void Abandon(const std::function<void(Time, size_t)>& record) {
    abandoned_ = true;
    // The sender ends first: it could start a call that nobody cancels.
    loop_->Stop();
    record(Clock::now(), caller_.in_flight());
    caller_.CancelAll();
  }

  const std::optional<double> rate_per_s_;
  Caller& caller_;
  const RunControl& control_;
  const std::unique_ptr<Loop> loop_;
  const Time begin_;
  Recorder recorder_;
  CollectorLoad collector_load_;
  std::optional<ObjectiveWatch> watch_;
  Time next_tick_{};
  Time next_progress_{};
  uint64_t answered_ = 0;
  bool abandoned_ = false;
  bool cancelled_ = false;
};

}  // namespace

PointResult RunPoint(const LoadPoint& point, std::span<const CallKind> kinds, Caller& caller,
                     const RunControl& control) {
  return Run(point, kinds, caller, control).Measure();
}

}  // namespace contextpool::cli::bench
