// How busy the thread is that collects the replies.
#pragma once

#include "clients/cli/bench/caller.h"

namespace contextpool::cli::bench {

// The share of a core that the thread had between the first and the last look while a load was
// measured. Warm-up and the wait for the last answers do not count: they would hide a thread that
// was full. Not thread safe.
class CollectorLoad {
 public:
  // What is measured: [begin, end).
  CollectorLoad(Time begin, Time end) : begin_(begin), end_(end) {}

  // `cpu`: what the thread has computed by `now`.
  void Look(Time now, Nanoseconds cpu) {
    if (now < begin_ || now >= end_) return;
    last_ = {now, cpu};
    if (first_.at == Time{}) first_ = last_;
  }

  // 0 where fewer than two looks fell into what is measured.
  double Share() const {
    const double wall_ns = static_cast<double>((last_.at - first_.at).count());
    return wall_ns > 0 ? static_cast<double>((last_.cpu - first_.cpu).count()) / wall_ns : 0;
  }

 private:
  struct Sample {
    Time at{};
    Nanoseconds cpu{0};
  };

  const Time begin_;
  const Time end_;
  Sample first_;
  Sample last_;
};

}  // namespace contextpool::cli::bench
