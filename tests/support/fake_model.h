// A model whose answers can be told by looking: the embedding of a sequence is (its length, the sum
// of its ids), its logits are (its first id, minus its first id).
#pragma once

#include <cmath>
#include <functional>
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

  // A model of the name "long" reads 5,000 tokens, one of the name "z large" fits no device.
  struct Hooks {
    // Called at the start of every pass; its error fails the pass.
    std::function<absl::Status(const engine::PackedBatch&)> forward;
  };

  FakeModel(const engine::ModelSpec& spec, Hooks& hooks) : hooks_(hooks) {
    info_.name = spec.name;
    info_.version = spec.version;
    info_.embedding_dimensions = 2;
    info_.vocabulary_size = 1000;
    info_.max_tokens = 16;
    info_.labels = {"first", "minus first"};
    if (spec.name == "long") info_.max_tokens = 5000;
    info_.problem_type = engine::ProblemType::kSingleLabel;
  }

  const engine::ModelInfo& info() const override { return info_; }
  size_t WorkspaceBytes(const engine::BatchLimits& limits) const override {
    if (info_.name == "z large") return FakeDevice::kMemory + 1;
    return 2 * engine::Arena::Padded(limits.sequences * 2 * sizeof(float));
  }

  absl::StatusOr<engine::ModelOutput> Forward(const engine::PackedBatch& batch,
                                              engine::Arena& workspace) const override {
    if (hooks_.forward) {
      if (absl::Status status = hooks_.forward(batch); !status.ok()) return status;
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
      const auto ids = batch.token_ids.subspan(batch.cu_lengths[i],
                                               batch.cu_lengths[i + 1] - batch.cu_lengths[i]);
      float sum = 0;
      for (int32_t id : ids) sum += id == kNanId ? NAN : static_cast<float>(id);
      if (batch.outputs[i].task == engine::TaskKind::kEmbed) {
        *embedding++ = static_cast<float>(ids.size());
        *embedding++ = sum;
      } else {
        *logits++ = static_cast<float>(ids[0]);
        *logits++ = -static_cast<float>(ids[0]);
      }
    }
    return output;
  }

 private:
  engine::ModelInfo info_;
  Hooks& hooks_;
};

}  // namespace contextpool::testing
