#include "clients/cli/file_inputs.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/clients/cli/temporary_folder.h"

namespace contextpool::cli {
namespace {

using ::testing::HasSubstr;

constexpr size_t kMost = FileInputs::kMaxFileBytes;

class FileInputsTest : public ::testing::Test {
 protected:
  const TemporaryFolder folder_{"file_inputs_test"};
  std::istringstream in_;
};

std::string Bytes(size_t count) {
  std::string bytes(count, '\0');
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<char>(i * 7 + (i >> 8));
  return bytes;
}

TEST_F(FileInputsTest, LoadsFilesOfAnySize) {
  for (const size_t size : {0, 1, 65535, 65536, 65537, 300000}) {
    FileInputs files({folder_.Write("a b", Bytes(size))}, in_);
    EXPECT_EQ(files.bytes(0), size);
    const auto loaded = files.Load(0);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(*loaded == Bytes(size)) << size;
  }
}

TEST_F(FileInputsTest, ReadsAFileWhenItIsLoaded) {
  FileInputs files({folder_.Write("a", "old")}, in_);
  folder_.Write("a", "newer");
  EXPECT_EQ(*files.Load(0), "newer");
}

TEST_F(FileInputsTest, AFileThatCannotBeReadIsAnErrorOfItsOwn) {
  FileInputs files({folder_.Path("none"), folder_.Path(""), folder_.Write("a", "x"), ""}, in_);
  EXPECT_EQ(files.Load(0).status(),
            absl::NotFoundError("cannot read the file: No such file or directory"));
  EXPECT_THAT(std::string(files.Load(1).status().message()), HasSubstr("Is a directory"));
  EXPECT_EQ(*files.Load(2), "x");
  EXPECT_EQ(files.Load(3).status().code(), absl::StatusCode::kNotFound);
  for (const size_t i : {0, 1, 3}) EXPECT_EQ(files.bytes(i), 0u);
}

TEST_F(FileInputsTest, RefusesFilesLargerThanAMessage) {
  const std::string path = folder_.Write("large", "");
  std::filesystem::resize_file(path, kMost);
  FileInputs fits({path}, in_);
  const auto loaded = fits.Load(0);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->size(), kMost);
  std::filesystem::resize_file(path, kMost + 1);
  FileInputs planned({path}, in_);
  for (FileInputs* files : {&fits, &planned}) {
    const absl::Status status = files->Load(0).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr("larger than a message"));
  }
}

TEST_F(FileInputsTest, AnEndlessFileEndsAtTheBound) {
  FileInputs files({"/dev/zero"}, in_);
  EXPECT_EQ(files.bytes(0), kMost);
  EXPECT_THAT(std::string(files.Load(0).status().message()), HasSubstr("larger than a message"));
}

TEST_F(FileInputsTest, ReadsPipes) {
  const std::string path = folder_.Path("pipe");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  FileInputs files({path}, in_);
  EXPECT_EQ(files.bytes(0), kMost);
  std::thread writer([&] { std::ofstream(path) << Bytes(100000); });
  const auto loaded = files.Load(0);
  writer.join();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(*loaded == Bytes(100000));
}

TEST_F(FileInputsTest, ReadsOneImageFromTheStandardInput) {
  in_.str(Bytes(100000));
  FileInputs files({"-"}, in_);
  EXPECT_EQ(files.bytes(0), kMost);
  EXPECT_TRUE(*files.Load(0) == Bytes(100000));
}

TEST_F(FileInputsTest, AStandardInputThatBreaksOffIsAnError) {
  in_.setstate(std::ios::badbit);
  FileInputs files({"-"}, in_);
  EXPECT_EQ(files.Load(0).status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace contextpool::cli
