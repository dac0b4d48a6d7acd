#include "bench/gpu/models.h"

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bench/gpu/backend.h"
#include "bench/gpu/error_text.h"
#include "engine/device/arena.h"
#include "engine/device/device.h"
#include "engine/model/model.h"

namespace contextpool::gpu_check {
namespace {

using engine::Arena;

// A model with its device and the workspace of the largest batch so far.
class LoadedModel {
 public:
  static absl::StatusOr<std::unique_ptr<LoadedModel>> Load(const char* directory,
                                                           engine::DType dtype) {
    absl::StatusOr<std::unique_ptr<engine::Device>> device = CreateGpu(dtype);
    if (!device.ok()) return device.status();
    engine::ModelSpec spec;
    spec.name = "model";
    spec.directory = directory;
    // BERT's [CLS].
    spec.prefix_tokens = 1;
    absl::StatusOr<std::unique_ptr<engine::Model>> model = engine::LoadModel(spec, **device);
    if (!model.ok()) return model.status();
    return std::unique_ptr<LoadedModel>(new LoadedModel(*std::move(device), *std::move(model)));
  }

  absl::Status Forward(const ModelBatch& batch, float* embeddings) {
    const engine::ModelInfo& info = model_->info();
    const bool reads_images = batch.pixels != nullptr;
    const std::vector<engine::OutputSpec> outputs(
        batch.sequences,
        {.pooling = reads_images ? engine::Pooling::kCls : engine::Pooling::kMean});
    const auto count = static_cast<size_t>(batch.sequences);
    engine::PackedBatch packed = {.cu_lengths = {batch.cu_lengths, count + 1},
                                  .outputs = outputs,
                                  .max_length = static_cast<int32_t>(batch.max_length)};
    if (reads_images) {
      const size_t pixels = size_t{3} * info.image->size.height * info.image->size.width;
      packed.pixels = {batch.pixels, count * pixels};
    } else {
      packed.token_ids = {batch.ids, static_cast<size_t>(packed.total_tokens())};
    }
    if (absl::Status status = Reserve(packed); !status.ok()) return status;
    const absl::StatusOr<engine::ModelOutput> output = model_->Forward(packed, *workspace_);
    if (!output.ok()) return output.status();
    const engine::TensorView& result = output->embeddings;
    device_->CopyToHost(embeddings, result.data, result.bytes());
    return device_->Synchronize();
  }

 private:
  LoadedModel(std::unique_ptr<engine::Device> device, std::unique_ptr<engine::Model> model)
      : device_(std::move(device)), model_(std::move(model)) {}

  absl::Status Reserve(const engine::PackedBatch& batch) {
    const size_t bytes = model_->WorkspaceBytes({batch.total_tokens(), batch.sequences()});
    if (!workspace_.has_value() || workspace_->capacity() < bytes) {
      absl::StatusOr<Arena> workspace = Arena::Create(*device_, bytes);
      if (!workspace.ok()) return workspace.status();
      workspace_ = *std::move(workspace);
    }
    workspace_->Reset();
    return absl::OkStatus();
  }

  const std::unique_ptr<engine::Device> device_;
  const std::unique_ptr<engine::Model> model_;
  std::optional<Arena> workspace_;
};

}  // namespace
}  // namespace contextpool::gpu_check

using contextpool::gpu_check::CopyError;
using contextpool::gpu_check::LoadedModel;

void* gpu_check_load(const char* directory, int dtype, char* error, size_t error_bytes) {
  absl::StatusOr<std::unique_ptr<LoadedModel>> model =
      LoadedModel::Load(directory, static_cast<contextpool::engine::DType>(dtype));
  if (model.ok()) return model->release();
  CopyError(model.status().ToString(), error, error_bytes);
  return nullptr;
}

int gpu_check_forward(void* model, const contextpool::gpu_check::ModelBatch* batch,
                      float* embeddings, char* error, size_t error_bytes) {
  const absl::Status status = static_cast<LoadedModel*>(model)->Forward(*batch, embeddings);
  if (status.ok()) return 0;
  CopyError(status.ToString(), error, error_bytes);
  return 1;
}

void gpu_check_unload(void* model) { delete static_cast<LoadedModel*>(model); }
