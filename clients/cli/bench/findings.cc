#include "clients/cli/bench/findings.h"

#include <algorithm>
#include <functional>

#include "absl/strings/str_cat.h"

namespace contextpool::cli::bench {
namespace {

std::string ClassOf(const CallKind& kind) { return kind.bulk ? "bulk" : "interactive"; }

std::string DeadlineOf(const CallKind& kind) {
  return kind.deadline ? absl::StrCat("deadline ", FormatPeriod(*kind.deadline)) : "no deadline";
}

void AppendGroups(const std::vector<CallKind>& kinds, const PointResult& result,
                  const std::function<std::string(const CallKind&)>& name_of,
                  std::vector<Group>& groups) {
  const size_t first = groups.size();
  for (size_t i = 0; i < kinds.size(); ++i) {
    const std::string name = name_of(kinds[i]);
    auto group = std::find_if(groups.begin() + static_cast<ptrdiff_t>(first), groups.end(),
                              [&](const Group& g) { return g.name == name; });
    if (group == groups.end()) group = groups.insert(group, Group{name, {}});
    group->tally.Merge(result.kinds[i]);
  }
  if (groups.size() == first + 1) groups.pop_back();
}

}  // namespace

std::vector<Group> GroupsOf(const std::vector<CallKind>& kinds, const PointResult& result) {
  std::vector<Group> groups;
  AppendGroups(kinds, result, ClassOf, groups);
  AppendGroups(kinds, result, DeadlineOf, groups);
  return groups;
}

double TokensPerInput(const std::vector<PointResult>& points) {
  Tally total;
  for (const PointResult& point : points) {
    if (point.has_figures()) total.Merge(point.Total());
  }
  return total.inputs == 0 ? 0
                           : static_cast<double>(total.tokens) / static_cast<double>(total.inputs);
}

}  // namespace contextpool::cli::bench
