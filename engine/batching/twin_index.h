// Finds tasks with the same input and the same output, so that they are computed once.
//
// Of tasks that are the same, one leads: it stands for all in the index and, once it is handed out,
// in the batch. The others are its twins, in a list that begins at lead.twin.
#pragma once

#include <cstddef>

#include "absl/container/flat_hash_set.h"
#include "engine/base/task.h"

namespace contextpool::engine {

// The tasks of one queue. Not thread safe. Reads queued.hash; owns Task::twin and queued.previous.
class TwinIndex {
 public:
  // Of input and output.
  static size_t Hash(const Task& task);

  // Makes room, so that no later call allocates.
  void Reserve(size_t tasks) { leads_.reserve(tasks); }

  // Null: the task leads. Else the one that leads, of which it became a twin.
  Task* Add(Task& task);

  // Takes a task out. If it led and has twins, one of them leads from now on and is returned.
  Task* Remove(Task& task);

  // Makes `task` lead in place of the one that does. Returns that one, or null if `task` led
  // already.
  Task* Lead(Task& task);

  // Closes the list of a lead: nothing joins it any more.
  void Retire(Task& lead) { leads_.erase(&lead); }

 private:
  struct HashOf {
    size_t operator()(const Task* task) const { return task->queued.hash; }
  };
  struct Same {
    bool operator()(const Task* a, const Task* b) const;
  };
  static void Link(Task& lead, Task& twin);
  static void Unlink(Task& twin);

  absl::flat_hash_set<Task*, HashOf, Same> leads_;
};

}  // namespace contextpool::engine
