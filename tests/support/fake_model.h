// A model whose answers can be told by looking: the embedding of a sequence is (its length, the sum
// of its ids), its logits are (its first id, minus its first id). Of the name "pools" it has two
// layers with ContextPool: in each the pooling weight of a token is its id, the support size its
// position in the sequence, plus 0.5 in the second layer; three of four tiles are skipped. Of the
// name "images" it reads images of 2 x 2 pixels as 5 tokens, and the sum is that of all their
// values; there is no other pooling. Of the name "unresized" likewise, but it takes no image of
// another size.
#pragma once

#include <atomic>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "engine/model/model.h"
#include "tests/support/fake_device.h"

namespace contextpool::testing {

class FakeModel : public engine::Model {
 public:
  // This id makes every number of its sequence a NaN.
  static constexpr int32_t kNanId = 13;
  // This id is passed through by ContextPool.
  static constexpr int32_t kPassId = 14;

  // A model of the name "long" reads 5,000 tokens, one of the name "z large" fits no device.
  struct Hooks {
    // Called at the start of every pass; its error fails the pass.
    std::function<absl::Status(const engine::PackedBatch&)> forward;
    // Every pass computes NaNs.
    std::atomic<bool> nan{false};
    // Called when a model is destroyed.
    std::function<void()> destroyed;
    // Models that exist.
    std::atomic<int> models{0};
  };

  FakeModel(const engine::ModelSpec& spec, Hooks& hooks) : hooks_(hooks) {
    info_.name = spec.name;
    info_.version = spec.version;
    info_.embedding_dimensions = 2;
    info_.vocabulary_size = 1000;
    info_.max_tokens = 16;
    info_.labels = {"first", "minus first"};
    if (spec.name == "long") info_.max_tokens = 5000;
    if (spec.name == "pools") info_.context_pool_layers = {0, 3};
    if (spec.name == "images" || spec.name == "unresized") ReadImages();
    if (spec.name == "unresized") info_.image->resize = {};
    info_.problem_type = engine::ProblemType::kSingleLabel;
    ++hooks_.models;
  }
  ~FakeModel() override {
    if (hooks_.destroyed) hooks_.destroyed();
    --hooks_.models;
  }

  const engine::ModelInfo& info() const override { return info_; }
  size_t WorkspaceBytes(const engine::BatchLimits& limits) const override {
    if (info_.name == "z large") return FakeDevice::kMemory + 1;
    const size_t chosen = info_.context_pool_layers.size() * 2 * limits.tokens;
    return 2 * engine::Arena::Padded(limits.sequences * 2 * sizeof(float)) +
           engine::Arena::Padded(chosen * sizeof(float)) +
           engine::Arena::Padded(sizeof(kernels::ContextPoolTiles));
  }

  absl::StatusOr<engine::ModelOutput> Forward(const engine::PackedBatch& batch,
                                              engine::Arena& workspace) const override {
    // A copy: a test may set another one while this one is running.
    if (const auto forward = hooks_.forward) {
      if (absl::Status status = forward(batch); !status.ok()) return status;
    }
    int64_t embeds = 0;
    for (const engine::OutputSpec& spec : batch.outputs) {
      embeds += spec.task == engine::TaskKind::kEmbed;
    }
    engine::ModelOutput output;
    output.embeddings = workspace.Tensor(engine::DType::kF32, {embeds, 2});
    output.logits = workspace.Tensor(engine::DType::kF32, {batch.sequences() - embeds, 2});
    auto* embedding = output.embeddings.as<float>();
    auto* logits = output.logits.as<float>();
    for (int32_t i = 0; i < batch.sequences(); ++i) {
      const int32_t length = batch.cu_lengths[i + 1] - batch.cu_lengths[i];
      if (info_.image) {
        const auto pixels = batch.pixels.subspan(i * info_.image->bytes(), info_.image->bytes());
        *embedding++ = static_cast<float>(length);
        *embedding++ = std::accumulate(pixels.begin(), pixels.end(), 0.0f);
        continue;
      }
      const auto ids = batch.token_ids.subspan(batch.cu_lengths[i], length);
      float sum = hooks_.nan ? NAN : 0;
      for (int32_t id : ids) sum += id == kNanId ? NAN : static_cast<float>(id);
      if (batch.outputs[i].task == engine::TaskKind::kEmbed) {
        *embedding++ = static_cast<float>(ids.size());
        *embedding++ = sum;
      } else {
        const float first = hooks_.nan ? NAN : static_cast<float>(ids[0]);
        *logits++ = first;
        *logits++ = -first;
      }
    }
    if (!info_.context_pool_layers.empty()) Choose(batch, workspace, output);
    return output;
  }

 private:
  void ReadImages() {
    info_.modality = engine::Modality::kImage;
    info_.poolings = {info_.pooling};
    info_.image.emplace();
    info_.image->size = {2, 2};
    info_.image->resize = {2, 2};
    info_.max_tokens = 5;
    info_.labels.clear();
    info_.vocabulary_size = 0;
  }

  void Choose(const engine::PackedBatch& batch, engine::Arena& workspace,
              engine::ModelOutput& output) const {
    const int64_t tokens = batch.total_tokens();
    output.context_pool = workspace.Tensor(engine::DType::kF32, {2, 2, tokens});
    for (int32_t layer = 0; layer < 2; ++layer) {
      float* log_weight = output.context_pool.as<float>() + layer * 2 * tokens;
      float* size = log_weight + tokens;
      for (int32_t i = 0; i < batch.sequences(); ++i) {
        for (int32_t t = batch.cu_lengths[i]; t < batch.cu_lengths[i + 1]; ++t) {
          const int32_t id = batch.token_ids[t];
          const bool passed = id == kPassId;
          log_weight[t] =
              passed ? -std::numeric_limits<float>::infinity() : std::log2(static_cast<float>(id));
          size[t] = passed         ? 0.0f
                    : id == kNanId ? NAN
                                   : static_cast<float>(t - batch.cu_lengths[i]) + 0.5f * layer;
        }
      }
    }
    auto* tiles = static_cast<kernels::ContextPoolTiles*>(
        workspace.Allocate(sizeof(kernels::ContextPoolTiles)));
    *tiles = {.computed = tokens, .skipped = 3 * tokens};
    output.context_pool_tiles = tiles;
  }

  engine::ModelInfo info_;
  Hooks& hooks_;
};

}  // namespace contextpool::testing
