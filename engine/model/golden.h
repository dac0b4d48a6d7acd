// golden.safetensors: what a checkpoint must compute, so that a damaged or mixed-up model directory
// is found while it is loaded and not by its callers.
//
//   input_ids   I32 or I64 [total]         of a model that reads texts: the sequences one after the
//                                          other, without padding
//   cu_lengths  I32 or I64 [m + 1]         where each begins and the last one ends
//   pixels      U8 [m, height, width, 3]   of a model that reads images: as large as it reads them
//   embedding   F32 [m, dimensions]        one or both of these two, computed in float32 from the
//                                          weights as they are stored
//   logits      F32 [m, labels]
//
// The file speaks of the checkpoint: embeddings are pooled and normalised as its own files say,
// whatever serving.textproto makes of them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engine/base/example.h"
#include "engine/base/model_info.h"
#include "engine/base/options.h"
#include "engine/base/packed_batch.h"

namespace contextpool::engine {

// What is expected of every sequence for one task.
struct GoldenTensor {
  absl::string_view name;
  // What to ask the model for.
  OutputSpec output;
  int64_t width = 0;
  std::vector<float> values;  // [sequences, width]
  // Largest magnitude among them.
  float magnitude = 0;
};

struct GoldenFile {
  // One of these two is empty.
  std::vector<int32_t> token_ids;
  std::vector<uint8_t> pixels;
  // Of images: the tokens that the model makes of them.
  std::vector<int32_t> cu_lengths;
  std::vector<GoldenTensor> tensors;
  DType dtype = DType::kF32;
  // Unset: the dtype's own.
  std::optional<double> tolerance;

  int64_t sequences() const { return static_cast<int64_t>(cu_lengths.size()) - 1; }
  Example Input(int64_t index) const {
    if (!pixels.empty()) {
      const size_t size = pixels.size() / static_cast<size_t>(sequences());
      return {{}, std::span(pixels).subspan(index * size, size)};
    }
    return {
        std::span(token_ids).subspan(cu_lengths[index], cu_lengths[index + 1] - cu_lengths[index]),
        {}};
  }
};

// The error allowed without golden_tolerance. float32: 1e-4 of max(1, |expected|) for each number.
// float16 and bfloat16: 2e-2 of the tensor's largest magnitude, because errors of half precision
// are as large as what a number was summed from. int8: 1e-3, by which the cosine of a sequence's
// vector to the expected one may fall short of 1.
double DefaultGoldenTolerance(DType dtype);

// Reads `spec.directory`/golden.safetensors; nullopt if there is none. INVALID_ARGUMENT names the
// tensor: one that is missing, unknown or not as above, a sequence that is empty, longer than the
// model reads or holds an id outside its vocabulary, images of another size than it reads; more
// than 1,024 sequences, 65,536 tokens or 64 MiB of pixels.
absl::StatusOr<std::optional<GoldenFile>> ReadGolden(const ModelSpec& spec, const ModelInfo& info);

// Compares what the model computed, [k, width], for the k sequences from `first`. DATA_LOSS names
// the sequence and the dimension, what was expected and found, and what to do.
//
// REQUIRES: `tensor` is one of `golden.tensors`.
absl::Status CheckGolden(const GoldenFile& golden, const GoldenTensor& tensor, int64_t first,
                         std::span<const float> found);

}  // namespace contextpool::engine
