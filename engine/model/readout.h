// What is read of the last layer: one vector per embedded sequence, and what enters the classifier.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/base/packed_batch.h"
#include "engine/base/request.h"
#include "engine/device/arena.h"
#include "engine/device/device.h"

namespace contextpool::engine {

// One vector out of a sequence's tokens from `first` on.
struct ReadoutPart {
  int32_t first = 0;
  Pooling pooling = Pooling::kCls;
};

struct ReadoutConfig {
  int64_t hidden_size = 0;
  // Tokens at the beginning that embeddings leave out, but for Pooling::kCls and kPooler, which
  // read the very first token.
  int32_t skipped = 0;
  // The vectors, side by side, that the classifier multiplies. Not empty.
  std::vector<ReadoutPart> classifier = {{}};
  // tanh(W x + b) of Pooling::kPooler, [hidden_size, hidden_size]. Null: REQUIRES that no output
  // asks for it.
  const LinearWeight* pooler = nullptr;
};

// Segments on the device, one group behind the other: what is read for each embedded sequence; each
// part of each classified one; and if the pooler is asked for, the first token of those sequences,
// then for each embedded one which row becomes its embedding.
struct ReadoutSegments {
  const kernels::PoolSegment* segments = nullptr;
  int64_t embedded = 0;
  int64_t classified = 0;
  // Embeddings that are the pooler's.
  int64_t pooled = 0;
};

// Used by one thread at a time.
class Readout {
 public:
  // Batches of up to `expected_sequences` are computed without allocating.
  Readout(ReadoutConfig config, int64_t expected_sequences, Device& device);

  // Bytes of arena that CopySegments, Embeddings and ClassifierInput need together.
  size_t WorkspaceBytes(int64_t sequences) const;

  // What the batch's outputs ask for. Until the device is synchronised no other batch may follow.
  ReadoutSegments CopySegments(const PackedBatch& batch, Arena& workspace);

  // float32 [embedded, hidden_size]; empty if there are none. `hidden` is [tokens, hidden_size].
  TensorView Embeddings(const ReadoutSegments& segments, const TensorView& hidden,
                        Arena& workspace) const;

  // [classified, parts * hidden_size].
  TensorView ClassifierInput(const ReadoutSegments& segments, const TensorView& hidden,
                             Arena& workspace) const;

  // Of a classifier that multiplies that alone: float32 [classified, labels].
  TensorView Logits(const ReadoutSegments& segments, const TensorView& hidden,
                    const LinearWeight& classifier, Arena& workspace) const;

 private:
  void AddEmbedded(const PackedBatch& batch);
  void AddClassified(const PackedBatch& batch);
  void AddPooled(const PackedBatch& batch);
  void AddChoices(const PackedBatch& batch, int32_t embedded);
  int64_t parts() const { return static_cast<int64_t>(config_.classifier.size()); }

  const ReadoutConfig config_;
  Device& device_;
  // What is copied to the device must outlive the copy.
  std::vector<kernels::PoolSegment> segments_;
};

}  // namespace contextpool::engine
