#include "engine/device/cpu_count.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace contextpool::engine {
namespace {

using testing::Eq;
using testing::Optional;

// A made-up /proc/self/cgroup and /sys/fs/cgroup.
class CgroupTest : public testing::Test {
 protected:
  CgroupTest() : root_(testing::TempDir() + "cgroup_test_" + std::to_string(getpid())) {}
  ~CgroupTest() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& name, const std::string& content) {
    const std::filesystem::path path = root_ / name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << content;
  }
  std::optional<double> Quota() { return CgroupCpuQuota(root_ / "self", root_); }

  std::filesystem::path root_;
};

TEST_F(CgroupTest, ReadsVersion2) {
  Write("self", "0::/app\n");
  Write("app/cpu.max", "150000 100000\n");
  EXPECT_THAT(Quota(), Optional(1.5));
}

TEST_F(CgroupTest, ReadsVersion1) {
  Write("self", "3:memory:/m\n2:cpu,cpuacct:/app\n");
  Write("cpu,cpuacct/app/cpu.cfs_quota_us", "400000\n");
  Write("cpu,cpuacct/app/cpu.cfs_period_us", "100000\n");
  EXPECT_THAT(Quota(), Optional(4.0));
}

TEST_F(CgroupTest, TheTightestAncestorBinds) {
  Write("self", "0::/pod/app\n");
  Write("pod/app/cpu.max", "800000 100000\n");
  Write("pod/cpu.max", "200000 100000\n");
  Write("cpu.max", "max 100000\n");
  EXPECT_THAT(Quota(), Optional(2.0));
}

TEST_F(CgroupTest, InsideAContainerTheMountIsItsOwnGroup) {
  Write("self", "0::/docker/0123\n");
  Write("cpu.max", "300000 100000\n");
  EXPECT_THAT(Quota(), Optional(3.0));
}

TEST_F(CgroupTest, NoLimitAndNonsenseAreNoQuota) {
  EXPECT_THAT(Quota(), Eq(std::nullopt));
  Write("self", "0::/\ngarbage\n1:cpu:/x\n");
  Write("cpu.max", "max 100000\n");
  Write("cpu/x/cpu.cfs_quota_us", "-1\n");
  Write("cpu/x/cpu.cfs_period_us", "100000\n");
  EXPECT_THAT(Quota(), Eq(std::nullopt));
  Write("cpu.max", "12 0\n");
  EXPECT_THAT(Quota(), Eq(std::nullopt));
}

TEST(AvailableCpusTest, IsAtLeastOne) { EXPECT_GE(AvailableCpus(), 1); }

}  // namespace
}  // namespace contextpool::engine
