#include "kernels/simt/launch.h"

#include <algorithm>
#include <atomic>
#include <mutex>
#include <string>
#include <thread>

#include "kernels/simt/block.h"
#include "kernels/simt/memory_regions.h"

namespace contextpool::kernels::simt {
namespace {

// CUDA C++ Programming Guide, "Technical Specifications per Compute Capability".
constexpr uint64_t kMaxThreads = 1024;
constexpr uint32_t kMaxBlockZ = 64;
constexpr uint32_t kMaxGridX = 0x7fffffff;
constexpr uint32_t kMaxGridYZ = 65535;

std::string Refusal(const LaunchConfig& config, const LaunchOptions& options) {
  const uint64_t threads = Volume(config.block);
  if (threads == 0 || threads > kMaxThreads || config.block.z > kMaxBlockZ) {
    return "a block has 1 to 1024 threads, at most 64 in z; asked for " + std::to_string(threads);
  }
  if (Volume(config.grid) == 0 || config.grid.x > kMaxGridX || config.grid.y > kMaxGridYZ ||
      config.grid.z > kMaxGridYZ) {
    return "a grid has at least one block, and at most 65535 in y and z";
  }
  if (config.shared_bytes > options.shared_bytes_limit) {
    return std::to_string(config.shared_bytes) + " bytes of shared memory, more than " +
           std::to_string(options.shared_bytes_limit);
  }
  return "";
}

// What the host threads of one launch share.
class Launch {
 public:
  Launch(const LaunchConfig& config, const LaunchOptions& options,
         const std::function<void()>& kernel)
      : config_(config), options_(options), kernel_(kernel) {
    report_.kernel = config.kernel;
  }

  LaunchReport Run() {
    const uint64_t workers = std::clamp<uint64_t>(options_.host_threads, 1, Volume(config_.grid));
    std::vector<std::thread> others;
    for (uint64_t i = 1; i < workers; ++i) others.emplace_back([this] { RunBlocks(); });
    RunBlocks();
    for (std::thread& other : others) other.join();
    report_.SortLines();
    return std::move(report_);
  }

 private:
  // Takes blocks in order until none is left or one has failed.
  void RunBlocks() {
    Block block(config_, options_, *regions_, kernel_);
    std::optional<Fault> fault;
    while (!failed_ && !fault) {
      const uint64_t linear = next_block_++;
      if (linear >= Volume(config_.grid)) break;
      fault = block.Run({static_cast<uint32_t>(linear % config_.grid.x),
                         static_cast<uint32_t>(linear / config_.grid.x % config_.grid.y),
                         static_cast<uint32_t>(linear / config_.grid.x / config_.grid.y)});
    }
    if (fault) failed_ = true;
    const std::scoped_lock lock(mutex_);
    if (fault && !report_.fault) report_.fault = std::move(fault);
    block.AddCounts(&report_);
  }

  const LaunchConfig& config_;
  const LaunchOptions& options_;
  const std::function<void()>& kernel_;
  const std::shared_ptr<const Regions> regions_ = CurrentRegions();
  std::atomic<uint64_t> next_block_ = 0;
  std::atomic<bool> failed_ = false;
  std::mutex mutex_;
  LaunchReport report_;
};

}  // namespace

LaunchReport Run(const LaunchConfig& config, const LaunchOptions& options,
                 const std::function<void()>& kernel) {
  const std::string refusal = Refusal(config, options);
  if (refusal.empty()) return Launch(config, options, kernel).Run();
  LaunchReport report;
  report.kernel = config.kernel;
  report.fault = {.kind = FaultKind::kBadLaunch, .kernel = config.kernel, .detail = refusal};
  return report;
}

Status Stream::Launch(const LaunchConfig& config, const std::function<void()>& kernel) {
  reports_.push_back(Run(config, options_, kernel));
  return reports_.back().ok() ? Status::kOk : Status::kLaunchFailed;
}

}  // namespace contextpool::kernels::simt
