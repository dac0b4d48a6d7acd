#include "engine/worker.h"

#include <utility>

#include "absl/cleanup/cleanup.h"

namespace contextpool::engine {

Worker::Worker(Device& device, const QueueBounds& bounds, Clock& clock)
    : device_(device), batcher_(clock, bounds), executor_(device, clock) {
  // Where the second thread cannot be had, the first must end before its parts do.
  absl::Cleanup close = [this] { batcher_.Close(); };
  executor_.Start(batcher_);
  expiry_ = std::thread([this] {
    while (batcher_.ExpireNext()) {
    }
  });
  std::move(close).Cancel();
}

Worker::~Worker() {
  batcher_.Close();
  expiry_.join();
}

}  // namespace contextpool::engine
