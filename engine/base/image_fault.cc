#include "engine/base/image_fault.h"

#include <string>

#include "absl/strings/cord.h"

namespace contextpool::engine {
namespace {

constexpr char kFaultUrl[] = "contextpool/image-fault";

}  // namespace

absl::Status ImageError(ImageFault fault, absl::string_view message) {
  absl::Status status = absl::InvalidArgumentError(message);
  status.SetPayload(kFaultUrl, absl::Cord(kImageFaults[static_cast<size_t>(fault)].second));
  return status;
}

ImageFault FaultOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kFaultUrl);
  for (const auto& [fault, name] : kImageFaults) {
    if (payload && *payload == name) return fault;
  }
  return ImageFault::kDamaged;
}

}  // namespace contextpool::engine
