// An engine with a fake device and fake models, for the tests of this folder.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <new>
#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine_impl.h"
#include "gtest/gtest.h"
#include "tests/support/fake_device.h"
#include "tests/support/fake_model.h"
#include "tests/support/fake_tokenizer.h"
#include "tests/unit/engine/gate.h"

namespace contextpool::engine {

inline ModelSpec Spec(const std::string& name, QueueOptions queue = {}) {
  ModelSpec spec;
  spec.name = name;
  spec.queue = queue;
  return spec;
}

inline uint64_t Total(const HistogramSnapshot& histogram) {
  return std::accumulate(histogram.counts.begin(), histogram.counts.end(), uint64_t{0});
}

inline std::vector<std::unique_ptr<testing::FakeDevice>> OneDevice() {
  std::vector<std::unique_ptr<testing::FakeDevice>> devices;
  devices.push_back(std::make_unique<testing::FakeDevice>());
  return devices;
}

class EngineTest : public ::testing::Test {
 protected:
  void Start(std::vector<ModelSpec> specs) {
    EngineOptions options;
    options.models = std::move(specs);
    options.canary_interval = canary_interval_;
    options.queue = queue_bounds_;
    EngineParts parts;
    device_ = new_devices_[0].get();
    for (auto& device : std::exchange(new_devices_, OneDevice())) {
      parts.devices.push_back(std::move(device));
    }
    parts.load_model = [this](const ModelSpec& spec,
                              Device& device) -> absl::StatusOr<std::unique_ptr<Model>> {
      if (spec.name == "broken") return absl::InvalidArgumentError("config.json: is broken");
      if (spec.name == "throws") throw std::bad_alloc();
      if (before_load_) {
        if (absl::Status status = before_load_(spec); !status.ok()) return status;
      }
      if (spec.name == "convolves" && device.name() != "cpu") {
        return absl::UnimplementedError("convolutions are computed on a CPU only");
      }
      prefix_tokens_ = spec.prefix_tokens;
      loaded_on_[spec.name] = std::string(device.name());
      return std::make_unique<testing::FakeModel>(spec, hooks_);
    };
    parts.load_tokenizer = [this](const ModelSpec&) -> absl::StatusOr<std::unique_ptr<Tokenizer>> {
      if (!tokenizer_error_.ok()) return tokenizer_error_;
      return std::make_unique<testing::FakeTokenizer>();
    };
    engine_ = std::make_unique<EngineImpl>(std::move(options), std::move(parts), *clock_);
    engine_->WaitUntilLoaded();
  }

  // Of a model that is listed.
  ModelInfo InfoOf(absl::string_view name) {
    for (const ModelStatus& model : engine_->ListModels()) {
      if (model.info->name == name) return *model.info;
    }
    ADD_FAILURE() << name << " is not listed";
    return {};
  }

  // Why a model does not serve.
  std::string FailureOf(absl::string_view name) {
    for (const ModelStatus& model : engine_->ListModels()) {
      if (model.info->name == name && model.state == ModelState::kFailed) return model.reason;
    }
    return "";
  }

  std::future<absl::StatusOr<Response>> Send(Request request) {
    auto promise = std::make_shared<std::promise<absl::StatusOr<Response>>>();
    auto future = promise->get_future();
    engine_->Infer(std::move(request), [promise](absl::StatusOr<Response> response) {
      promise->set_value(std::move(response));
    });
    return future;
  }

  std::future<absl::StatusOr<ModelStatus>> Load(ModelSpec spec) {
    auto promise = std::make_shared<std::promise<absl::StatusOr<ModelStatus>>>();
    auto future = promise->get_future();
    engine_->Load(std::move(spec), [promise](absl::StatusOr<ModelStatus> model) {
      promise->set_value(std::move(model));
    });
    return future;
  }

  std::future<absl::Status> Unload(const std::string& name, int64_t version = 1) {
    auto promise = std::make_shared<std::promise<absl::Status>>();
    auto future = promise->get_future();
    engine_->Unload(name, version,
                    [promise](absl::Status status) { promise->set_value(std::move(status)); });
    return future;
  }

  static Request Texts(std::vector<const char*> texts, TaskKind task = TaskKind::kEmbed) {
    Request request;
    request.task = task;
    for (const char* text : texts) request.inputs.emplace_back(TextInput{text});
    return request;
  }

  // Passes begin, are counted, and stand until the gate is opened.
  void HoldPasses() {
    gate_.Close();
    hooks_.forward = [this](const PackedBatch&) {
      ++passes_;
      gate_.Pass();
      return absl::OkStatus();
    };
  }

  // For Start.
  // What the next Start uses in place of one device.
  void UseDevices(std::vector<std::unique_ptr<testing::FakeDevice>> devices) {
    new_devices_ = std::move(devices);
  }

  Clock* clock_ = &Clock::Real();
  Duration canary_interval_{};
  QueueBounds queue_bounds_ = EngineOptions().queue;
  std::vector<std::unique_ptr<testing::FakeDevice>> new_devices_ = OneDevice();

  Gate gate_;
  std::atomic<int> passes_{0};
  testing::FakeModel::Hooks hooks_;
  // The first one.
  testing::FakeDevice* device_ = nullptr;
  // By model: the device that it was last loaded on.
  std::map<std::string, std::string> loaded_on_;
  // What the last model was told of its tokeniser.
  std::optional<int32_t> prefix_tokens_;
  // Called when a model is about to be loaded; its error fails the load.
  std::function<absl::Status(const ModelSpec&)> before_load_;
  // What every tokeniser fails with.
  absl::Status tokenizer_error_;
  std::unique_ptr<EngineImpl> engine_;
};

}  // namespace contextpool::engine
