// How models come to be served.
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/devices.h"
#include "engine/engine_impl.h"
#include "engine/model/file.h"

namespace contextpool::engine {
namespace {

constexpr int64_t kMaxTokenizerBytes = 128 << 20;

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const ModelSpec& spec) {
  absl::StatusOr<std::string> json =
      ReadWholeFile(spec.directory, "tokenizer.json", kMaxTokenizerBytes);
  if (!json.ok()) return json.status();
  absl::StatusOr<std::unique_ptr<Tokenizer>> tokenizer = Tokenizer::FromJson(*json);
  if (tokenizer.ok()) return tokenizer;
  return absl::Status(tokenizer.status().code(),
                      absl::StrCat("tokenizer.json: ", tokenizer.status().message()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Create(EngineOptions options, Clock& clock,
                                                       std::vector<std::string>* notes) try {
  std::vector<std::string> ignored;
  absl::StatusOr<std::vector<std::unique_ptr<Device>>> devices =
      OpenDevices(options, DeviceSource::ThisMachine(), notes == nullptr ? ignored : *notes);
  if (!devices.ok()) return devices.status();
  EngineParts parts{*std::move(devices), LoadModel, LoadTokenizer};
  return std::make_unique<EngineImpl>(std::move(options), std::move(parts), clock);
} catch (const std::exception& error) {
  return absl::ResourceExhaustedError(
      absl::StrCat("the engine could not start: ", error.what(), "; fewer --threads may help"));
}

void EngineImpl::WaitUntilLoaded() { loader_->WaitUntilStarted(); }

void EngineImpl::Load(ModelSpec spec, LoadCallback done) {
  models_.SetLoading({spec.name, spec.version});
  loader_->Load(std::move(spec), std::move(done));
}

void EngineImpl::Unload(absl::string_view name, int64_t version, UnloadCallback done) {
  loader_->Unload({std::string(name), version}, std::move(done));
}

}  // namespace contextpool::engine
