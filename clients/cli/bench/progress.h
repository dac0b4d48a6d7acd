// Shows that a long run is alive.
#pragma once

#include <ostream>
#include <string>

#include "clients/cli/bench/load_point.h"
#include "clients/cli/bench/run_point.h"

namespace contextpool::cli::bench {

// One line that changes in place on a terminal, a line every few seconds elsewhere.
class ProgressLine {
 public:
  // `err` must outlive the object.
  ProgressLine(std::ostream& err, bool is_tty) : err_(err), is_tty_(is_tty) {}

  // A point begins; `prefix` stands before its name.
  void Begin(const std::string& prefix, const LoadPoint& point);
  void Update(const RunProgress& progress);
  // A line that stays, in place of the one that changed.
  void Say(const std::string& line);

 private:
  void Show(const std::string& line);

  std::ostream& err_;
  const bool is_tty_;
  std::string name_;
  Nanoseconds length_{0};
  Nanoseconds next_{0};
};

}  // namespace contextpool::cli::bench
