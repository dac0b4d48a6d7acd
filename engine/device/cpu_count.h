// How many CPUs this process may use, by affinity and by cgroup quota.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace contextpool::engine {

// The smallest of the affinity mask and the cgroup's quota, rounded up, at least 1.
int32_t AvailableCpus();

// CPUs worth of quota (versions 1 and 2, ancestors included); unset: no limit or not readable.
// `membership_file` is /proc/self/cgroup and `root` /sys/fs/cgroup, except in tests.
std::optional<double> CgroupCpuQuota(const std::string& membership_file, const std::string& root);

}  // namespace contextpool::engine
