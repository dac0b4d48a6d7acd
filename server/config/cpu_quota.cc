#include "server/config/cpu_quota.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace contextpool::server {
namespace {

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

double Ratio(absl::string_view quota, absl::string_view period) {
  int64_t numerator = 0;
  int64_t denominator = 0;
  if (!absl::SimpleAtoi(quota, &numerator) || !absl::SimpleAtoi(period, &denominator)) return 0;
  if (numerator <= 0 || denominator <= 0) return 0;
  return static_cast<double>(numerator) / static_cast<double>(denominator);
}

double QuotaOfFolder(const std::string& folder, bool v2) {
  if (!v2) {
    return Ratio(FirstLine(folder + "/cpu.cfs_quota_us"), FirstLine(folder + "/cpu.cfs_period_us"));
  }
  const std::vector<std::string> parts =
      absl::StrSplit(FirstLine(folder + "/cpu.max"), ' ', absl::SkipEmpty());
  return parts.size() == 2 ? Ratio(parts[0], parts[1]) : 0;
}

// The tightest quota from the process's own group up to the root.
double TightestQuota(const std::string& root, std::string group, bool v2) {
  double tightest = 0;
  for (;;) {
    const double quota = QuotaOfFolder(root + group, v2);
    if (quota > 0 && (tightest == 0 || quota < tightest)) tightest = quota;
    if (group.empty()) return tightest;
    const size_t slash = group.rfind('/');
    group.resize(slash == std::string::npos ? 0 : slash);
  }
}

int32_t AffinityCount() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
  return static_cast<int32_t>(std::thread::hardware_concurrency());
}

}  // namespace

double CgroupCpuQuota(const CpuQuotaPaths& paths) {
  std::ifstream file(paths.self_cgroup);
  double tightest = 0;
  const auto consider = [&tightest](double quota) {
    if (quota > 0 && (tightest == 0 || quota < tightest)) tightest = quota;
  };
  // Lines are "hierarchy:controllers:group"; version 2 has hierarchy 0 and no controllers.
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3) continue;
    const std::string group = parts[2] == "/" ? "" : parts[2];
    if (parts[0] == "0" && parts[1].empty()) {
      consider(TightestQuota(paths.cgroup_root, group, /*v2=*/true));
      continue;
    }
    const std::vector<absl::string_view> controllers = absl::StrSplit(parts[1], ',');
    if (std::find(controllers.begin(), controllers.end(), "cpu") == controllers.end()) continue;
    for (absl::string_view mount : {"/cpu", "/cpu,cpuacct"}) {
      // Inside a container the group's path is the host's, while the mount shows the own group.
      consider(TightestQuota(absl::StrCat(paths.cgroup_root, mount), group, /*v2=*/false));
    }
  }
  return tightest;
}

int32_t UsableCpus(const CpuQuotaPaths& paths) {
  const double quota = CgroupCpuQuota(paths);
  const int32_t affinity = std::max(1, AffinityCount());
  if (quota <= 0) return affinity;
  return std::clamp(static_cast<int32_t>(std::ceil(quota)), 1, affinity);
}

}  // namespace contextpool::server
