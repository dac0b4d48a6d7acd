#include "server/models/fingerprint.h"

#include <filesystem>

#include "gtest/gtest.h"
#include "tests/unit/server/models/repository_folder.h"

namespace contextpool::server {
namespace {

namespace fs = std::filesystem;

class FingerprintTest : public ::testing::Test {
 protected:
  FingerprintTest() {
    folder_.Write("config.json");
    folder_.Write("model.safetensors", "12345678");
    folder_.Write("1_Pooling/config.json");
    before_ = Now();
  }

  std::string Now() const { return Fingerprint(folder_.path()); }

  RepositoryFolder folder_;
  std::string before_;
};

TEST_F(FingerprintTest, IsTheSameForFilesThatNobodyTouched) {
  EXPECT_FALSE(before_.empty());
  EXPECT_EQ(Now(), before_);
}

TEST_F(FingerprintTest, ChangesWithTheSizeOrTheTimeOfAFile) {
  const std::string weights = folder_.path("model.safetensors");
  fs::last_write_time(weights, fs::last_write_time(weights) + std::chrono::nanoseconds(1));
  const std::string touched = Now();
  EXPECT_NE(touched, before_);
  const auto time = fs::last_write_time(weights);
  folder_.Write("model.safetensors", "123456789");
  fs::last_write_time(weights, time);
  EXPECT_NE(Now(), touched);
}

TEST_F(FingerprintTest, ChangesWhenAFileIsReplacedByOneOfTheSameSizeAndTime) {
  const std::string weights = folder_.path("model.safetensors");
  folder_.Write("other", "87654321");
  fs::last_write_time(folder_.path("other"), fs::last_write_time(weights));
  fs::rename(folder_.path("other"), weights);
  EXPECT_NE(Now(), before_);
}

TEST_F(FingerprintTest, ChangesWithFilesThatComeAndGoAlsoBelow) {
  folder_.Remove("1_Pooling/config.json");
  EXPECT_NE(Now(), before_);
  folder_.Write("golden.safetensors");
  const std::string added = Now();
  EXPECT_NE(added, before_);
  folder_.Write("README.md", "not a part of the model");
  folder_.Write(".cache/config.json");
  EXPECT_EQ(Now(), added);
}

TEST_F(FingerprintTest, OfAFolderThatIsNotThereIsEmpty) {
  EXPECT_EQ(Fingerprint(folder_.path("missing")), "");
}

}  // namespace
}  // namespace contextpool::server
