// The operations of a pass, in order on a GPU's stream.
//
// A large pass is queued as it comes. A small one takes less time to compute than to queue, so it
// is collected until Synchronize and then queued as one graph, if an equal pass was seen before:
// equal in every pointer and size, so that a graph computes what the operations would have. The
// first of a kind is queued operation by operation, the second is recorded, all others are
// replayed. Of more passes than are remembered the least recently seen is forgotten.
// When memory is freed all are: CUDA's graphs hold on to what they copy from and to, and crash if
// that was freed, even if the same address is in use again.
//
// What goes to the GPU and comes back is staged in page-locked memory; what lies together on the
// GPU goes there as one copy.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/device/gpu_command.h"
#include "engine/device/gpu_kernels.h"
#include "engine/device/gpu_runtime.h"
#include "engine/device/pinned_memory.h"

namespace contextpool::engine {

// Used by one thread at a time. The first failure sticks, later operations do nothing, and
// Synchronize reports it. What throws (there is no memory of the host) has queued a part of the
// pass, and Synchronize is still to be called.
class GpuQueue {
 public:
  // A pass is small if no product in it has more rows than this.
  static constexpr int64_t kSmallRows = 256;
  // Small passes that are remembered.
  static constexpr size_t kMaxPasses = 512;

  // `runtime` must outlive the queue.
  GpuQueue(GpuRuntime& runtime, const GpuKernels& kernels);

  // As Device has them; the host's memory to read is free again at once.
  void CopyToDevice(void* device, const void* host, size_t bytes);
  void CopyToHost(void* host, const void* device, size_t bytes);

  // The parameters of a product or a kernel.
  void Add(const GpuCommand& command);
  void Fail(absl::Status status) { status_.Update(std::move(status)); }

  // As Device::Synchronize. Even if it throws it has waited, and the next pass begins anew.
  absl::Status Synchronize();

  // To be called before memory of the GPU is freed. Any thread.
  void ForgetPasses() { forget_ = true; }

 private:
  // Bytes that wait in page-locked memory for the end of the pass.
  struct Arrival {
    void* host = nullptr;
    const char* staged = nullptr;
    size_t bytes = 0;
  };

  // A small pass; no graph: it was seen once, or there was none to be had.
  struct SeenPass {
    size_t hash = 0;
    GpuPass commands;
    uint64_t last = 0;  // which of all small passes
    std::unique_ptr<GpuGraph> graph;
  };

  // So that nothing of the pass is left for the next one.
  void ClearPass();

  // Queues what was collected: as a graph if it can, or operation by operation.
  void QueueSmall();
  void QueueAll();
  // The equal of what was collected; null if there was none, but from now on there is.
  SeenPass* SeenBefore();
  // What was collected as a graph; null if there is none to be had.
  std::unique_ptr<GpuGraph> Record();
  absl::Status Queue(const GpuCommand& command);
  template <typename Params>
  absl::Status Launch(absl::string_view op, GpuKernels::Launch<Params> kernel,
                      const Params& params);

  GpuRuntime& runtime_;
  const GpuKernels kernels_;
  PinnedMemory staging_;
  std::vector<Arrival> arrivals_;
  GpuPass pending_;
  // Whether the pass is a large one.
  bool large_ = false;
  absl::Status status_;
  // So few that comparing the hashes of all takes no time beside a pass.
  std::vector<SeenPass> seen_;
  uint64_t small_passes_ = 0;
  // False where there are no graphs.
  bool records_ = true;
  std::atomic<bool> forget_ = false;
};

}  // namespace contextpool::engine
