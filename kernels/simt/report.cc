#include "kernels/simt/report.h"

#include <algorithm>
#include <cstring>
#include <ostream>
#include <sstream>
#include <string_view>
#include <tuple>

namespace contextpool::kernels::simt {
namespace {

std::ostream& operator<<(std::ostream& out, Dim3 index) {
  return out << '(' << index.x << ", " << index.y << ", " << index.z << ')';
}

void Print(std::ostream& out, const char* unit, const AccessCounts& counts) {
  out << counts.requests << " requests, " << counts.transactions << ' ' << unit << ", "
      << counts.Excess() << " in excess";
}

}  // namespace

std::string ToString(Site site) {
  if (site.file == nullptr) return "(no source line)";
  const char* slash = std::strrchr(site.file, '/');
  return std::string(slash == nullptr ? site.file : slash + 1) + ':' + std::to_string(site.line);
}

const char* Name(FaultKind kind) {
  switch (kind) {
    case FaultKind::kBadLaunch:
      return "bad launch";
    case FaultKind::kOutOfBounds:
      return "out of bounds";
    case FaultKind::kUnregistered:
      return "unregistered memory";
    case FaultKind::kMisaligned:
      return "misaligned";
    case FaultKind::kUninitialised:
      return "uninitialised shared memory";
    case FaultKind::kPendingCopy:
      return "pending cp.async";
    case FaultKind::kRace:
      return "race";
    case FaultKind::kDivergentCollective:
      return "divergent collective";
    case FaultKind::kBarrierMismatch:
      return "barrier mismatch";
    case FaultKind::kDeadlock:
      return "deadlock";
    case FaultKind::kRunaway:
      return "runaway thread";
    case FaultKind::kException:
      return "exception";
  }
  return "unknown";
}

std::ostream& operator<<(std::ostream& out, FaultKind kind) { return out << Name(kind); }

std::string Fault::ToString() const {
  std::ostringstream out;
  out << kernel << ", block " << block << ", thread " << thread << ", " << simt::ToString(site)
      << ": " << Name(kind) << ": " << detail;
  return out.str();
}

void AccessCounts::Add(const AccessCounts& other) {
  requests += other.requests;
  transactions += other.transactions;
  least_transactions += other.least_transactions;
}

void LaunchReport::Add(const LineCounts& line) {
  (line.space == Space::kShared ? shared : global).Add(line.counts);
  const auto known = std::ranges::find_if(lines, [&](const LineCounts& other) {
    return other.space == line.space && other.site == line.site;
  });
  if (known == lines.end()) {
    lines.push_back(line);
  } else {
    known->counts.Add(line.counts);
  }
}

void LaunchReport::SortLines() {
  const auto place = [](const LineCounts& line) {
    return std::make_tuple(std::string_view(line.site.file), line.site.line, line.space);
  };
  std::ranges::sort(lines, {}, place);
}

std::string LaunchReport::ToString() const {
  std::ostringstream out;
  out << (fault ? fault->ToString() : kernel + ": ok") << '\n';
  for (const LineCounts& line : lines) {
    const bool is_shared = line.space == Space::kShared;
    out << "  " << simt::ToString(line.site) << (is_shared ? " shared: " : " global: ");
    Print(out, is_shared ? "passes" : "sectors", line.counts);
    out << '\n';
  }
  return out.str();
}

std::ostream& operator<<(std::ostream& out, const LaunchReport& report) {
  return out << report.ToString();
}

}  // namespace contextpool::kernels::simt
