#include "kernels/simt/block.h"

#include <algorithm>
#include <bit>
#include <exception>
#include <utility>

#include "kernels/simt/barrier_ops.h"
#include "kernels/simt/place.h"

namespace contextpool::kernels::simt {
namespace {

// Room for the locals of a kernel built without optimisation; untouched pages cost nothing.
constexpr size_t kStackBytes = 256 * 1024;

Dim3 IndexOf(uint32_t linear, Dim3 size) {
  return {linear % size.x, linear / size.x % size.y, linear / size.x / size.y};
}

}  // namespace

constinit thread_local Thread* current_thread = nullptr;

Dim3 ThreadIndex() { return Self().id; }

Dim3 BlockIndex() { return Self().block->index(); }

const LaunchConfig& Config() { return Self().block->config(); }

void MeetBlock(Site site) {
  Block& block = *Self().block;
  block.Meet(0, static_cast<uint32_t>(Volume(block.config().block)), /*waits=*/true, site);
}

void MeetNamed(uint32_t barrier, uint32_t threads, bool waits, Site site) {
  if (barrier == 0 || barrier >= kBarriers || threads == 0 || threads % kWarpSize != 0) {
    Raise(Self(), FaultKind::kBarrierMismatch, site,
          "named barriers are 1 to 15, for whole warps; this is " + std::to_string(barrier) +
              " for " + std::to_string(threads) + " threads");
  }
  Self().block->Meet(barrier, threads, waits, site);
}

void Raise(const Thread& thread, FaultKind kind, Site site, std::string detail) {
  Block& block = *thread.block;
  block.SetFault({.kind = kind,
                  .kernel = block.config().kernel,
                  .block = block.index(),
                  .thread = thread.id,
                  .site = site,
                  .detail = std::move(detail)});
  throw Unwind{};
}

Block::Block(const LaunchConfig& config, const LaunchOptions& options, const Regions& regions,
             const std::function<void()>& kernel)
    : config_(config),
      options_(options),
      regions_(regions),
      kernel_(kernel),
      shared_(config.shared_bytes, options.shared_bytes_limit),
      random_(options.seed) {
  const auto count = static_cast<uint32_t>(Volume(config.block));
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t lane = i % kWarpSize;
    if (lane == 0) {
      const uint32_t lanes = std::min(kWarpSize, count - i);
      warps_.push_back(std::make_unique<Warp>(kFullMask >> (kWarpSize - lanes)));
    }
    Warp* const warp = warps_.back().get();
    threads_.push_back(std::make_unique<Thread>(this, warp, IndexOf(i, config.block), i,
                                                kStackBytes,
                                                [this, i] { ThreadBody(*threads_[i]); }));
    warp->set_thread(threads_.back().get());
  }
}

Block::~Block() {
  quits_ = true;
  for (const auto& thread : threads_) RunThread(*thread);
}

std::optional<Fault> Block::Run(Dim3 index) {
  index_ = index;
  // A block's order depends on its own place alone, not on which host thread runs it.
  const Dim3 grid = config_.grid;
  random_ =
      Random((options_.seed << 32) + (uint64_t{index.z} * grid.y + index.y) * grid.x + index.x);
  shared_.Poison();
  races_.Start();
  barriers_.fill({});
  for (const auto& warp : warps_) warp->Start();
  for (const auto& thread : threads_) thread->is_done = false;
  threads_left_ = threads_.size();
  while (threads_left_ > 0 && !fault_) {
    const bool ran = options_.schedule == Schedule::kLockstep ? StepAllWarps() : RunOneWarp();
    if (!ran && !fault_) fault_ = Deadlock();
  }
  if (fault_) UnwindAll();
  for (const auto& warp : warps_) warp->counter().Flush();
  return fault_;
}

void Block::ThreadBody(Thread& thread) {
  while (!quits_) {
    try {
      if (!fault_) kernel_();
    } catch (const Unwind&) {
      // The fault is recorded.
    } catch (const std::exception& error) {
      SetFault({.kind = FaultKind::kException,
                .kernel = config_.kernel,
                .block = index_,
                .thread = thread.id,
                .detail = error.what()});
    }
    thread.copies.Clear();
    thread.accesses_since_meeting = 0;
    thread.warp->set_waiting(thread.lane);
    thread.is_done = true;
    --threads_left_;
    thread.fiber.Suspend();
  }
}

void Block::RunThread(Thread& thread) {
  current_thread = &thread;
  thread.fiber.Resume();
  current_thread = nullptr;
}

void Block::StepWarp(Warp& warp) {
  // An odd step visits each of the 32 lanes once.
  const uint32_t start = random_.Below(kWarpSize);
  const uint32_t step = 2 * random_.Below(kWarpSize / 2) + 1;
  const uint32_t lanes = warp.ready();
  for (uint32_t i = 0; i < kWarpSize && !fault_; ++i) {
    const uint32_t lane = (start + i * step) % kWarpSize;
    if ((lanes >> lane & 1) != 0) RunThread(warp.thread(lane));
  }
}

bool Block::StepAllWarps() {
  std::vector<Warp*> order;
  for (const auto& warp : warps_) {
    if (warp->ready() != 0) order.push_back(warp.get());
  }
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random_.Below(i)]);
  for (Warp* warp : order) StepWarp(*warp);
  return !order.empty();
}

bool Block::RunOneWarp() {
  const size_t start = random_.Below(warps_.size());
  for (size_t i = 0; i < warps_.size(); ++i) {
    Warp& warp = *warps_[(start + i) % warps_.size()];
    if (warp.ready() == 0) continue;
    while (warp.ready() != 0 && !fault_) StepWarp(warp);
    return true;
  }
  return false;
}

void Block::UnwindAll() {
  for (const auto& thread : threads_) {
    if (!thread->is_done) RunThread(*thread);
  }
}

void Block::SetFault(Fault fault) {
  if (!fault_) fault_ = std::move(fault);
}

void Block::WaitUntilReady() {
  Self().fiber.Suspend();
  if (fault_) throw Unwind{};
}

void Block::Meet(uint32_t id, uint32_t threads, bool waits, Site site) {
  Thread& self = Self();
  self.accesses_since_meeting = 0;
  ++self.operations;
  Barrier& barrier = barriers_[id];
  if (barrier.arrived == 0) {
    barrier.threads = threads;
    barrier.site = site;
  }
  if (barrier.threads != threads || (id == 0 && barrier.site != site)) {
    Raise(self, FaultKind::kBarrierMismatch, site,
          "barrier " + std::to_string(id) + " for " + std::to_string(threads) + " threads, while " +
              std::to_string(barrier.arrived) + " have come to it for " +
              std::to_string(barrier.threads) + " in " + ToString(barrier.site));
  }
  races_.Arrive(self.number / kWarpSize, barrier.clocks);
  if (++barrier.arrived == barrier.threads) {
    if (waits) races_.Leave(self.number / kWarpSize, barrier.clocks);
    Release(barrier);
  } else if (waits) {
    barrier.waiting.push_back(&self);
    self.waits_at = site;
    self.warp->set_waiting(self.lane);
    WaitUntilReady();
  }
  if (!waits) races_.GoOn(self.number / kWarpSize);
}

void Block::Release(Barrier& barrier) {
  for (Thread* thread : barrier.waiting) {
    races_.Leave(thread->number / kWarpSize, barrier.clocks);
    thread->warp->set_ready(thread->lane);
  }
  if (barrier.threads == threads_.size()) {
    for (const auto& warp : warps_) warp->counter().Flush();
  }
  barrier = {};
}

bool Block::IsRegistered(uintptr_t address, size_t bytes) {
  if (address - last_region_.begin < last_region_.bytes &&
      bytes <= last_region_.bytes - (address - last_region_.begin)) {
    return true;
  }
  const Region* region = FindRegion(regions_, address, bytes);
  if (region != nullptr) last_region_ = {region->begin, region->bytes, {}};
  return region != nullptr;
}

Fault Block::Deadlock() const {
  std::string detail;
  const auto add = [&detail](const std::string& text) {
    if (!text.empty()) detail += (detail.empty() ? "" : "; ") + text;
  };
  for (size_t i = 0; i < warps_.size(); ++i) {
    const std::string waiting = warps_[i]->DescribeWaiting();
    if (!waiting.empty()) add("warp " + std::to_string(i) + ": " + waiting);
  }
  for (size_t i = 0; i < barriers_.size(); ++i) {
    const Barrier& barrier = barriers_[i];
    if (barrier.arrived == 0) continue;
    add(std::to_string(barrier.arrived) + " of " + std::to_string(barrier.threads) +
        " threads have come to barrier " + std::to_string(i) + " in " + ToString(barrier.site));
  }
  const auto waits =
      std::ranges::find_if(threads_, [](const auto& thread) { return !thread->is_done; });
  return {.kind = FaultKind::kDeadlock,
          .kernel = config_.kernel,
          .block = index_,
          .thread = (*waits)->id,
          .site = (*waits)->waits_at,
          .detail = detail};
}

void Block::AddCounts(LaunchReport* report) const {
  for (const auto& thread : threads_) report->lane_operations += thread->operations;
  for (const auto& warp : warps_) {
    for (const LineCounts& line : warp->counter().lines()) report->Add(line);
  }
}

}  // namespace contextpool::kernels::simt
