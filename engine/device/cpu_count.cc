// How many CPUs this process may use.

#include "engine/device/cpu_count.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <optional>
#include <string>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace contextpool::engine {
namespace {

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

std::optional<double> Quota(absl::string_view quota, absl::string_view period) {
  double allowed = 0;
  double of = 0;
  if (!absl::SimpleAtod(quota, &allowed) || !absl::SimpleAtod(period, &of)) return std::nullopt;
  if (allowed <= 0 || of <= 0) return std::nullopt;
  return allowed / of;
}

// The quota of one folder of the hierarchy, whichever version it is.
std::optional<double> QuotaOf(const std::string& folder) {
  const std::vector<std::string> v2 = absl::StrSplit(FirstLine(folder + "/cpu.max"), ' ');
  if (v2.size() == 2) return Quota(v2[0], v2[1]);
  return Quota(FirstLine(folder + "/cpu.cfs_quota_us"), FirstLine(folder + "/cpu.cfs_period_us"));
}

// Where the group `path` of version 2 or of version 1's cpu controller is mounted.
std::optional<std::string> MountOf(absl::string_view controllers, const std::string& root) {
  if (controllers.empty()) return root;
  for (absl::string_view controller : absl::StrSplit(controllers, ',')) {
    if (controller == "cpu") return absl::StrCat(root, "/", controllers);
  }
  return std::nullopt;
}

}  // namespace

std::optional<double> CgroupCpuQuota(const std::string& membership_file, const std::string& root) {
  std::optional<double> smallest;
  std::ifstream file(membership_file);
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    const std::optional<std::string> mount = MountOf(fields[1], root);
    if (!mount.has_value()) continue;
    // Every ancestor's quota binds too. Inside a container the path may lie outside the mount; its
    // root is then the container's own group.
    for (std::string path = fields[2];; path.resize(path.rfind('/'))) {
      const std::optional<double> quota = QuotaOf(*mount + path);
      if (quota.has_value()) smallest = std::min(smallest.value_or(*quota), *quota);
      if (path.empty() || path.rfind('/') == std::string::npos) break;
    }
  }
  return smallest;
}

int32_t AvailableCpus() {
  int32_t cpus = static_cast<int32_t>(std::thread::hardware_concurrency());
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) cpus = CPU_COUNT(&set);
  const std::optional<double> quota = CgroupCpuQuota("/proc/self/cgroup", "/sys/fs/cgroup");
  if (quota.has_value() && *quota < cpus) cpus = static_cast<int32_t>(std::ceil(*quota));
  return std::max(cpus, 1);
}

}  // namespace contextpool::engine
