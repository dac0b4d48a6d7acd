// What is known about a model: filled when it is loaded, never changed afterwards.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/dtype.h"
#include "engine/base/image_config.h"
#include "engine/base/request.h"

namespace contextpool::engine {

enum class ProblemType : uint8_t { kNone, kSingleLabel, kMultiLabel, kRegression };
enum class ModelState : uint8_t { kLoading, kReady, kFailed, kUnloading };

struct ModelInfo {
  std::string name;
  int64_t version = 1;
  // As the checkpoint calls it, for example "BertForSequenceClassification".
  std::string architecture;
  Modality modality = Modality::kText;
  int32_t layers = 0;
  int32_t embedding_dimensions = 0;
  int32_t vocabulary_size = 0;
  // Tokens of the longest input, special tokens included. Of a model that reads images: tokens that
  // it makes of each, or what takes about as long.
  int32_t max_tokens = 0;
  // How images are made ready; unset for texts.
  std::optional<ImageConfig> image;
  // Rows and columns of the grid that an image's tokens form, those before it aside; 0 for texts.
  int32_t grid_height = 0;
  int32_t grid_width = 0;
  Pooling pooling = Pooling::kMean;
  bool normalize = false;
  // Those that requests may ask for; `pooling` is one of them.
  std::vector<Pooling> poolings = {Pooling::kMean, Pooling::kCls, Pooling::kMax,
                                   Pooling::kLastToken};
  // Both as the checkpoint's own files say, whatever the operator made of them.
  Pooling own_pooling = Pooling::kMean;
  bool own_normalize = false;
  // Empty: no classifier. Regression models have one label per output.
  std::vector<std::string> labels;
  ProblemType problem_type = ProblemType::kNone;
  // Those that can be explained; of a ConvNet the pooling at its end is 1, and no other can.
  std::vector<int32_t> context_pool_layers;
  DType dtype = DType::kF32;
  std::string device;
  // Why the device that would have been chosen does not compute such a model; empty: `device` was
  // the first choice. Set by the engine.
  std::string passed_over;
  int64_t weight_bytes = 0;
  // Tokens that one batch holds at most; set by the engine.
  int32_t batch_token_budget = 0;

  bool classifies() const { return !labels.empty(); }
  bool pools(Pooling how) const {
    return std::find(poolings.begin(), poolings.end(), how) != poolings.end();
  }
};

}  // namespace contextpool::engine
