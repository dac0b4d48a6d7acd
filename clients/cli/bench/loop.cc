#include "clients/cli/bench/loop.h"

#include <algorithm>

#include "clients/cli/bench/arrivals.h"
#include "clients/cli/bench/offered.h"

namespace contextpool::cli::bench {

ClosedLoop::ClosedLoop(const LoadPoint& point, std::span<const CallKind> kinds, Caller& caller)
    : concurrency_(point.concurrency), kinds_(kinds), caller_(caller), random_(point.seed) {}

void ClosedLoop::Begin(Time begin, Time end) {
  end_ = end;
  for (uint32_t i = 0; i < concurrency_; ++i) StartCall(begin);
}

void ClosedLoop::CallEnded() {
  const Time now = Clock::now();
  if (!stopped_ && now < end_) StartCall(now);
}

void ClosedLoop::StartCall(Time now) {
  caller_.Start({.request = started_++, .kind = DrawKind(kinds_, random_), .due = now});
}

OpenLoop::OpenLoop(const LoadPoint& point, std::span<const CallKind> kinds, Caller& caller)
    : caller_(caller) {
  Random random(point.seed);
  const auto times =
      ArrivalTimes(point.arrivals, *point.rate_per_s, point.warmup + point.duration, random);
  schedule_.reserve(times.size());
  for (const Nanoseconds at : times) schedule_.push_back({at, DrawKind(kinds, random)});
}

OpenLoop::~OpenLoop() { Stop(); }

void OpenLoop::Stop() {
  stopped_ = true;
  if (thread_.joinable()) thread_.join();
}

void OpenLoop::Begin(Time begin, Time) {
  begin_ = begin;
  sending_ = true;
  thread_ = std::thread([this] {
    Send();
    sending_ = false;
  });
}

void OpenLoop::Send() {
  for (size_t i = 0; i < schedule_.size(); ++i) {
    const Time due = begin_ + schedule_[i].at;
    if (!SleepUntil(due)) return;
    hopeless_ = Clock::now() - due > kHopelessLag;
    if (hopeless_) return;
    caller_.Start({.request = i, .kind = schedule_[i].kind, .due = due});
  }
}

bool OpenLoop::SleepUntil(Time due) const {
  // In steps, so that a slow schedule stops soon too.
  constexpr auto kStep = std::chrono::milliseconds(50);
  for (Time now = Clock::now(); now < due && !stopped_; now = Clock::now()) {
    std::this_thread::sleep_until(std::min(due, now + kStep));
  }
  return !stopped_;
}

std::optional<uint64_t> OpenLoop::Scheduled(const Recorder& recorder) const {
  return std::count_if(schedule_.begin(), schedule_.end(), [&](const Arrival& arrival) {
    return recorder.Measures(begin_ + arrival.at);
  });
}

std::unique_ptr<Loop> MakeLoop(const LoadPoint& point, std::span<const CallKind> kinds,
                               Caller& caller) {
  if (point.rate_per_s) return std::make_unique<OpenLoop>(point, kinds, caller);
  return std::make_unique<ClosedLoop>(point, kinds, caller);
}

}  // namespace contextpool::cli::bench
