#include "engine/model/resnet.h"

#include <algorithm>
#include <utility>

#include "engine/model/context_pool_layer.h"

namespace contextpool::engine {
namespace {

// Feature maps of images that are computed together: enough rows for the products, little enough
// for the caches.
constexpr int64_t kGroupBytes = 64 << 20;

TensorView MapView(void* data, int64_t images, const FeatureShape& shape) {
  return TensorView(data, DType::kF32, {images, shape.height, shape.width, shape.channels});
}

FeatureShape ShapeOf(const TensorView& map) { return {map.shape[1], map.shape[2], map.shape[3]}; }

size_t MapBytes(int64_t images, const FeatureShape& shape) {
  return Arena::Padded(MapView(nullptr, images, shape).bytes());
}

TensorView NewMap(int64_t images, const FeatureShape& shape, Arena& workspace) {
  return MapView(workspace.Allocate(MapBytes(images, shape)), images, shape);
}

FeatureShape PixelShape(const ImageConfig& image) {
  return {image.size.height, image.size.width, kernels::kPixelChannels};
}

// [positions of all images, channels].
TensorView Positions(const TensorView& map) {
  return TensorView(map.data, DType::kF32,
                    {map.shape[0] * map.shape[1] * map.shape[2], map.shape[3]});
}

// Moves the weights out of their place.
std::optional<FeaturePool> MakePool(std::optional<ContextPoolWeights>& weights,
                                    ContextPoolOptions options, const FeatureShape& map,
                                    const kernels::PoolOutputs& outputs, int64_t expected_images,
                                    Device& device) {
  if (!weights.has_value()) return std::nullopt;
  options.grid_width = static_cast<int32_t>(map.width);
  options.outputs = outputs;
  return std::optional<FeaturePool>(std::in_place, options, *std::move(weights), map.positions(),
                                    map.channels, expected_images, device);
}

std::optional<FeaturePool> MakeStemPool(ResNetWeights& weights, const ContextPoolOptions& options,
                                        const ImageConfig& image, int64_t expected_images,
                                        Device& device) {
  const FeatureShape map = After(weights.stem, PixelShape(image));
  return MakePool(weights.stem_pool, options, map,
                  kernels::InPlaceOf(kStemPool, map.height, map.width), expected_images, device);
}

size_t LargestConvolution(const ResNetWeights& weights, const Device& device) {
  size_t largest = device.ConvolutionWorkspaceBytes(*weights.stem.weight);
  const auto see = [&](const ResNetConvolution& convolution) {
    largest = std::max(largest, device.ConvolutionWorkspaceBytes(*convolution.weight));
  };
  for (const ResNetLayer& layer : weights.layers) {
    for (const ResNetConvolution& convolution : layer.convolutions) see(convolution);
    if (layer.shortcut.has_value()) see(*layer.shortcut);
  }
  return Arena::Padded(largest);
}

}  // namespace

// Bytes of workspace that some images need on their way through the layers.
struct ResNetModel::Footprint {
  size_t pixels = 0;
  // Of each of the two maps that layers read from and write to.
  size_t map = 0;
  // What the stem or a layer computes in between.
  size_t step = 0;

  size_t total() const { return pixels + 2 * map + step; }
};

// A group of images on its way through the layers. Each step reads `hidden`; most write to `next`.
struct ResNetModel::State {
  int64_t images = 0;
  TensorView hidden;
  void* next = nullptr;
  // Workspace of one convolution at a time.
  TensorView scratch;
};

ResNetModel::ResNetModel(ModelInfo info, const ContextPoolOptions& pools, ResNetWeights weights,
                         int64_t expected_images, Device& device)
    : info_(std::move(info)),
      device_(device),
      last_(LastFeatures(weights, PixelShape(*info_.image))),
      stem_pool_(MakeStemPool(weights, pools, *info_.image, expected_images, device)),
      final_pool_(MakePool(weights.final_pool, pools, last_,
                           kernels::InPlaceOfMean(last_.height, last_.width), expected_images,
                           device)),
      weights_(std::move(weights)),
      convolution_bytes_(LargestConvolution(weights_, device)),
      group_(GroupSize()),
      readout_({.hidden_size = last_.channels, .classifier = {{0, Pooling::kMean}}},
               expected_images, device) {
  rows_.reserve(expected_images + 1);
}

ResNetModel::Footprint ResNetModel::FootprintOf(int64_t images) const {
  const FeatureShape pixels = PixelShape(*info_.image);
  const FeatureShape stem = After(weights_.stem, pixels);
  FeatureShape shape = AfterStem(weights_, pixels);
  Footprint footprint = {.pixels = Arena::Padded(images * info_.image->bytes()),
                         .map = MapBytes(images, shape),
                         .step = MapBytes(images, stem)};
  if (stem_pool_.has_value()) {
    footprint.step +=
        Arena::FloatBytes(2, images * stem.positions()) + stem_pool_->WorkspaceBytes(images);
  }
  for (const ResNetLayer& layer : weights_.layers) {
    size_t step = layer.shortcut.has_value() ? MapBytes(images, After(*layer.shortcut, shape)) : 0;
    for (const ResNetConvolution& convolution : layer.convolutions) {
      shape = After(convolution, shape);
      if (&convolution != &layer.convolutions.back()) step += MapBytes(images, shape);
    }
    footprint.step = std::max(footprint.step, step);
    footprint.map = std::max(footprint.map, MapBytes(images, shape));
  }
  return footprint;
}

int64_t ResNetModel::GroupSize() const {
  return std::max<int64_t>(1, kGroupBytes / static_cast<int64_t>(FootprintOf(1).total()));
}

size_t ResNetModel::WorkspaceBytes(const BatchLimits& limits) const {
  const int64_t images = std::min(limits.sequences, limits.tokens / last_.positions());
  size_t final_bytes = 0;
  if (final_pool_.has_value()) {
    final_bytes = Arena::FloatBytes(2, images * last_.positions()) +
                  Arena::Padded(sizeof(kernels::ContextPoolTiles)) +
                  Arena::FloatBytes(images, last_.channels) + final_pool_->WorkspaceBytes(images);
  }
  return MapBytes(images, last_) + final_bytes + convolution_bytes_ +
         FootprintOf(std::min(group_, images)).total() + readout_.WorkspaceBytes(images) +
         Arena::FloatBytes(images, static_cast<int64_t>(info_.labels.size()));
}

void ResNetModel::RunStem(std::span<const uint8_t> pixels, State& state, Arena& workspace) const {
  const ImageConfig& image = *info_.image;
  const size_t mark = workspace.used();
  const TensorView input = workspace.Tensor(
      DType::kU8, {state.images, image.size.height, image.size.width, kernels::kPixelChannels});
  device_.CopyToDevice(input.data, pixels.data(), pixels.size());
  const FeatureShape shape = After(weights_.stem, PixelShape(image));
  const TensorView features = NewMap(state.images, shape, workspace);
  device_.PixelConvolution(input, {image.scale(), image.offset()}, *weights_.stem.weight,
                           {weights_.stem.window, kernels::Activation::kRelu}, state.scratch,
                           features);
  state.hidden = MapView(state.hidden.data, state.images, After(kStemPool, shape.channels, shape));
  if (stem_pool_.has_value()) {
    const TensorView support = workspace.Tensor(DType::kF32, {2, state.images * shape.positions()});
    stem_pool_->Run(Positions(features), support, nullptr, Positions(state.hidden), workspace);
  } else {
    device_.MaxPool(features, kStemPool, state.hidden);
  }
  workspace.Rewind(mark);
}

void ResNetModel::RunLayer(const ResNetLayer& layer, void* out, State& state,
                           Arena& workspace) const {
  const auto convolve = [&](const TensorView& x, const ResNetConvolution& convolution,
                            kernels::Activation activation, const TensorView& residual,
                            const TensorView& to) {
    device_.Convolution(x, *convolution.weight, {convolution.window, activation}, residual,
                        state.scratch, to);
  };
  const size_t mark = workspace.used();
  TensorView residual = state.hidden;
  if (layer.shortcut.has_value()) {
    residual = NewMap(state.images, After(*layer.shortcut, ShapeOf(state.hidden)), workspace);
    convolve(state.hidden, *layer.shortcut, kernels::Activation::kNone, {}, residual);
  }
  TensorView x = state.hidden;
  for (const ResNetConvolution& convolution : layer.convolutions) {
    const FeatureShape shape = After(convolution, ShapeOf(x));
    const bool last = &convolution == &layer.convolutions.back();
    const TensorView to =
        last ? MapView(out, state.images, shape) : NewMap(state.images, shape, workspace);
    convolve(x, convolution, kernels::Activation::kRelu, last ? residual : TensorView(), to);
    x = to;
  }
  workspace.Rewind(mark);
  state.next = state.hidden.data;
  state.hidden = x;
}

// The last layer writes to `features`.
void ResNetModel::RunGroup(std::span<const uint8_t> pixels, int64_t images, void* features,
                           Arena& workspace) const {
  const size_t mark = workspace.used();
  const size_t map = FootprintOf(images).map;
  State state;
  state.images = images;
  state.scratch = workspace.Tensor(DType::kU8, {static_cast<int64_t>(convolution_bytes_)});
  state.hidden.data = workspace.Allocate(map);
  state.next = workspace.Allocate(map);
  RunStem(pixels, state, workspace);
  for (const ResNetLayer& layer : weights_.layers) {
    const bool last = &layer == &weights_.layers.back();
    RunLayer(layer, last ? features : state.next, state, workspace);
  }
  workspace.Rewind(mark);
}

// The last feature maps of all images, [images * positions, channels].
TensorView ResNetModel::RunImages(std::span<const uint8_t> pixels, int64_t images,
                                  Arena& workspace) const {
  const TensorView features =
      workspace.Tensor(DType::kF32, {images * last_.positions(), last_.channels});
  const int64_t bytes = info_.image->bytes();
  for (int64_t first = 0; first < images; first += group_) {
    const int64_t count = std::min(group_, images - first);
    RunGroup(pixels.subspan(first * bytes, count * bytes), count,
             features.as<float>() + first * last_.positions() * last_.channels, workspace);
  }
  return features;
}

// One row for each image in place of its last feature map.
TensorView ResNetModel::PoolFinal(const TensorView& hidden, ModelOutput& output,
                                  Arena& workspace) const {
  const int64_t tokens = hidden.shape[0];
  output.context_pool = workspace.Tensor(DType::kF32, {1, 2, tokens});
  kernels::ContextPoolTiles* tiles = NewContextPoolTiles(device_, workspace);
  output.context_pool_tiles = tiles;
  const TensorView rows =
      workspace.Tensor(DType::kF32, {tokens / last_.positions(), last_.channels});
  final_pool_->Run(hidden, TensorView(output.context_pool.data, DType::kF32, {2, tokens}), tiles,
                   rows, workspace);
  return rows;
}

absl::StatusOr<ModelOutput> ResNetModel::Forward(const PackedBatch& batch, Arena& workspace) const {
  if (absl::Status status = CheckForward(*this, batch, workspace); !status.ok()) return status;
  PackedBatch read = batch;
  if (final_pool_.has_value()) {
    while (static_cast<int32_t>(rows_.size()) <= batch.sequences()) {
      rows_.push_back(static_cast<int32_t>(rows_.size()));
    }
    read.cu_lengths = std::span(rows_).first(batch.sequences() + 1);
  }
  const ReadoutSegments segments = readout_.CopySegments(read, workspace);
  TensorView hidden = RunImages(batch.pixels, batch.sequences(), workspace);
  ModelOutput output;
  if (final_pool_.has_value()) hidden = PoolFinal(hidden, output, workspace);
  output.embeddings = readout_.Embeddings(segments, hidden, workspace);
  if (segments.classified > 0) {
    output.logits = readout_.Logits(segments, hidden, *weights_.classifier, workspace);
  }
  return output;
}

}  // namespace contextpool::engine
