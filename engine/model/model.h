// A loaded model: weights on a device and the order of operations over one packed batch.
#pragma once

#include <cstddef>
#include <memory>

#include "absl/status/statusor.h"
#include "engine/base/model_info.h"
#include "engine/base/options.h"
#include "engine/base/packed_batch.h"
#include "engine/device/arena.h"
#include "engine/device/device.h"

namespace contextpool::engine {

// The largest batch that a workspace must hold.
struct BatchLimits {
  int64_t tokens = 0;
  int64_t sequences = 0;
};

// Device memory inside the arena; valid until the arena is reset. float32.
struct ModelOutput {
  // [sequences wanted for kEmbed, embedding_dimensions], in the batch's order.
  TensorView embeddings;
  // [sequences wanted for kClassify, labels], in the batch's order.
  TensorView logits;
  // [context_pool_layers, 2, total_tokens]: of each such layer log2 of the pooling weights, then
  // the support sizes in tokens; -infinity and 0 for tokens that are passed through. Empty without
  // ContextPool.
  TensorView context_pool;
  // What all those layers computed and skipped; null without ContextPool.
  const kernels::ContextPoolTiles* context_pool_tiles = nullptr;
};

// Immutable after loading. Forward is called by one thread at a time.
class Model {
 public:
  virtual ~Model() = default;

  virtual const ModelInfo& info() const = 0;

  // Bytes of arena that a batch within `limits` needs.
  virtual size_t WorkspaceBytes(const BatchLimits& limits) const = 0;

  // Queues the whole forward pass on the device. Allocates from `workspace` only. Sequences never
  // see each other: a NaN in one changes no other.
  //
  // REQUIRES: ids inside the vocabulary and lengths in [1, max_tokens], or images of info().image's
  // size and max_tokens for each; kClassify only if the model classifies, poolings that it offers;
  // a workspace reset to empty that holds WorkspaceBytes of this batch.
  virtual absl::StatusOr<ModelOutput> Forward(const PackedBatch& batch, Arena& workspace) const = 0;
};

// What every Forward begins with. INTERNAL: a workspace that is not empty or too small, kClassify
// of a model that does not, other inputs than the model reads.
absl::Status CheckForward(const Model& model, const PackedBatch& batch, const Arena& workspace);

// Reads `spec.directory` (a Hugging Face or sentence-transformers directory), prepares the weights
// on `device`, which must outlive the model. Errors name the file, the key or the tensor; a hostile
// directory is an error, never a crash.
absl::StatusOr<std::unique_ptr<Model>> LoadModel(const ModelSpec& spec, Device& device);

}  // namespace contextpool::engine
