// A model repository on disk for the tests of this folder.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

#include "gtest/gtest.h"

namespace contextpool::server {

class RepositoryFolder {
 public:
  RepositoryFolder()
      : root_(std::filesystem::path(::testing::TempDir()) /
              ::testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(root_);
    std::filesystem::create_directories(root_);
  }
  ~RepositoryFolder() { std::filesystem::remove_all(root_); }
  RepositoryFolder(const RepositoryFolder&) = delete;
  RepositoryFolder& operator=(const RepositoryFolder&) = delete;

  void Write(const std::string& path, const std::string& text = "{}") const {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  void Remove(const std::string& path) const { std::filesystem::remove_all(root_ / path); }

  std::string path() const { return root_.string(); }
  std::string path(const std::string& below) const { return (root_ / below).string(); }

 private:
  const std::filesystem::path root_;
};

}  // namespace contextpool::server
