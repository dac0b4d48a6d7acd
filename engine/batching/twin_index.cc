#include "engine/batching/twin_index.h"

#include <tuple>

#include "absl/hash/hash.h"

namespace contextpool::engine {
namespace {

auto Fields(const OutputSpec& output) {
  return std::tuple(output.task, output.pooling, output.normalize, output.explain);
}

}  // namespace

size_t TwinIndex::Hash(const Task& task) {
  return absl::HashOf(static_cast<const Example&>(task), Fields(task.output));
}

bool TwinIndex::Same::operator()(const Task* a, const Task* b) const {
  return a == b || (a->queued.hash == b->queued.hash && Fields(a->output) == Fields(b->output) &&
                    static_cast<const Example&>(*a) == *b);
}

void TwinIndex::Link(Task& lead, Task& twin) {
  twin.twin = lead.twin;
  twin.queued.previous = &lead;
  if (lead.twin != nullptr) lead.twin->queued.previous = &twin;
  lead.twin = &twin;
}

void TwinIndex::Unlink(Task& twin) {
  twin.queued.previous->twin = twin.twin;
  if (twin.twin != nullptr) twin.twin->queued.previous = twin.queued.previous;
  twin.twin = nullptr;
  twin.queued.previous = nullptr;
}

Task* TwinIndex::Add(Task& task) {
  task.twin = nullptr;
  task.queued.previous = nullptr;
  const auto [lead, inserted] = leads_.insert(&task);
  if (inserted) return nullptr;
  Link(**lead, task);
  return *lead;
}

Task* TwinIndex::Remove(Task& task) {
  if (task.queued.previous != nullptr) {
    Unlink(task);
    return nullptr;
  }
  leads_.erase(&task);
  Task* const heir = task.twin;
  if (heir == nullptr) return nullptr;
  task.twin = nullptr;
  heir->queued.previous = nullptr;
  leads_.insert(heir);
  return heir;
}

Task* TwinIndex::Lead(Task& task) {
  if (task.queued.previous == nullptr) return nullptr;
  Unlink(task);
  const auto entry = leads_.find(&task);
  Task& old = **entry;
  leads_.erase(entry);
  task.twin = &old;
  old.queued.previous = &task;
  leads_.insert(&task);
  return &old;
}

}  // namespace contextpool::engine
