// What the server itself counts: calls, their durations and the stages around the engine.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/base/clock.h"
#include "engine/base/stats.h"

namespace contextpool::server {

// Each message of a stream counts as a call.
enum class Endpoint : uint8_t {
  kEmbed,
  kClassify,
  kTokenize,
  kListModels,
  kGetModel,
  kEmbedStream,
  kClassifyStream
};
inline constexpr std::array<const char*, 7> kEndpointNames = {
    "Embed", "Classify", "Tokenize", "ListModels", "GetModel", "EmbedStream", "ClassifyStream"};

enum class ServerStage : uint8_t { kDecode, kAdmission, kEncode };
inline constexpr std::array<const char*, 3> kServerStageNames = {"decode", "admission", "encode"};

// The codes that calls end with; any other counts as the last.
inline constexpr std::array<absl::StatusCode, 9> kCountedCodes = {
    absl::StatusCode::kOk,
    absl::StatusCode::kCancelled,
    absl::StatusCode::kInvalidArgument,
    absl::StatusCode::kDeadlineExceeded,
    absl::StatusCode::kNotFound,
    absl::StatusCode::kResourceExhausted,
    absl::StatusCode::kUnimplemented,
    absl::StatusCode::kUnavailable,
    absl::StatusCode::kInternal};

// One model version, as the repository names it. An empty name stands for calls that named no
// model of the repository: labels never carry what a caller wrote.
using ModelKey = std::pair<std::string, int64_t>;

// Thread safe; counting takes no lock and allocates nothing.
class ServerMetrics {
 public:
  using CodeCounts = std::array<std::atomic<uint64_t>, kCountedCodes.size()>;

  // Figures of one name, all its versions together.
  struct ByName {
    ByName();
    std::vector<std::unique_ptr<engine::Histogram>> call_seconds;   // by Endpoint
    std::vector<std::unique_ptr<engine::Histogram>> stage_seconds;  // by ServerStage
    CodeCounts input_errors{};
    std::array<std::atomic<uint64_t>, kEndpointNames.size()> received{};
  };
  struct ByVersion {
    std::array<CodeCounts, kEndpointNames.size()> calls{};
  };
  struct Call {
    Endpoint endpoint;
    ModelKey model;
    absl::StatusCode code;
    engine::Duration duration;
  };

  // `models`: every model version that may ever be counted.
  explicit ServerMetrics(const std::vector<ModelKey>& models);

  // Once per call as soon as its model is known; once all are answered the calls counted by
  // CountCall under the same name are as many.
  void CountReceived(Endpoint endpoint, absl::string_view model);
  void CountCall(const Call& call);
  void CountInputError(absl::string_view model, absl::StatusCode code);
  void ObserveStage(absl::string_view model, ServerStage stage, engine::Duration duration);

  // The key that a call to this name and version (0: not named) is counted under.
  ModelKey Key(absl::string_view model, int64_t version) const;

  // For rendering. The keys are fixed at construction.
  const std::map<std::string, ByName>& by_name() const { return by_name_; }
  const std::map<ModelKey, ByVersion>& by_version() const { return by_version_; }

 private:
  std::map<std::string, ByName> by_name_;
  std::map<ModelKey, ByVersion> by_version_;
};

}  // namespace contextpool::server
