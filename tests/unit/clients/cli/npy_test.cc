#include "clients/cli/npy.h"

#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "gtest/gtest.h"

namespace contextpool::cli {
namespace {

namespace fs = std::filesystem;

class NpyTest : public ::testing::Test {
 protected:
  NpyTest() : folder_(fs::path(::testing::TempDir()) / "contextpool_npy_test") {
    fs::remove_all(folder_);
    fs::create_directory(folder_);
  }
  ~NpyTest() override { fs::remove_all(folder_); }

  std::string Path(const char* name) const { return (folder_ / name).string(); }

  static std::string Read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }

  size_t Files() const {
    return std::distance(fs::directory_iterator(folder_), fs::directory_iterator());
  }

  const fs::path folder_;
};

TEST(NpyHeader, HasTheLayoutOfVersion1) {
  for (const auto& [rows, columns] : {std::pair<size_t, size_t>{3, 384}, {1, 1}, {123456789, 9}}) {
    const std::string header = NpyHeader(rows, columns);
    ASSERT_EQ(header.size() % 64, 0u);
    EXPECT_EQ(header.substr(0, 8), std::string("\x93NUMPY\x01\x00", 8));
    const size_t length = uint8_t(header[8]) + 256u * uint8_t(header[9]);
    EXPECT_EQ(length + 10, header.size());
    EXPECT_EQ(header.back(), '\n');
    const std::string dict = header.substr(10);
    EXPECT_EQ(dict.substr(0, dict.find_last_not_of(" \n") + 1),
              "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(rows) + ", " +
                  std::to_string(columns) + "), }");
  }
}

TEST_F(NpyTest, WritesHeaderThenNumbersAndNothingElse) {
  const std::vector<float> values = {1, 2, 3, -4.5f, 0, 6};
  ASSERT_TRUE(WriteNpy(Path("a.npy"), 2, 3, values).ok());
  const std::string bytes = Read(Path("a.npy"));
  const std::string header = NpyHeader(2, 3);
  ASSERT_EQ(bytes.size(), header.size() + 24);
  EXPECT_EQ(bytes.substr(0, header.size()), header);
  EXPECT_EQ(memcmp(bytes.data() + header.size(), values.data(), 24), 0);
  EXPECT_EQ(Files(), 1u);
}

TEST_F(NpyTest, GivesTheFileOrdinaryPermissions) {
  const mode_t before = umask(022);
  ASSERT_TRUE(WriteNpy(Path("a.npy"), 1, 1, std::vector<float>{1}).ok());
  umask(before);
  struct stat info;
  ASSERT_EQ(stat(Path("a.npy").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0644u);
}

TEST_F(NpyTest, ReplacesTheFileBehindALink) {
  ASSERT_TRUE(WriteNpy(Path("a.npy"), 1, 1, std::vector<float>{1}).ok());
  fs::create_symlink(Path("a.npy"), Path("link.npy"));
  ASSERT_TRUE(WriteNpy(Path("link.npy"), 1, 1, std::vector<float>{2}).ok());
  EXPECT_TRUE(fs::is_symlink(Path("link.npy")));
  EXPECT_EQ(Read(Path("a.npy")).substr(64 * 2), std::string("\0\0\0\x40", 4));
}

TEST_F(NpyTest, RefusesWhatIsNoRegularFile) {
  const absl::Status folder = WriteNpy(folder_.string(), 1, 1, std::vector<float>{1});
  EXPECT_EQ(folder.code(), absl::StatusCode::kFailedPrecondition);
  const absl::Status device = WriteNpy("/dev/null", 1, 1, std::vector<float>{1});
  EXPECT_EQ(device.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}

TEST_F(NpyTest, NamesTheFolderThatIsMissing) {
  const absl::Status status = WriteNpy(Path("no/a.npy"), 1, 1, std::vector<float>{1});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(status.message().find(Path("no/a.npy")), std::string::npos) << status;
  EXPECT_EQ(Files(), 0u);
}

}  // namespace
}  // namespace contextpool::cli
