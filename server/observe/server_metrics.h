// What the server itself counts: calls, their durations and the stages around the engine.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engine/base/clock.h"
#include "engine/base/mutex.h"
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
  kClassifyStream,
  kLoadModel,
  kUnloadModel,
  kReloadModel
};
inline constexpr std::array<const char*, 10> kEndpointNames = {
    "Embed",       "Classify",       "Tokenize",  "ListModels",  "GetModel",
    "EmbedStream", "ClassifyStream", "LoadModel", "UnloadModel", "ReloadModel"};

enum class ServerStage : uint8_t { kDecode, kAdmission, kEncode };
inline constexpr std::array<const char*, 3> kServerStageNames = {"decode", "admission", "encode"};

// The codes that calls end with; any other counts as the last.
inline constexpr std::array<absl::StatusCode, 10> kCountedCodes = {
    absl::StatusCode::kOk,
    absl::StatusCode::kCancelled,
    absl::StatusCode::kInvalidArgument,
    absl::StatusCode::kDeadlineExceeded,
    absl::StatusCode::kNotFound,
    absl::StatusCode::kResourceExhausted,
    absl::StatusCode::kFailedPrecondition,
    absl::StatusCode::kUnimplemented,
    absl::StatusCode::kUnavailable,
    absl::StatusCode::kInternal};

// One model version, as the repository names it. An empty name stands for calls that named no
// model of the repository: labels never carry what a caller wrote.
using ModelKey = std::pair<std::string, int64_t>;

// Thread safe; counting waits for nobody but the rare addition of a model.
class ServerMetrics {
 public:
  using CodeCounts = std::array<std::atomic<uint64_t>, kCountedCodes.size()>;

  // Figures of one name, all its versions together.
  struct ByName {
    ByName();
    std::vector<std::unique_ptr<engine::Histogram>> call_seconds;   // by Endpoint
    std::vector<std::unique_ptr<engine::Histogram>> stage_seconds;  // by ServerStage
    // Of the calls among them that ended with RESOURCE_EXHAUSTED.
    engine::Histogram refusal_seconds;
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

  // Versions of one model that are gone and still shown: scrapers have seen their last counts by
  // the time that so many others have come and gone.
  static constexpr size_t kGoneVersions = 16;

  explicit ServerMetrics(const std::vector<ModelKey>& models);

  // Counts and shows the version from now on, from 0 if it was never counted.
  void Add(const ModelKey& model);
  // The version is gone: it is still counted when it is named, until kGoneVersions other ones of
  // its model are gone too. Its counts then go to another version of the model, so that sums over
  // versions never fall. The figures of a name stay.
  void Retire(const ModelKey& model);

  // Once per call as soon as its model is known; once all are answered the calls counted by
  // CountCall under the same name are as many.
  void CountReceived(Endpoint endpoint, absl::string_view model);
  void CountCall(const Call& call);
  void CountInputError(absl::string_view model, absl::StatusCode code);
  void ObserveStage(absl::string_view model, ServerStage stage, engine::Duration duration);

  // The key that a call to this name and version (0: not named) is counted under.
  ModelKey Key(absl::string_view model, int64_t version) const;

  // For rendering.
  using Names = std::map<std::string, std::shared_ptr<ByName>, std::less<>>;
  using Versions = std::map<ModelKey, std::shared_ptr<ByVersion>>;
  Names by_name() const;
  Versions by_version() const;

 private:
  // The figures of a name; null: it is not counted.
  ByName* Find(absl::string_view model) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  // Where the version is counted: its own figures or, once they are no longer shown, those of the
  // lowest version of its model; null: it was never counted.
  ByVersion* FindVersion(const ModelKey& model) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  mutable engine::SharedMutex mutex_;
  Names by_name_ ABSL_GUARDED_BY(mutex_);
  Versions by_version_ ABSL_GUARDED_BY(mutex_);
  // By name; the first to go first.
  std::map<std::string, std::deque<int64_t>> gone_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace contextpool::server
