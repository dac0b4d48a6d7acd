// From a checkpoint's tensors to a device's weights.

#include <span>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/model/bert.h"

namespace contextpool::engine {
namespace {

// Reads tensors one by one into the same host memory and hands them to the device. After the first
// error it does nothing more.
class Loader {
 public:
  Loader(const EncoderConfig& config, const Checkpoint& checkpoint, Device& device)
      : config_(config), checkpoint_(checkpoint), device_(device) {}

  absl::StatusOr<BertWeights> Load() {
    const int64_t hidden = config_.hidden_size;
    EmbeddingTables& tables = weights_.embeddings;
    tables.words = Table("embeddings.word_embeddings.weight", config_.vocabulary_size,
                         config_.vocabulary_size);
    tables.positions = Table("embeddings.position_embeddings.weight", config_.max_positions,
                             config_.max_positions);
    // Every token is of type 0.
    tables.token_type = Table("embeddings.token_type_embeddings.weight", config_.token_types, 1);
    tables.norm = Norm("embeddings.LayerNorm");
    for (int32_t i = 0; i < config_.layers && status_.ok(); ++i) {
      weights_.layers.push_back(Layer(absl::StrCat("encoder.layer.", i, ".")));
    }
    for (int32_t i : config_.context_pool.layers) {
      if (status_.ok()) {
        weights_.layers[i].context_pool =
            ContextPool(absl::StrCat("encoder.layer.", i, ".context_pool."));
      }
    }
    if (config_.classifies()) {
      weights_.pooler = Linear({"pooler.dense"}, hidden, hidden);
      weights_.classifier =
          Linear({"classifier"}, static_cast<int64_t>(config_.labels.size()), hidden);
    }
    if (!status_.ok()) return status_;
    return std::move(weights_);
  }

 private:
  BertLayer Layer(const std::string& name) {
    const int64_t hidden = config_.hidden_size;
    const std::string attention = name + "attention.self.";
    BertLayer layer;
    layer.qkv =
        Linear({attention + "query", attention + "key", attention + "value"}, hidden, hidden);
    layer.attention_output = Linear({name + "attention.output.dense"}, hidden, hidden);
    layer.attention_norm = Norm(name + "attention.output.LayerNorm");
    layer.intermediate = Linear({name + "intermediate.dense"}, config_.intermediate_size, hidden);
    layer.output = Linear({name + "output.dense"}, hidden, config_.intermediate_size);
    layer.output_norm = Norm(name + "output.LayerNorm");
    return layer;
  }

  // The layers `names`, [out, in] each, one below the other.
  std::unique_ptr<LinearWeight> Linear(const std::vector<std::string>& names, int64_t out,
                                       int64_t in) {
    for (const std::string& name : names) {
      Expect(name + ".weight", {out, in});
      Expect(name + ".bias", {out});
    }
    if (!status_.ok()) return nullptr;
    const int64_t rows = out * static_cast<int64_t>(names.size());
    scratch_.resize(rows * in + rows);
    const std::span<float> weight = std::span(scratch_).first(rows * in);
    const std::span<float> bias = std::span(scratch_).last(rows);
    for (size_t i = 0; i < names.size(); ++i) {
      Read(names[i] + ".weight", {out, in}, weight.subspan(i * out * in, out * in));
      Read(names[i] + ".bias", {out}, bias.subspan(i * out, out));
    }
    return Prepare(names[0], weight, bias);
  }

  std::unique_ptr<LinearWeight> Prepare(const std::string& name, std::span<const float> weight,
                                        std::span<const float> bias) {
    if (!status_.ok()) return nullptr;
    absl::StatusOr<std::unique_ptr<LinearWeight>> linear =
        device_.PrepareLinear(weight, bias, static_cast<int64_t>(bias.size()));
    if (!linear.ok()) {
      Fail(name, linear.status());
      return nullptr;
    }
    weights_.bytes += static_cast<int64_t>((*linear)->bytes());
    return *std::move(linear);
  }

  ContextPoolWeights ContextPool(const std::string& name) {
    const ContextPoolOptions& options = config_.context_pool.options;
    ContextPoolWeights weights;
    if (options.learned()) {
      weights.conv1 = FirstConvolution(name + "conv1", options);
      SecondConvolution(name + "conv2", options, weights);
    }
    if (options.residual == kernels::PoolResidual::kGate) {
      Read(name + "gamma", {1}, std::span(&weights.gate, 1));
    }
    return weights;
  }

  // All taps below each other as one linear layer; a sum over the taps takes the bias once, from
  // the middle one.
  std::unique_ptr<LinearWeight> FirstConvolution(const std::string& name,
                                                 const ContextPoolOptions& options) {
    const int64_t bottleneck = options.bottleneck;
    const std::vector<float> taps =
        TapsFirst(name + ".weight", {bottleneck, config_.hidden_size, options.kernel_size});
    Expect(name + ".bias", {bottleneck});
    if (!status_.ok()) return nullptr;
    std::vector<float> bias(options.kernel_size * bottleneck);
    Read(name + ".bias", {bottleneck},
         std::span(bias).subspan(options.kernel_size / 2 * bottleneck, bottleneck));
    return Prepare(name, taps, bias);
  }

  void SecondConvolution(const std::string& name, const ContextPoolOptions& options,
                         ContextPoolWeights& weights) {
    const int64_t kernel = options.kernel_size;
    const int64_t bottleneck = options.bottleneck;
    const std::vector<float> taps = TapsFirst(name + ".weight", {2, bottleneck, kernel});
    weights.conv2_weight = ToDevice(name + ".weight", taps, {kernel, 2, bottleneck});
    weights.conv2_bias = Upload(name + ".bias", {2}, {2}, 2);
  }

  // A convolution's [out, in, kernel] as [kernel, out, in].
  std::vector<float> TapsFirst(const std::string& name, const TensorShape& shape) {
    Expect(name, shape);
    if (!status_.ok()) return {};
    const int64_t kernel = shape[2];
    const int64_t tap = shape[0] * shape[1];
    scratch_.resize(tap * kernel);
    Read(name, shape, scratch_);
    std::vector<float> taps(scratch_.size());
    for (int64_t i = 0; i < tap; ++i) {
      for (int64_t t = 0; t < kernel; ++t) taps[t * tap + i] = scratch_[i * kernel + t];
    }
    return taps;
  }

  LayerNormWeights Norm(const std::string& name) {
    return {.gamma = Vector(name + ".weight"),
            .beta = Vector(name + ".bias"),
            .eps = config_.layer_norm_eps};
  }

  TensorView Vector(const std::string& name) {
    const int64_t hidden = config_.hidden_size;
    return Upload(name, {hidden}, {hidden}, hidden);
  }

  // The first `kept` of the `rows` rows of [rows, hidden].
  TensorView Table(const std::string& name, int64_t rows, int64_t kept) {
    const int64_t hidden = config_.hidden_size;
    return Upload(name, {rows, hidden}, {kept, hidden}, kept * hidden);
  }

  TensorView Upload(const std::string& name, const TensorShape& shape,
                    std::initializer_list<int64_t> kept_shape, int64_t kept) {
    Expect(name, shape);
    if (!status_.ok()) return {};
    int64_t elements = 1;
    for (int64_t size : shape) elements *= size;
    scratch_.resize(elements);
    Read(name, shape, scratch_);
    return ToDevice(name, std::span(scratch_).first(kept), kept_shape);
  }

  TensorView ToDevice(const std::string& name, std::span<const float> values,
                      std::initializer_list<int64_t> shape) {
    if (!status_.ok()) return {};
    absl::StatusOr<DeviceBuffer> buffer = device_.Allocate(values.size_bytes());
    if (!buffer.ok()) {
      Fail(name, buffer.status());
      return {};
    }
    status_.Update(device_.Upload(buffer->data(), values.data(), values.size_bytes()));
    weights_.bytes += static_cast<int64_t>(values.size_bytes());
    weights_.memory.push_back(*std::move(buffer));
    return TensorView(weights_.memory.back().data(), DType::kF32, shape);
  }

  void Expect(const std::string& name, const TensorShape& shape) {
    if (status_.ok()) status_ = checkpoint_.Check(name, shape);
  }
  void Read(const std::string& name, const TensorShape& shape, std::span<float> out) {
    if (status_.ok()) status_ = checkpoint_.ReadInto(name, shape, out);
  }
  void Fail(const std::string& name, const absl::Status& status) {
    status_.Update(absl::Status(status.code(), absl::StrCat(name, ": ", status.message())));
  }

  const EncoderConfig& config_;
  const Checkpoint& checkpoint_;
  Device& device_;
  std::vector<float> scratch_;
  BertWeights weights_;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<BertWeights> LoadBertWeights(const EncoderConfig& config,
                                            const Checkpoint& checkpoint, Device& device) {
  return Loader(config, checkpoint, device).Load();
}

}  // namespace contextpool::engine
