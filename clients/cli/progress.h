// Shows how far a long run is.
#pragma once

#include <cstddef>
#include <ostream>

namespace contextpool::cli {

// A line on a terminal that changes in place.
class Progress {
 public:
  // `err` must outlive the object. `shown`: whether a person looks and nothing else tells them.
  Progress(std::ostream& err, bool shown) : err_(err), shown_(shown) {}

  // Says how many inputs are answered.
  void Show(size_t done, size_t all);
  // Makes room for something else.
  void Clear();

 private:
  std::ostream& err_;
  const bool shown_;
};

}  // namespace contextpool::cli
