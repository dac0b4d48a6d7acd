// ContextPool on grids, from its tensors in a checkpoint to its output, against PyTorch in double
// precision: every option, prefix tokens, and in place of a ConvNet's pooling layers.

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <tuple>
#include <vector>

#include "engine/device/arena.h"
#include "engine/model/checkpoint.h"
#include "engine/model/context_pool_config.h"
#include "engine/model/context_pool_weights.h"
#include "gtest/gtest.h"
#include "tests/parity/parity.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;

constexpr double kTolerance = 1e-4;

std::filesystem::path Folder() { return GoldenFolder() / "context_pool_grid"; }

std::vector<std::string> Cases() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(Folder())) {
    names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// What ContextPool chose and made of the case's images.
struct Found {
  Row log_weight, size, out;
};

using Param = std::tuple<std::string, Backend>;

class ContextPoolGridParityTest : public ::testing::TestWithParam<Param> {
 protected:
  ContextPoolGridParityTest()
      : directory_(Folder() / std::get<0>(GetParam())),
        case_(json::parse(ReadFileForTest(directory_ / "config.json"))),
        checkpoint_(*Checkpoint::Open(directory_)),
        device_(*CreateCpuDevice(std::get<1>(GetParam()).options)) {
    const int32_t width = case_["grid"][1];
    options_ = ParseContextPool(case_["context_pool"], {.layers = 2,
                                                        .prefix_tokens = case_["prefix"],
                                                        .grid_width = width,
                                                        .convnet = !case_["replaces"].is_null()})
                   ->options;
    SetOutputs(case_["grid"][0], width);
  }

  int64_t images() const { return case_["images"]; }
  int64_t tokens_of_image() const {
    return case_["grid"][0].get<int64_t>() * options_.grid_width + options_.prefix;
  }
  int64_t outputs_of_image() const {
    return options_.outputs.rows > 0 ? options_.outputs.count() : tokens_of_image();
  }

  Row Golden(const std::string& name) const {
    return *checkpoint_.Read(name, *checkpoint_.Shape(name));
  }

  // Of images [first, last) as one batch.
  Found Run(int64_t first, int64_t last) {
    const int64_t length = tokens_of_image();
    const int64_t tokens = (last - first) * length;
    Row x = Golden("x");
    const int64_t columns = static_cast<int64_t>(x.size()) / (images() * length);
    std::vector<int32_t> cu_lengths;
    for (int64_t i = 0; i <= last - first; ++i) {
      cu_lengths.push_back(static_cast<int32_t>(i * length));
    }
    WeightLoader loader(checkpoint_, *device_);
    const ContextPoolWeights weights = LoadContextPool(loader, "context_pool.", columns, options_);
    EXPECT_TRUE(loader.ok()) << loader.status();
    const WeightMemory memory = loader.TakeMemory();

    const Sequences sequences = {
        TensorView(cu_lengths.data(), DType::kI32, {static_cast<int64_t>(cu_lengths.size())}),
        length};
    const TensorView input(x.data() + first * length * columns, DType::kF32, {tokens, columns});
    Row taps(tokens * (weights.conv1 == nullptr ? 0 : weights.conv1->out_columns()));
    TensorView taps_view;
    if (weights.conv1 != nullptr) {
      taps_view = TensorView(taps.data(), DType::kF32, {tokens, weights.conv1->out_columns()});
      device_->Linear(input, *weights.conv1, kernels::Activation::kNone, taps_view);
    }
    Row support(2 * tokens);
    const TensorView support_view(support.data(), DType::kF32, {2, tokens});
    device_->ContextPoolSupport(taps_view, sequences, options_, weights, support_view);
    Arena arena = *Arena::Create(*device_, device_->ContextPoolWorkspaceBytes(length, columns));
    const auto bytes = static_cast<int64_t>(arena.capacity());
    Found found;
    found.out.resize((last - first) * outputs_of_image() * columns);
    const TensorView out(found.out.data(), DType::kF32,
                         {(last - first) * outputs_of_image(), columns});
    kernels::ContextPoolTiles tiles;
    device_->ContextPool(input, support_view, sequences, options_, weights,
                         arena.Tensor(DType::kU8, {bytes}), &tiles, out);
    EXPECT_TRUE(device_->Synchronize().ok());
    found.log_weight = {support.begin(), support.begin() + tokens};
    found.size = {support.begin() + tokens, support.end()};
    return found;
  }

 private:
  void SetOutputs(int64_t rows, int64_t columns) {
    const json& layer = case_["replaces"];
    if (layer == "mean") options_.outputs = kernels::InPlaceOfMean(rows, columns);
    if (!layer.is_object()) return;
    options_.outputs = kernels::InPlaceOf(
        {.size = layer["window"], .stride = layer["stride"], .padding = layer["padding"]}, rows,
        columns);
  }

  const std::filesystem::path directory_;
  const json case_;
  const Checkpoint checkpoint_;
  const std::unique_ptr<Device> device_;
  ContextPoolOptions options_;
};

TEST_P(ContextPoolGridParityTest, EqualsPyTorch) {
  const Found found = Run(0, images());
  const double error = MaxError({found.out}, {Golden("out")}, 1);
  RecordError("out", error);
  EXPECT_LT(error, kTolerance);

  // Logarithms, relative to the largest: what is summed up to them is as large.
  const Row weight = Golden("weight");
  double scale = 1;
  for (float w : weight) scale = std::max(scale, w > 0 ? std::abs(std::log2(double{w})) : 0);
  ASSERT_EQ(found.log_weight.size(), weight.size());
  for (size_t i = 0; i < weight.size(); ++i) {
    if (weight[i] == 0) {
      EXPECT_EQ(found.log_weight[i], -INFINITY) << "token " << i << " is passed through";
    } else {
      EXPECT_NEAR(found.log_weight[i], std::log2(weight[i]), kTolerance * scale) << i;
    }
  }
  EXPECT_LT(MaxError({found.size}, {Golden("size")}, 1), kTolerance);
}

TEST_P(ContextPoolGridParityTest, AnImageAloneEqualsItselfInABatch) {
  const Found both = Run(0, 2);
  const Found second = Run(1, 2);
  const auto half = static_cast<ptrdiff_t>(both.out.size() / 2);
  const double error = MaxError({second.out}, {Row(both.out.begin() + half, both.out.end())}, 1);
  // LibTorch's products depend on how many rows they have.
  const bool torch = std::get<1>(GetParam()).options.gemm == CpuGemm::kLibTorch;
  EXPECT_LE(error, torch ? 1e-5 : 0);
}

INSTANTIATE_TEST_SUITE_P(All, ContextPoolGridParityTest,
                         ::testing::Combine(::testing::ValuesIn(Cases()),
                                            ::testing::ValuesIn(Backends())),
                         [](const ::testing::TestParamInfo<Param>& info) {
                           return std::get<0>(info.param) + "_" + std::get<1>(info.param).name;
                         });

}  // namespace
}  // namespace contextpool::engine
