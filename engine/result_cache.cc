#include "engine/result_cache.h"

#include <algorithm>
#include <new>
#include <utility>

#include "absl/hash/hash.h"

namespace contextpool::engine {
namespace {

// What the list and the index take for an entry, about.
constexpr int64_t kOverhead = 128;

}  // namespace

ResultCache::Key::Key(const Example& input, const OutputSpec& spec)
    : example(input),
      output(spec),
      hash(absl::HashOf(input, spec.task, spec.pooling, spec.normalize)) {}

bool ResultCache::Key::operator==(const Key& other) const {
  return hash == other.hash && output.task == other.output.task &&
         output.pooling == other.output.pooling && output.normalize == other.output.normalize &&
         example == other.example;
}

int64_t ResultCache::Entry::bytes() const {
  return static_cast<int64_t>(sizeof(Entry) + values.size() * sizeof(float)) +
         key().example.size_bytes() + kOverhead;
}

bool ResultCache::Find(Task& task) {
  if (task.output.explain) return false;
  const Key key(task, task.output);
  MutexLock lock(mutex_);
  const auto found = index_.find(key);
  if (found == index_.end()) return false;
  entries_.splice(entries_.begin(), entries_, found->second);
  std::ranges::copy(entries_.front().values, task.values.begin());
  return true;
}

void ResultCache::Put(const Task& task) noexcept try {
  if (task.output.explain) return;
  const Key key(task, task.output);
  {
    MutexLock lock(mutex_);
    if (index_.contains(key)) return;
  }
  Entries entry;
  entry.push_back({{task.token_ids.begin(), task.token_ids.end()},
                   {task.pixels.begin(), task.pixels.end()},
                   task.output,
                   key.hash,
                   {task.values.begin(), task.values.end()}});
  const int64_t bytes = entry.front().bytes();
  if (bytes > max_bytes_) return;
  MutexLock lock(mutex_);
  const auto [place, inserted] = index_.try_emplace(entry.front().key(), entry.begin());
  if (!inserted) return;
  entries_.splice(entries_.begin(), entry);
  bytes_ += bytes;
  while (bytes_ > max_bytes_) {
    bytes_ -= entries_.back().bytes();
    index_.erase(entries_.back().key());
    entries_.pop_back();
  }
} catch (const std::bad_alloc&) {
  // The result was computed; it is only not kept.
}

int64_t ResultCache::bytes() const {
  MutexLock lock(mutex_);
  return bytes_;
}

}  // namespace contextpool::engine
