// Exact results of inputs that were computed before, for a model version that is asked the same
// often.
//
// The least recently used ones make room for new ones. Keyed by input and output as the device sees
// them, so a hit is what computing would give again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/base/mutex.h"
#include "engine/base/task.h"

namespace contextpool::engine {

// Thread safe.
class ResultCache {
 public:
  // Holds at most `max_bytes`, its own bookkeeping included.
  explicit ResultCache(int64_t max_bytes) : max_bytes_(max_bytes) {}

  // Copies a known result to the task. False: there is none. Tasks that are to be explained have
  // none.
  bool Find(Task& task);

  // Keeps the result of a task that was computed, if there is memory for it.
  void Put(const Task& task) noexcept;

  int64_t bytes() const;

 private:
  // Hashed when it is made, so that nobody waits for that: an image is long.
  struct Key {
    Key(const Example& input, const OutputSpec& spec);
    Key(const Example& input, const OutputSpec& spec, size_t known)
        : example(input), output(spec), hash(known) {}

    bool operator==(const Key& other) const;
    template <typename H>
    friend H AbslHashValue(H state, const Key& key) {
      return H::combine(std::move(state), key.hash);
    }

    Example example;
    OutputSpec output;
    size_t hash;
  };
  struct Entry {
    std::vector<int32_t> token_ids;
    std::vector<uint8_t> pixels;
    OutputSpec output;
    size_t hash = 0;
    std::vector<float> values;

    Key key() const { return {{token_ids, pixels}, output, hash}; }
    int64_t bytes() const;
  };
  using Entries = std::list<Entry>;

  const int64_t max_bytes_;
  mutable Mutex mutex_;
  // The most recently used first.
  Entries entries_ ABSL_GUARDED_BY(mutex_);
  // Keys point into the entries.
  absl::flat_hash_map<Key, Entries::iterator> index_ ABSL_GUARDED_BY(mutex_);
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace contextpool::engine
