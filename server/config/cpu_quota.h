// How many CPUs this process may use, which inside a container is not the host's count.
#pragma once

#include <cstdint>
#include <string>

namespace contextpool::server {

// Where the kernel says it; replaced in tests.
struct CpuQuotaPaths {
  std::string cgroup_root = "/sys/fs/cgroup";
  std::string self_cgroup = "/proc/self/cgroup";
};

// The quota in CPUs (a quota of 150% is 1.5) of the tightest cgroup that holds this process, from
// cgroup v2's cpu.max or v1's cpu.cfs_quota_us; 0 where there is no quota.
double CgroupCpuQuota(const CpuQuotaPaths& paths = {});

// The smaller of the quota (rounded up) and the CPU affinity's count. At least 1.
int32_t UsableCpus(const CpuQuotaPaths& paths = {});

}  // namespace contextpool::server
