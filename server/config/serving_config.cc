#include "server/config/serving_config.h"

#include <algorithm>
#include <chrono>
#include <limits>
#include <set>

#include "absl/strings/str_cat.h"
#include "contextpool/v1/serving_config.pb.h"
#include "engine/base/device_name.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/text_format.h"

namespace contextpool::server {
namespace {

using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;
using ::google::protobuf::TextFormat;

// Keeps the first error of the parser.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  explicit FirstError(absl::string_view file) : file_(file) {}

  void AddError(int line, int column, const std::string& message) override {
    if (!message_.empty()) return;
    message_ = absl::StrCat(file_, ":", line + 1, ":", column + 1, ": ", message,
                            " (fields: contextpool/v1/serving_config.proto)");
  }

  absl::Status status() const { return absl::InvalidArgumentError(message_); }

 private:
  const absl::string_view file_;
  std::string message_;
};

// One message of the file with what is needed to say where its fields stand.
class Section {
 public:
  Section(absl::string_view file, std::string prefix, const Message& message,
          const TextFormat::ParseInfoTree* tree)
      : file_(file), prefix_(std::move(prefix)), message_(message), tree_(tree) {}

  absl::Status Error(const std::string& field, absl::string_view problem) const {
    const FieldDescriptor* descriptor = message_.GetDescriptor()->FindFieldByName(field);
    const int index = descriptor->is_repeated() ? 0 : -1;
    const int line = tree_ == nullptr ? -1 : tree_->GetLocation(descriptor, index).line;
    return absl::InvalidArgumentError(
        absl::StrCat(file_, ":", line + 1, ": ", prefix_, field, ": ", problem));
  }

  // Fields that later versions act on are refused, never ignored.
  absl::Status RefuseSet(const std::vector<std::string>& fields) const {
    const auto* reflection = message_.GetReflection();
    for (const std::string& name : fields) {
      const FieldDescriptor* field = message_.GetDescriptor()->FindFieldByName(name);
      const bool set = field->is_repeated() ? reflection->FieldSize(message_, field) > 0
                                            : reflection->HasField(message_, field);
      if (set) return Error(name, "this version does not support the field yet; remove it");
    }
    return absl::OkStatus();
  }

  // Writes the value of an optional field to `target` if it is set and in range.
  template <typename Target>
  absl::Status Read(const std::string& name, uint64_t low, uint64_t high, Target& target) const {
    const FieldDescriptor* field = message_.GetDescriptor()->FindFieldByName(name);
    const auto* reflection = message_.GetReflection();
    if (!reflection->HasField(message_, field)) return absl::OkStatus();
    const uint64_t value = field->cpp_type() == FieldDescriptor::CPPTYPE_UINT32
                               ? reflection->GetUInt32(message_, field)
                               : reflection->GetUInt64(message_, field);
    if (value < low || value > high) {
      return Error(name, absl::StrCat(value, " is out of range: allowed is ", low, " to ", high));
    }
    target = static_cast<Target>(value);
    return absl::OkStatus();
  }

  Section Nested(const std::string& name, const Message& message) const {
    const FieldDescriptor* field = message_.GetDescriptor()->FindFieldByName(name);
    const bool set = message_.GetReflection()->HasField(message_, field);
    return Section(file_, absl::StrCat(prefix_, name, "."), message,
                   set && tree_ != nullptr ? tree_->GetTreeForNested(field, -1) : nullptr);
  }

 private:
  const absl::string_view file_;
  const std::string prefix_;
  const Message& message_;
  const TextFormat::ParseInfoTree* tree_;
};

absl::Status ReadPooling(const Section& root, v1::Pooling pooling, engine::ModelSpec& spec) {
  switch (pooling) {
    case v1::POOLING_UNSPECIFIED:
      return absl::OkStatus();
    case v1::POOLING_MEAN:
      spec.pooling = engine::Pooling::kMean;
      return absl::OkStatus();
    case v1::POOLING_CLS:
      spec.pooling = engine::Pooling::kCls;
      return absl::OkStatus();
    case v1::POOLING_MAX:
      spec.pooling = engine::Pooling::kMax;
      return absl::OkStatus();
    case v1::POOLING_LAST_TOKEN:
      spec.pooling = engine::Pooling::kLastToken;
      return absl::OkStatus();
    case v1::POOLING_POOLER:
      spec.pooling = engine::Pooling::kPooler;
      return absl::OkStatus();
    default:
      return root.Error("pooling", absl::StrCat("unknown value ", static_cast<int>(pooling)));
  }
}

// Whether the server has such a device, and what it computes in, is known when the model is loaded.
absl::Status ReadDevice(const Section& root, const v1::ServingConfig& config,
                        engine::ModelSpec& spec) {
  if (!config.device().empty() && !engine::ParseDeviceName(config.device()).has_value()) {
    return root.Error("device", absl::StrCat("\"", config.device(),
                                             "\" names no device: allowed is \"cpu\" or"
                                             " \"cuda:<index>\", such as \"cuda:0\""));
  }
  spec.device = config.device();
  if (config.dtype().empty()) return absl::OkStatus();
  for (engine::DType dtype : {engine::DType::kF32, engine::DType::kBF16, engine::DType::kF16}) {
    if (config.dtype() == kernels::Name(dtype)) spec.dtype = dtype;
  }
  if (spec.dtype.has_value()) return absl::OkStatus();
  return root.Error("dtype", absl::StrCat("\"", config.dtype(),
                                          "\" is not supported: allowed is \"float32\","
                                          " \"bfloat16\" or \"float16\""));
}

absl::Status ReadModelSettings(const Section& root, const v1::ServingConfig& config,
                               engine::ModelSpec& spec) {
  absl::Status status = root.RefuseSet({"matryoshka_dimensions", "prompts", "default_prompt_name"});
  if (!status.ok()) return status;
  status = ReadDevice(root, config, spec);
  if (!status.ok()) return status;
  if (config.has_normalize()) spec.normalize = config.normalize();
  if (config.has_golden_tolerance()) {
    const double tolerance = config.golden_tolerance();
    // Written so that NaN is refused.
    if (!(tolerance > 0 && tolerance <= 1)) {
      return root.Error("golden_tolerance",
                        absl::StrCat(tolerance, " is out of range: allowed is above 0 to 1"));
    }
    spec.golden_tolerance = tolerance;
  }
  int32_t max_tokens = 0;
  status = root.Read("max_tokens", 3, 1 << 20, max_tokens);
  if (!status.ok()) return status;
  if (config.has_max_tokens()) spec.max_tokens = max_tokens;
  return ReadPooling(root, config.pooling(), spec);
}

absl::Status ReadQueue(const Section& root, const v1::ServingConfig& config,
                       engine::QueueOptions& queue) {
  constexpr uint64_t kTokens = 1 << 30;
  const Section batching = root.Nested("batching", config.batching());
  const Section bounds = root.Nested("queue", config.queue());
  uint32_t deadline_ms = 0;
  int64_t max_wait_us =
      std::chrono::duration_cast<std::chrono::microseconds>(queue.max_wait).count();
  for (const absl::Status& status :
       {batching.Read("token_budget", 1, 1 << 20, queue.batch_token_budget),
        batching.Read("max_inputs", 1, 1 << 16, queue.batch_max_inputs),
        bounds.Read("max_tokens", 1, kTokens, queue.max_tokens),
        bounds.Read("max_inputs", 1, 1 << 24, queue.max_inputs),
        bounds.Read("max_bytes", 1024, uint64_t{1} << 40, queue.max_bytes),
        bounds.Read("interactive_weight", 1, 1000, queue.interactive_weight),
        bounds.Read("bulk_weight", 1, 1000, queue.bulk_weight),
        bounds.Read("default_deadline_ms", 1, 24 * 3600 * 1000, deadline_ms),
        batching.Read("max_wait_us", 0, 1'000'000, max_wait_us),
        root.Read("result_cache_bytes", 0, uint64_t{1} << 40, queue.result_cache_bytes)}) {
    if (!status.ok()) return status;
  }
  queue.max_wait = std::chrono::microseconds(max_wait_us);
  if (deadline_ms > 0) queue.default_deadline = std::chrono::milliseconds(deadline_ms);
  if (queue.max_tokens < queue.batch_token_budget) {
    return bounds.Error(
        "max_tokens", absl::StrCat(queue.max_tokens, " is below batching.token_budget (",
                                   queue.batch_token_budget, "): a queue smaller than one batch"));
  }
  if (config.has_max_tokens() && queue.batch_token_budget > 0 &&
      config.max_tokens() > queue.batch_token_budget) {
    return root.Error(
        "max_tokens",
        absl::StrCat(config.max_tokens(), " is above batching.token_budget (",
                     queue.batch_token_budget, "): the longest input would fit no batch"));
  }
  return absl::OkStatus();
}

absl::Status ReadVersions(const Section& root, const v1::VersionPolicy& policy,
                          ServingSettings& settings) {
  const Section section = root.Nested("version_policy", policy);
  if (policy.policy_case() == v1::VersionPolicy::kLatest) {
    return section.Read("latest", 1, 1000, settings.latest_versions);
  }
  if (policy.policy_case() != v1::VersionPolicy::kSpecific) return absl::OkStatus();
  std::set<int64_t> versions;
  for (int64_t version : policy.specific().versions()) {
    if (version < 1 || !versions.insert(version).second) {
      return section.Error(
          "specific", absl::StrCat("version ", version, ": versions are from 1 and listed once"));
    }
  }
  if (versions.empty()) return section.Error("specific", "lists no version");
  settings.specific_versions.assign(versions.begin(), versions.end());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ServingSettings> ParseServingConfig(absl::string_view text, absl::string_view file,
                                                   VersionPolicy versions) {
  v1::ServingConfig config;
  FirstError errors(file);
  TextFormat::ParseInfoTree tree;
  TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  parser.WriteLocationsTo(&tree);
  if (!parser.ParseFromString(std::string(text), &config)) return errors.status();

  ServingSettings settings;
  const Section root(file, "", config, &tree);
  absl::Status status = ReadModelSettings(root, config, settings.spec);
  if (status.ok()) status = ReadQueue(root, config, settings.spec.queue);
  if (status.ok() && config.has_version_policy() && versions == VersionPolicy::kRefused) {
    status = root.Error("version_policy",
                        "has no effect here: it belongs in the file beside the version folders");
  }
  if (status.ok()) status = ReadVersions(root, config.version_policy(), settings);
  if (!status.ok()) return status;
  return settings;
}

}  // namespace contextpool::server
