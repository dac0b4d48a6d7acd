// What the parity tests share: golden files, and a model that answers batches.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "engine/base/packed_batch.h"
#include "engine/device/arena.h"
#include "engine/device/cpu_device.h"
#include "engine/device/device.h"
#include "engine/model/model.h"
#include "gtest/gtest.h"
#include "tests/unit/engine/model/model_files.h"

namespace contextpool::engine {

using TokenIds = std::vector<int32_t>;
// [height, width, 3]
using Pixels = std::vector<uint8_t>;
using Row = std::vector<float>;

// Throws if the file cannot be read: a test without it is a failed test.
struct Golden {
  std::filesystem::path file;
  // Of a text model: token_ids, cu_lengths.
  std::vector<TokenIds> sequences;
  // Of an image model: pixels.
  std::vector<Pixels> images;

  explicit Golden(const std::filesystem::path& path);

  bool Has(const std::string& tensor) const;
  std::vector<float> Values(const std::string& tensor) const;
  // [inputs, width] as one row per input.
  std::vector<Row> Rows(const std::string& tensor) const;
};

// A way to compute: the same tests run on each.
struct Backend {
  std::string name;
  CpuDeviceOptions options;
};
std::ostream& operator<<(std::ostream& stream, const Backend& backend);

// Every one that this CPU executes: the one that serves, LibTorch's products, plain C++. The last
// is for small models only.
std::vector<Backend> Backends();

// The folders of tests/golden/`folder` in the order of their names.
std::vector<std::string> CheckpointsIn(const std::string& folder);

// What tests of checkpoints are run with, and how they are called.
using CheckpointAndBackend = std::tuple<std::string, Backend>;
std::string CheckpointName(const ::testing::TestParamInfo<CheckpointAndBackend>& info);

// How tensors of golden files call a way to pool embeddings.
const char* NameOf(Pooling pooling);

// What one pass over a batch gave.
struct Answer {
  // One per sequence.
  std::vector<Row> rows;
  // As ModelOutput has them, [context_pool_layers, 2, tokens].
  std::vector<float> context_pool;
  kernels::ContextPoolTiles tiles;
};

// A model loaded through the public path and the device that it lives on.
class TestModel {
 public:
  TestModel(const std::filesystem::path& directory, const Backend& backend);
  TestModel(const std::filesystem::path& directory, std::unique_ptr<Device> device);

  const ModelInfo& info() const { return model_->info(); }

  // One Forward over all inputs side by side; row i belongs to input i. `workspace`: null for a
  // fresh one.
  Answer Ask(std::span<const TokenIds> sequences, std::span<const OutputSpec> outputs,
             Arena* workspace = nullptr) const;
  Answer Ask(std::span<const Pixels> images, std::span<const OutputSpec> outputs,
             Arena* workspace = nullptr) const;
  Arena Workspace(const BatchLimits& limits) const;
  std::vector<Row> RunBatch(std::span<const TokenIds> sequences,
                            std::span<const OutputSpec> outputs) const {
    return Ask(sequences, outputs).rows;
  }

  // The sequences in their order, in batches of at most `token_budget` tokens (at least one
  // sequence each).
  std::vector<Row> Run(std::span<const TokenIds> sequences, const OutputSpec& output,
                       int64_t token_budget) const;

 private:
  Answer Compute(const PackedBatch& batch, Arena* workspace) const;

  std::unique_ptr<Device> device_;
  std::unique_ptr<Model> model_;
};

// The files of a checkpoint in another folder, with NaN for one token's embedding.
void CopyPoisoned(const std::filesystem::path& checkpoint, const TempDirectory& copy,
                  int32_t token);

// Largest |found - wanted| / max(scale_floor, |wanted|). NaN counts as infinite, and so do rows of
// different sizes.
double MaxError(const std::vector<Row>& found, const std::vector<Row>& wanted, double scale_floor);

// Reports the measured figure in the test's XML.
void RecordError(const std::string& what, double error);

}  // namespace contextpool::engine
