#include "engine/model/context_pool_weights.h"

#include <algorithm>
#include <vector>

namespace contextpool::engine {
namespace {

// A convolution's weights [out, in, k] or, on a grid, [out, in, k, k] as [taps, out, in].
std::vector<float> TapsFirst(WeightLoader& loader, const std::string& name, int64_t out, int64_t in,
                             const ContextPoolOptions& options) {
  TensorShape shape = {out, in, options.kernel_size};
  if (options.grid_width > 0) shape.push_back(options.kernel_size);
  const std::vector<float> values = loader.Read(name, shape);
  const int64_t taps = options.taps();
  const int64_t size = static_cast<int64_t>(values.size()) / taps;  // of one tap
  std::vector<float> turned(values.size());
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t t = 0; t < taps; ++t) turned[t * size + i] = values[i * taps + t];
  }
  return turned;
}

// All taps below each other as one linear layer; a sum over the taps takes the bias once, from the
// middle one.
std::unique_ptr<LinearWeight> FirstConvolution(WeightLoader& loader, const std::string& name,
                                               int64_t columns, const ContextPoolOptions& options) {
  const int64_t bottleneck = options.bottleneck;
  const int64_t taps = options.taps();
  const std::vector<float> weight =
      TapsFirst(loader, name + ".weight", bottleneck, columns, options);
  const std::vector<float> bias = loader.Read(name + ".bias", {bottleneck});
  if (!loader.ok()) return nullptr;
  std::vector<float> biases(taps * bottleneck);
  std::copy(bias.begin(), bias.end(), biases.begin() + taps / 2 * bottleneck);
  return loader.Prepare(name, weight, biases, taps * bottleneck);
}

}  // namespace

ContextPoolWeights LoadContextPool(WeightLoader& loader, const std::string& name, int64_t columns,
                                   const ContextPoolOptions& options) {
  ContextPoolWeights weights;
  if (options.learned()) {
    const int64_t bottleneck = options.bottleneck;
    const std::string conv2 = name + "conv2";
    weights.conv1 = FirstConvolution(loader, name + "conv1", columns, options);
    weights.conv2_weight = loader.Upload(
        conv2 + ".weight", TapsFirst(loader, conv2 + ".weight", 2, bottleneck, options),
        {options.taps(), 2, bottleneck}, DType::kF32);
    weights.conv2_bias =
        loader.Upload(conv2 + ".bias", loader.Read(conv2 + ".bias", {2}), {2}, DType::kF32);
  }
  if (options.residual == kernels::PoolResidual::kGate) {
    const std::vector<float> gamma = loader.Read(name + "gamma", {1});
    if (loader.ok()) weights.gate = gamma[0];
  }
  return weights;
}

}  // namespace contextpool::engine
