#include "kernels/simt/memory_regions.h"

#include <algorithm>
#include <mutex>
#include <utility>

namespace contextpool::kernels::simt {
namespace {

struct Registry {
  std::mutex mutex;
  // Replaced, never changed: launches keep the list that they started with.
  std::shared_ptr<const Regions> regions = std::make_shared<Regions>();
};

Registry& GlobalRegistry() {
  static auto* const registry = new Registry;
  return *registry;
}

}  // namespace

RegisteredMemory::RegisteredMemory(const void* data, size_t bytes, std::string name)
    : begin_(reinterpret_cast<uintptr_t>(data)) {
  Registry& registry = GlobalRegistry();
  const std::scoped_lock lock(registry.mutex);
  auto regions = std::make_shared<Regions>(*registry.regions);
  const auto place = std::ranges::lower_bound(*regions, begin_, {}, &Region::begin);
  regions->insert(place, {begin_, bytes, std::move(name)});
  registry.regions = std::move(regions);
}

RegisteredMemory::~RegisteredMemory() {
  Registry& registry = GlobalRegistry();
  const std::scoped_lock lock(registry.mutex);
  auto regions = std::make_shared<Regions>(*registry.regions);
  std::erase_if(*regions, [this](const Region& region) { return region.begin == begin_; });
  registry.regions = std::move(regions);
}

std::shared_ptr<const Regions> CurrentRegions() {
  Registry& registry = GlobalRegistry();
  const std::scoped_lock lock(registry.mutex);
  return registry.regions;
}

const Region* FindRegion(const Regions& regions, uintptr_t address, size_t bytes) {
  const auto after = std::ranges::upper_bound(regions, address, {}, &Region::begin);
  if (after == regions.begin()) return nullptr;
  const Region& region = *std::prev(after);
  const size_t offset = address - region.begin;
  return offset <= region.bytes && bytes <= region.bytes - offset ? &region : nullptr;
}

}  // namespace contextpool::kernels::simt
