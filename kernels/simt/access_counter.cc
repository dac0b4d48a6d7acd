#include "kernels/simt/access_counter.h"

#include <algorithm>
#include <bit>

namespace contextpool::kernels::simt {
namespace {

constexpr int kBanks = 32;
constexpr int kWordBytes = 4;
constexpr int kSectorBytes = 32;

// Sorts and removes what occurs twice.
template <typename Container>
auto Distinct(Container& values, size_t count) {
  const auto end = values.begin() + count;
  if (!std::is_sorted(values.begin(), end)) std::sort(values.begin(), end);
  return std::unique(values.begin(), end);
}

// Passes for lanes that are served together.
int64_t Passes(std::span<const uint64_t> offsets, int bytes) {
  std::array<uint64_t, kBanks> words;
  size_t count = 0;
  for (const uint64_t offset : offsets) {
    for (uint64_t word = offset / kWordBytes; word * kWordBytes < offset + bytes; ++word) {
      words[count++] = word;
    }
  }
  std::array<int64_t, kBanks> passes = {};
  const auto end = Distinct(words, count);
  for (auto word = words.begin(); word != end; ++word) ++passes[*word % kBanks];
  return *std::ranges::max_element(passes);
}

}  // namespace

AccessCounts CountBanks(std::span<const uint64_t> offsets, int bytes) {
  // As many lanes as fill the banks once.
  const size_t lanes_together = std::min(32, kBanks * kWordBytes / bytes);
  AccessCounts counts = {.requests = 1};
  for (size_t first = 0; first < offsets.size(); first += lanes_together) {
    const size_t lanes = std::min(lanes_together, offsets.size() - first);
    counts.transactions += Passes(offsets.subspan(first, lanes), bytes);
    ++counts.least_transactions;
  }
  return counts;
}

AccessCounts CountSectors(std::span<const uint64_t> addresses, int bytes) {
  std::array<uint64_t, 32> values;
  std::ranges::copy(addresses, values.begin());
  const int64_t distinct = Distinct(values, addresses.size()) - values.begin();
  for (int64_t i = 0; i < distinct; ++i) values[i] /= kSectorBytes;
  const int64_t sectors = Distinct(values, distinct) - values.begin();
  return {.requests = 1,
          .transactions = sectors,
          .least_transactions = (distinct * bytes + kSectorBytes - 1) / kSectorBytes};
}

AccessCounter::Line& AccessCounter::Find(Space space, Site site) {
  const auto is_it = [&](const Line& line) { return line.site == site && line.space == space; };
  if (last_line_ < lines_.size() && is_it(lines_[last_line_])) return lines_[last_line_];
  last_line_ = std::ranges::find_if(lines_, is_it) - lines_.begin();
  if (last_line_ == lines_.size()) lines_.push_back({.space = space, .site = site});
  return lines_[last_line_];
}

void AccessCounter::Record(Space space, Site site, uint32_t lane, uint64_t address, int bytes) {
  Line& line = Find(space, site);
  const uint32_t visit = line.visits[lane]++;
  if (visit == line.open_requests) {
    if (visit == line.requests.size()) line.requests.emplace_back();
    line.requests[line.open_requests++].lanes = 0;
  }
  Request& request = line.requests[visit];
  request.lanes |= 1u << lane;
  request.bytes = bytes;
  request.addresses[lane] = address;
  if (request.lanes == lanes_) Count(line, request);
}

void AccessCounter::Count(Line& line, const Request& request) {
  std::array<uint64_t, 32> addresses;
  size_t count = 0;
  for (uint32_t lanes = request.lanes; lanes != 0; lanes &= lanes - 1) {
    addresses[count++] = request.addresses[std::countr_zero(lanes)];
  }
  const std::span<const uint64_t> active(addresses.data(), count);
  line.counts.Add(line.space == Space::kShared ? CountBanks(active, request.bytes)
                                               : CountSectors(active, request.bytes));
}

void AccessCounter::Flush() {
  for (Line& line : lines_) {
    if (line.open_requests == 0) continue;
    for (size_t i = 0; i < line.open_requests; ++i) {
      if (line.requests[i].lanes != lanes_) Count(line, line.requests[i]);
    }
    line.visits.fill(0);
    line.open_requests = 0;
  }
}

std::vector<LineCounts> AccessCounter::lines() const {
  std::vector<LineCounts> result;
  for (const Line& line : lines_) result.push_back({line.space, line.site, line.counts});
  return result;
}

}  // namespace contextpool::kernels::simt
