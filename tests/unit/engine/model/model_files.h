// Model directories made by hand, for tests of what reads them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace contextpool::engine {

// A folder that is gone with this object.
class TempDirectory {
 public:
  TempDirectory();
  ~TempDirectory();
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;

  std::string path() const { return path_.string(); }

  // Creates folders on the way.
  void Write(const std::string& name, absl::string_view content) const;
  void Write(const std::string& name, const nlohmann::json& content) const {
    Write(name, absl::string_view(content.dump()));
  }
  void CopyFrom(const std::filesystem::path& directory) const;
  void Remove(const std::string& name) const;

 private:
  std::filesystem::path path_;
};

struct TestTensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

TestTensor F32Tensor(std::vector<int64_t> shape, const std::vector<float>& values);
// Of F16 and BF16: the bit patterns.
TestTensor HalfTensor(std::string dtype, std::vector<int64_t> shape,
                      const std::vector<uint16_t>& bits);

// A file's content: header size, header, data.
std::string SafetensorsBytes(const nlohmann::json& header, absl::string_view data);
std::string SafetensorsBytes(const std::map<std::string, TestTensor>& tensors);

// A BertModel's config.json with the smallest sizes that mean anything.
nlohmann::json SmallConfig();

// tests/golden of the source tree.
std::filesystem::path GoldenFolder();
// A committed checkpoint of tests/golden/random.
std::filesystem::path GoldenCheckpoint(const std::string& name);
// One of tests/golden/context_pool.
std::filesystem::path ContextPoolCheckpoint(const std::string& name);

std::string ReadFileForTest(const std::filesystem::path& path);

}  // namespace contextpool::engine
