#include "engine/model/resnet_weights.h"

#include <cmath>
#include <span>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/model/context_pool_weights.h"

namespace contextpool::engine {
namespace {

// What transformers' BatchNorm2d adds to the variance.
constexpr double kBatchNormEps = 1e-5;
constexpr int64_t kReduction = 4;

// A convolution's sizes; as checkpoints hold it, its weight is [out, in, size, size].
struct ConvolutionShape {
  int64_t out = 0;
  int64_t in = 0;
  kernels::Window window;

  int64_t taps() const { return window.size * window.size; }
};

// transformers pads so that a stride of 1 keeps height and width.
ConvolutionShape Square(int64_t out, int64_t in, int64_t size, int64_t stride) {
  return {out, in, {.size = size, .stride = stride, .padding = size / 2}};
}

// Batch normalisation with fixed statistics: y = scale x + shift for each channel.
struct ChannelMap {
  std::vector<double> scale;
  std::vector<double> shift;
};

class Loader {
 public:
  Loader(const ResNetConfig& config, const Checkpoint& checkpoint, Device& device)
      : config_(config), loader_(checkpoint, device) {}

  absl::StatusOr<ResNetWeights> Load() {
    ResNetWeights weights;
    weights.stem = Convolution("embedder.embedder",
                               Square(config_.embedding_size, kernels::kPixelChannels, 7, 2));
    int64_t channels = config_.embedding_size;
    for (size_t i = 0; i < config_.stages.size(); ++i) {
      const ResNetStage& stage = config_.stages[i];
      for (int32_t j = 0; j < stage.depth && ok(); ++j) {
        const bool halves = j == 0 && (i > 0 || config_.downsample_in_first_stage);
        weights.layers.push_back(Layer(absl::StrCat("encoder.stages.", i, ".layers.", j), channels,
                                       stage.channels, halves ? 2 : 1));
        channels = stage.channels;
      }
    }
    weights.stem_pool =
        Pool(ContextPoolPlace::kStem, "embedder.context_pool.", config_.embedding_size);
    weights.final_pool = Pool(ContextPoolPlace::kFinal, "context_pool.", channels);
    if (config_.classifies()) {
      weights.classifier =
          loader_.Linear({.names = {"classifier.1"},
                          .out_columns = static_cast<int64_t>(config_.classifier.labels.size()),
                          .in_columns = channels});
    }
    if (!status_.ok()) return status_;
    if (!loader_.ok()) return loader_.status();
    weights.memory = loader_.TakeMemory();
    return weights;
  }

 private:
  bool ok() const { return status_.ok() && loader_.ok(); }

  ResNetLayer Layer(const std::string& name, int64_t in, int64_t out, int64_t stride) {
    std::vector<ConvolutionShape> shapes;
    if (config_.layer_type == ResNetLayerType::kBasic) {
      shapes = {Square(out, in, 3, stride), Square(out, out, 3, 1)};
    } else {
      const int64_t inner = out / kReduction;
      const bool early = config_.downsample_in_bottleneck;
      shapes = {Square(inner, in, 1, early ? stride : 1),
                Square(inner, inner, 3, early ? 1 : stride), Square(out, inner, 1, 1)};
    }
    ResNetLayer layer;
    for (size_t i = 0; i < shapes.size(); ++i) {
      layer.convolutions.push_back(Convolution(absl::StrCat(name, ".layer.", i), shapes[i]));
    }
    if (in != out || stride != 1) {
      layer.shortcut = Convolution(name + ".shortcut", Square(out, in, 1, stride));
    }
    return layer;
  }

  std::optional<ContextPoolWeights> Pool(ContextPoolPlace place, const std::string& name,
                                         int64_t channels) {
    if (!config_.pools(place)) return std::nullopt;
    return LoadContextPool(loader_, name, channels, config_.context_pool.options);
  }

  // `name`.convolution and the `name`.normalization after it in one.
  ResNetConvolution Convolution(const std::string& name, const ConvolutionShape& shape) {
    const std::vector<float> weight = loader_.Read(
        name + ".convolution.weight", {shape.out, shape.in, shape.window.size, shape.window.size});
    const ChannelMap map = Normalization(name + ".normalization", shape.out);
    if (!ok()) return {};
    // From [out, in, taps] to [out, taps, in].
    std::vector<float> folded(weight.size());
    const int64_t taps = shape.taps();
    for (int64_t o = 0; o < shape.out; ++o) {
      for (int64_t i = 0; i < shape.in; ++i) {
        for (int64_t t = 0; t < taps; ++t) {
          folded[(o * taps + t) * shape.in + i] =
              static_cast<float>(map.scale[o] * weight[(o * shape.in + i) * taps + t]);
        }
      }
    }
    const std::vector<float> bias(map.shift.begin(), map.shift.end());
    return {loader_.Prepare(name, folded, bias, shape.out), shape.window};
  }

  ChannelMap Normalization(const std::string& name, int64_t channels) {
    const std::vector<float> gamma = loader_.Read(name + ".weight", {channels});
    const std::vector<float> beta = loader_.Read(name + ".bias", {channels});
    const std::vector<float> mean = loader_.Read(name + ".running_mean", {channels});
    const std::vector<float> variance = loader_.Read(name + ".running_var", {channels});
    ChannelMap map;
    for (int64_t c = 0; c < channels && ok(); ++c) {
      if (!(variance[c] >= 0)) {
        status_ = absl::InvalidArgumentError(
            absl::StrCat("model.safetensors: the tensor \"", name,
                         ".running_var\" must not be negative, found ", variance[c]));
        return {};
      }
      map.scale.push_back(gamma[c] / std::sqrt(variance[c] + kBatchNormEps));
      map.shift.push_back(beta[c] - mean[c] * map.scale[c]);
    }
    return map;
  }

  const ResNetConfig& config_;
  WeightLoader loader_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<ResNetWeights> LoadResNetWeights(const ResNetConfig& config,
                                                const Checkpoint& checkpoint, Device& device) {
  return Loader(config, checkpoint, device).Load();
}

FeatureShape After(const kernels::Window& window, int64_t channels, const FeatureShape& in) {
  return {kernels::Outputs(window, in.height), kernels::Outputs(window, in.width), channels};
}

FeatureShape After(const ResNetConvolution& convolution, const FeatureShape& in) {
  return After(convolution.window, convolution.weight->out_columns(), in);
}

FeatureShape AfterStem(const ResNetWeights& weights, const FeatureShape& pixels) {
  const FeatureShape stem = After(weights.stem, pixels);
  return After(kStemPool, stem.channels, stem);
}

FeatureShape LastFeatures(const ResNetWeights& weights, const FeatureShape& pixels) {
  FeatureShape shape = AfterStem(weights, pixels);
  for (const ResNetLayer& layer : weights.layers) {
    for (const ResNetConvolution& convolution : layer.convolutions) {
      shape = After(convolution, shape);
    }
  }
  return shape;
}

}  // namespace contextpool::engine
