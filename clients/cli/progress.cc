#include "clients/cli/progress.h"

namespace contextpool::cli {

void Progress::Show(size_t done, size_t all) {
  if (shown_) err_ << "\r\x1B[K" << done << " of " << all << " inputs" << std::flush;
}

void Progress::Clear() {
  if (shown_) err_ << "\r\x1B[K" << std::flush;
}

}  // namespace contextpool::cli
