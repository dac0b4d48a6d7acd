// The two ways to keep a server busy.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "clients/cli/bench/caller.h"
#include "clients/cli/bench/load_point.h"
#include "clients/cli/bench/random.h"
#include "clients/cli/bench/recorder.h"

namespace contextpool::cli::bench {

// Starts the calls of one load point. Used by the thread that collects their ends.
class Loop {
 public:
  virtual ~Loop() = default;

  // Calls are due from `begin` on, and none at `end` or later. Called once.
  virtual void Begin(Time begin, Time end) = 0;
  // After the end of each call.
  virtual void CallEnded() = 0;
  // No call starts after it returned, which may take 50 ms.
  virtual void Stop() = 0;
  // Whether it may start calls without one having ended.
  virtual bool sending() const = 0;
  // Whether it fell so far behind that it gave up.
  virtual bool hopeless() const = 0;
  // Calls due while `recorder` measures; nothing if there is no schedule.
  virtual std::optional<uint64_t> Scheduled(const Recorder& recorder) const = 0;
};

// As many calls in flight as the point says: an answer starts the next call.
class ClosedLoop : public Loop {
 public:
  ClosedLoop(const LoadPoint& point, std::span<const CallKind> kinds, Caller& caller);

  void Begin(Time begin, Time end) override;
  void CallEnded() override;
  void Stop() override { stopped_ = true; }
  bool sending() const override { return false; }
  bool hopeless() const override { return false; }
  std::optional<uint64_t> Scheduled(const Recorder&) const override { return std::nullopt; }

 private:
  void StartCall(Time now);

  const uint32_t concurrency_;
  const std::span<const CallKind> kinds_;
  Caller& caller_;
  Random random_;
  Time end_{};
  uint64_t started_ = 0;
  bool stopped_ = false;
};

// Calls by a schedule that is made in advance, in a thread of its own: no call waits for another.
class OpenLoop : public Loop {
 public:
  OpenLoop(const LoadPoint& point, std::span<const CallKind> kinds, Caller& caller);
  // Stops.
  ~OpenLoop() override;

  void Begin(Time begin, Time end) override;
  void CallEnded() override {}
  void Stop() override;
  bool sending() const override { return sending_; }
  bool hopeless() const override { return hopeless_; }
  std::optional<uint64_t> Scheduled(const Recorder& recorder) const override;

 private:
  struct Arrival {
    Nanoseconds at{0};
    size_t kind = 0;
  };

  void Send();
  // False if it was stopped.
  bool SleepUntil(Time due) const;

  Caller& caller_;
  std::vector<Arrival> schedule_;
  Time begin_{};
  std::atomic<bool> stopped_ = false;
  std::atomic<bool> sending_ = false;
  std::atomic<bool> hopeless_ = false;
  std::thread thread_;
};

// The loop that `point` describes.
std::unique_ptr<Loop> MakeLoop(const LoadPoint& point, std::span<const CallKind> kinds,
                               Caller& caller);

}  // namespace contextpool::cli::bench
