#include "tests/unit/engine/model/model_files.h"

#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <utility>

namespace contextpool::engine {

namespace fs = std::filesystem;

TempDirectory::TempDirectory() {
  std::string pattern = (fs::temp_directory_path() / "contextpool-model-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  path_ = pattern;
}

TempDirectory::~TempDirectory() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

void TempDirectory::Write(const std::string& name, absl::string_view content) const {
  const fs::path file = path_ / name;
  fs::create_directories(file.parent_path());
  std::ofstream stream(file, std::ios::binary | std::ios::trunc);
  stream.write(content.data(), static_cast<std::streamsize>(content.size()));
}

void TempDirectory::CopyFrom(const fs::path& directory) const {
  fs::copy(directory, path_, fs::copy_options::recursive | fs::copy_options::overwrite_existing);
}

void TempDirectory::Remove(const std::string& name) const { fs::remove_all(path_ / name); }

TestTensor F32Tensor(std::vector<int64_t> shape, const std::vector<float>& values) {
  std::string bytes(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  return {"F32", std::move(shape), std::move(bytes)};
}

TestTensor HalfTensor(std::string dtype, std::vector<int64_t> shape,
                      const std::vector<uint16_t>& bits) {
  std::string bytes(reinterpret_cast<const char*>(bits.data()), bits.size() * sizeof(uint16_t));
  return {std::move(dtype), std::move(shape), std::move(bytes)};
}

std::string SafetensorsBytes(const nlohmann::json& header, absl::string_view data) {
  const std::string text = header.dump();
  const uint64_t size = text.size();
  std::string file(sizeof(size), '\0');
  std::memcpy(file.data(), &size, sizeof(size));
  file += text;
  file.append(data.data(), data.size());
  return file;
}

std::string SafetensorsBytes(const std::map<std::string, TestTensor>& tensors) {
  nlohmann::json header = nlohmann::json::object();
  std::string data;
  for (const auto& [name, tensor] : tensors) {
    header[name] = {{"dtype", tensor.dtype},
                    {"shape", tensor.shape},
                    {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
    data += tensor.bytes;
  }
  return SafetensorsBytes(header, data);
}

nlohmann::json SmallConfig() {
  return {{"model_type", "bert"},   {"architectures", {"BertModel"}}, {"hidden_size", 8},
          {"num_hidden_layers", 1}, {"num_attention_heads", 2},       {"intermediate_size", 12},
          {"vocab_size", 10},       {"max_position_embeddings", 16}};
}

fs::path GoldenFolder() {
  const char* source = std::getenv("CONTEXTPOOL_SOURCE_DIR");
  return fs::path(source == nullptr ? "." : source) / "tests/golden";
}

fs::path GoldenCheckpoint(const std::string& name) { return GoldenFolder() / "random" / name; }
fs::path ContextPoolCheckpoint(const std::string& name) {
  return GoldenFolder() / "context_pool" / name;
}

std::string ReadFileForTest(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(stream), {});
}

}  // namespace contextpool::engine
