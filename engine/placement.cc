#include "engine/placement.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/device_name.h"

namespace contextpool::engine {
namespace {

absl::Status NoSuchDevice(const ModelSpec& spec, const Workers& workers) {
  const auto name = [](std::string* out, const auto& worker) {
    absl::StrAppend(out, "\"", worker->device().name(), "\"");
  };
  return absl::InvalidArgumentError(
      absl::StrCat("device: \"", spec.device, "\" is none of this server's devices, which are ",
                   absl::StrJoin(workers, ", ", name),
                   "; name one of them in serving.textproto, or start the server with another"
                   " --device"));
}

absl::Status NoSuchDType(const ModelSpec& spec, const std::vector<Worker*>& places) {
  const auto computes = [](std::string* out, const Worker* worker) {
    absl::StrAppend(out, "device \"", worker->device().name(), "\" computes in \"",
                    kernels::Name(worker->device().dtype()), "\"");
  };
  const absl::string_view dtype = kernels::Name(*spec.dtype);
  return absl::InvalidArgumentError(absl::StrCat(
      "dtype: \"", dtype, "\" is not to be had: ", absl::StrJoin(places, ", ", computes),
      "; remove the field from serving.textproto",
      spec.device.empty() ? "" : ", or device, which names who has to compute in it",
      ", or start the server ",
      *spec.dtype == DType::kF32 ? "with cpu in --device"
                                 : absl::StrCat("on a GPU with --gpu_dtype=", dtype)));
}

}  // namespace

absl::StatusOr<std::vector<Worker*>> PlacesFor(const ModelSpec& spec, const Workers& workers) {
  std::vector<Worker*> places;
  for (const auto& worker : workers) {
    if (spec.device.empty() || worker->device().name() == spec.device) {
      places.push_back(worker.get());
    }
  }
  if (places.empty()) return NoSuchDevice(spec, workers);
  const std::vector<Worker*> named = places;
  std::erase_if(places, [&](const Worker* worker) {
    return spec.dtype.has_value() && worker->device().dtype() != *spec.dtype;
  });
  if (places.empty()) return NoSuchDType(spec, named);
  const auto cpu = std::stable_partition(places.begin(), places.end(), [](const Worker* worker) {
    return worker->device().name() != kCpuName;
  });
  if (cpu == places.begin()) return places;
  // What one GPU does not compute no other does.
  const auto least = std::min_element(
      places.begin(), cpu, [](const Worker* a, const Worker* b) { return a->load < b->load; });
  std::vector<Worker*> chosen = {*least};
  chosen.insert(chosen.end(), cpu, places.end());
  return chosen;
}

}  // namespace contextpool::engine
