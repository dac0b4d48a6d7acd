// Collects the tokens of one text, keeping no more than truncation will leave.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/base/request.h"

namespace contextpool::engine {

// Appends to a caller's vector. The words of a long text are cut as they come, so that memory
// follows the limit and not the text.
class TokenSink {
 public:
  // Keeps `limit` tokens: the last ones for Truncation::kLeft, else the first ones.
  TokenSink(std::vector<int32_t>& ids, size_t limit, Truncation truncation)
      : ids_(ids),
        begin_(ids.size()),
        limit_(limit),
        compact_at_(begin_ + 2 * limit + kSlack),
        keeps_last_(truncation == Truncation::kLeft) {}

  void Add(int32_t id) { ids_.push_back(id); }

  // A word whose tokens may have to be taken back starts here.
  size_t BeginWord() const { return ids_.size(); }
  void ReplaceWord(size_t begin, int32_t id) {
    ids_.resize(begin);
    ids_.push_back(id);
  }
  void EndWord() {
    if (ids_.size() > compact_at_) Compact();
  }

  // Cuts to the limit; the number of tokens added in all.
  int64_t Finish() {
    Compact();
    return dropped_ + static_cast<int64_t>(ids_.size() - begin_);
  }

 private:
  static constexpr size_t kSlack = 1024;

  void Compact() {
    if (ids_.size() - begin_ <= limit_) return;
    const size_t excess = ids_.size() - begin_ - limit_;
    dropped_ += static_cast<int64_t>(excess);
    if (keeps_last_) {
      const auto first = ids_.begin() + static_cast<std::ptrdiff_t>(begin_);
      ids_.erase(first, first + static_cast<std::ptrdiff_t>(excess));
    } else {
      ids_.resize(begin_ + limit_);
    }
  }

  std::vector<int32_t>& ids_;
  const size_t begin_;
  const size_t limit_;
  const size_t compact_at_;
  const bool keeps_last_;
  int64_t dropped_ = 0;
};

}  // namespace contextpool::engine
