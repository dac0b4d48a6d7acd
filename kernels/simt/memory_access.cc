#include "kernels/simt/memory_access.h"

#include <optional>
#include <string>

#include "kernels/simt/block.h"
#include "kernels/simt/warp.h"

namespace contextpool::kernels::simt {
namespace {

std::string Describe(const char* verb, const ElementRange& range) {
  return std::string(verb) + " elements [" + std::to_string(range.first) + ", " +
         std::to_string(range.first + range.elements) + ") of " + std::to_string(range.count) +
         ", " + std::to_string(range.element_bytes) + " bytes each";
}

void CheckBounds(const ElementRange& range, const char* verb, Site site) {
  if (range.first < 0 || range.first > range.count - range.elements) {
    Raise(Self(), FaultKind::kOutOfBounds, site, Describe(verb, range));
  }
}

void CheckAligned(const ElementRange& range, int bytes, const char* verb, Site site) {
  if (reinterpret_cast<uintptr_t>(range.begin()) % bytes != 0) {
    Raise(
        Self(), FaultKind::kMisaligned, site,
        Describe(verb, range) + ", at an address that is no multiple of " + std::to_string(bytes));
  }
}

void CheckRunaway(Site site) {
  Thread& self = Self();
  ++self.operations;
  const int64_t limit = self.block->options().accesses_limit;
  if (++self.accesses_since_meeting > limit) {
    Raise(self, FaultKind::kRunaway, site,
          "more than " + std::to_string(limit) + " accesses without meeting another thread");
  }
}

void Count(Space space, const ElementRange& range, Site site) {
  Thread& self = Self();
  const uint64_t address = space == Space::kShared ? self.block->shared().Offset(range.begin())
                                                   : reinterpret_cast<uintptr_t>(range.begin());
  self.warp->counter().Record(space, site, self.lane, address, range.bytes());
}

std::byte* AccessGlobal(const ElementRange& range, const char* verb, Site site) {
  CheckRunaway(site);
  CheckBounds(range, verb, site);
  if (!Self().block->IsRegistered(reinterpret_cast<uintptr_t>(range.begin()), range.bytes())) {
    Raise(Self(), FaultKind::kUnregistered, site, Describe(verb, range));
  }
  Count(Space::kGlobal, range, site);
  return range.begin();
}

std::byte* AccessShared(const ElementRange& range, const char* verb, Site site) {
  CheckRunaway(site);
  CheckBounds(range, verb, site);
  CheckAligned(range, range.bytes(), verb, site);
  Count(Space::kShared, range, site);
  return range.begin();
}

// Nobody may touch what a cp.async is writing.
[[noreturn]] void RaisePending(const Thread& thread, const ElementRange& range, const char* verb,
                               Site site) {
  Raise(thread, FaultKind::kPendingCopy, site,
        Describe(verb, range) + ", which a cp.async writes that has not been waited for");
}

std::string DescribeActor(Block& block, uint32_t actor) {
  if (actor >= RaceDetector::WarpActor(0)) {
    const uint32_t warp = RaceDetector::WarpOf(actor);
    const bool is_whole = actor == RaceDetector::WarpActor(warp);
    return (is_whole ? "warp " : "several lanes of warp ") + std::to_string(warp);
  }
  const Dim3 id = block.thread(actor).id;
  return "thread (" + std::to_string(id.x) + ", " + std::to_string(id.y) + ", " +
         std::to_string(id.z) + ")";
}

void CheckRace(const Thread& thread, std::optional<uint32_t> other, const ElementRange& range,
               const char* verb, Site site) {
  if (!other || !thread.block->options().fault_on_race) return;
  Raise(thread, FaultKind::kRace, site,
        Describe(verb, range) + ", not ordered with the access of " +
            DescribeActor(*thread.block, *other));
}

void BeginStore(const Thread& thread, uint32_t actor, const ElementRange& range, const char* verb,
                Site site) {
  Block& block = *thread.block;
  if (block.shared().HasPendingCopy(range.begin(), range.bytes())) {
    RaisePending(thread, range, verb, site);
  }
  const size_t offset = block.shared().Offset(range.begin());
  CheckRace(thread, block.races().OnStore(actor, offset, range.bytes()), range, verb, site);
}

}  // namespace

const std::byte* LoadGlobal(const ElementRange& range, Site site) {
  CheckAligned(range, range.bytes(), "loads", site);
  return AccessGlobal(range, "loads", site);
}

std::byte* StoreGlobal(const ElementRange& range, Site site) {
  CheckAligned(range, range.bytes(), "stores", site);
  return AccessGlobal(range, "stores", site);
}

const std::byte* LoadShared(const ElementRange& range, Site site) {
  AccessShared(range, "loads", site);
  CheckLoad(Self(), By::kThread, range, site);
  return range.begin();
}

void CheckLoad(const Thread& thread, By by, const ElementRange& range, Site site) {
  Block& block = *thread.block;
  const ByteState state = block.shared().StateOf(range.begin(), range.bytes());
  if (state == ByteState::kCopyPending) RaisePending(thread, range, "loads", site);
  if (state == ByteState::kPoisoned && block.options().fault_on_uninitialised_shared) {
    Raise(thread, FaultKind::kUninitialised, site, Describe("loads", range));
  }
  const uint32_t actor =
      by == By::kWarp ? RaceDetector::WarpActor(thread.number / kWarpSize) : thread.number;
  const size_t offset = block.shared().Offset(range.begin());
  CheckRace(thread, block.races().OnLoad(actor, offset, range.bytes()), range,
            by == By::kWarp ? "loads for its warp" : "loads", site);
}

std::byte* StoreShared(const ElementRange& range, Site site) {
  AccessShared(range, "stores", site);
  CheckStore(Self(), By::kThread, range, site);
  return range.begin();
}

void CheckStore(const Thread& thread, By by, const ElementRange& range, Site site) {
  // Of a warp's store each lane has a part, which the others may see only once they have met again.
  const uint32_t actor =
      by == By::kWarp ? RaceDetector::LanesActor(thread.number / kWarpSize) : thread.number;
  BeginStore(thread, actor, range, by == By::kWarp ? "stores for its warp" : "stores", site);
  thread.block->shared().SetState(range.begin(), range.bytes(), ByteState::kWritten);
}

void CheckRow(const ElementRange& row, Site site) {
  AccessShared(row, "gives a matrix row of", site);
}

void IssueCopy(const ElementRange& to, const ElementRange& from, Site site) {
  std::byte* const destination = AccessShared(to, "copies to", site);
  BeginStore(Self(), Self().number, to, "copies to", site);
  CheckAligned(from, to.bytes(), "copies", site);
  if (from.elements > 0) AccessGlobal(from, "copies", site);
  Self().block->shared().BeginCopy(destination, to.bytes());
  Self().copies.Issue({.to = destination,
                       .from = from.begin(),
                       .bytes = static_cast<size_t>(to.bytes()),
                       .source_bytes = static_cast<size_t>(from.bytes())});
}

void CommitCopies() { Self().copies.Commit(); }

void WaitForCopies(int pending_groups) {
  Thread& self = Self();
  SharedMemory& shared = self.block->shared();
  while (const std::optional<Copy> copy = self.copies.Next(pending_groups)) {
    shared.FinishCopy(copy->to, copy->bytes, copy->from, copy->source_bytes);
    self.block->races().RecordStore(self.number, shared.Offset(copy->to), copy->bytes);
  }
}

std::byte* StaticShared(const void* key, size_t bytes, const char* name, Site site) {
  std::byte* array = Self().block->shared().Static(key, bytes);
  if (array == nullptr) {
    Raise(Self(), FaultKind::kBadLaunch, site,
          std::string("no room for the shared array ") + name + " of " + std::to_string(bytes) +
              " bytes: arrays of fixed size have " + std::to_string(SharedMemory::kStaticLimit));
  }
  return array;
}

std::byte* TakeDynamicShared(size_t bytes, size_t alignment, size_t* used, Site site) {
  const std::span<std::byte> dynamic = Self().block->shared().dynamic();
  const size_t begin = (*used + alignment - 1) / alignment * alignment;
  if (begin > dynamic.size() || bytes > dynamic.size() - begin) {
    Raise(Self(), FaultKind::kOutOfBounds, site,
          "takes bytes [" + std::to_string(begin) + ", " + std::to_string(begin + bytes) +
              ") of dynamic shared memory; the launch gave " + std::to_string(dynamic.size()));
  }
  *used = begin + bytes;
  return dynamic.data() + begin;
}

void CheckSlice(int64_t offset, int64_t count, int64_t size, Site site) {
  if (offset < 0 || count < 0 || offset > size - count) {
    Raise(Self(), FaultKind::kOutOfBounds, site,
          "slice [" + std::to_string(offset) + ", " + std::to_string(offset + count) + ") of " +
              std::to_string(size) + " elements");
  }
}

}  // namespace contextpool::kernels::simt
