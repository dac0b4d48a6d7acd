#include <stdexcept>

#include "tests/parity/parity.h"

namespace contextpool::engine {
namespace {

std::unique_ptr<Device> DeviceOf(const Backend& backend) {
  absl::StatusOr<std::unique_ptr<Device>> device = CreateCpuDevice(backend.options);
  if (!device.ok()) throw std::runtime_error(device.status().ToString());
  return *std::move(device);
}

}  // namespace

std::ostream& operator<<(std::ostream& stream, const Backend& backend) {
  return stream << backend.name;
}

std::vector<Backend> Backends() {
  // One thread and several must give the same, so the counts differ.
  const std::vector<Backend> all = {
      {"Fastest", {.threads = 2, .isa = {}, .gemm = {}}},
      {"LibTorch", {.threads = 1, .isa = {}, .gemm = CpuGemm::kLibTorch}},
      {"Reference", {.threads = 2, .isa = kernels::Isa::kReference, .gemm = CpuGemm::kLibTorch}}};
  std::vector<Backend> usable;
  for (const Backend& backend : all) {
    if (CreateCpuDevice(backend.options).ok()) usable.push_back(backend);
  }
  return usable;
}

std::string CheckpointName(const ::testing::TestParamInfo<CheckpointAndBackend>& info) {
  return std::get<0>(info.param) + "_" + std::get<1>(info.param).name;
}

TestModel::TestModel(const std::filesystem::path& directory, const Backend& backend)
    : TestModel(directory, DeviceOf(backend)) {}

}  // namespace contextpool::engine
