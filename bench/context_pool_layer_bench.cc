// What ContextPool adds to the time of a BERT layer, through the engine's device, on random data.
//
//   context_pool_layer_bench [--threads=N] [--columns=D] [--rounds=N] [--cpu_time] LENGTH...
//
// Every round times, for each support size one after the other, the plain layer, the network that
// predicts weights and sizes, the pooling, and the layer with both. Prints a Markdown table of what
// they add to the plain layer's time (medians of ratios), beside what they add to its FLOPs.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/numbers.h"
#include "engine/device/arena.h"
#include "engine/device/cpu_count.h"
#include "engine/device/cpu_device.h"
#include "engine/device/device.h"

ABSL_FLAG(int32_t, threads, 0, "Threads that compute; 0: as many as the process may use.");
ABSL_FLAG(int32_t, columns, 384, "Width of the layer; its heads have 32 columns.");
ABSL_FLAG(int32_t, tokens, 2048, "Tokens of a batch.");
ABSL_FLAG(int32_t, rounds, 15, "Times that everything is measured.");
ABSL_FLAG(bool, cpu_time, false, "Processor time, all threads together: for a busy machine.");

namespace contextpool::engine {
namespace {

constexpr int32_t kHeadSize = 32;

// Unwraps or ends the program.
template <typename T>
T Get(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  std::exit(1);
}

double Now() {
  timespec now;
  clock_gettime(absl::GetFlag(FLAGS_cpu_time) ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

class Layer {
 public:
  Layer(Device& device, int64_t columns, int64_t length)
      : device_(device),
        columns_(columns),
        length_(length),
        tokens_(absl::GetFlag(FLAGS_tokens) / length * length),
        arena_(Get(Arena::Create(device, Bytes()))) {
    qkv_ = MakeLinear(3 * columns, columns);
    attended_ = MakeLinear(columns, columns);
    inner_ = MakeLinear(4 * columns, columns);
    outer_ = MakeLinear(columns, 4 * columns);
    norm_ = {Upload(std::vector<float>(columns, 1)), Upload(std::vector<float>(columns, 0)),
             1e-12f};
    pool_.conv1 = MakeLinear(options_.kernel_size * options_.bottleneck, columns);
    x_ = Upload(Random(tokens_ * columns, 1));
    x_ = TensorView(x_.data, DType::kF32, {tokens_, columns});
    std::vector<int32_t> cu_lengths;
    for (int64_t i = 0; i <= tokens_; i += length) cu_lengths.push_back(static_cast<int32_t>(i));
    sequences_.cu_lengths = arena_.Tensor(DType::kI32, {static_cast<int64_t>(cu_lengths.size())});
    device.CopyToDevice(sequences_.cu_lengths.data, cu_lengths.data(),
                        cu_lengths.size() * sizeof(int32_t));
    sequences_.max_length = length;
    next_ = arena_.Tensor(DType::kF32, {tokens_, columns});
    pooled_ = arena_.Tensor(DType::kF32, {tokens_, columns});
    out_ = arena_.Tensor(DType::kF32, {tokens_, columns});
    wide_ = arena_.Tensor(DType::kF32, {tokens_, 4 * columns});
    taps_ = arena_.Tensor(DType::kF32, {tokens_, pool_.conv1->out_columns()});
    support_ = arena_.Tensor(DType::kF32, {2, tokens_});
    scratch_ = arena_.Tensor(DType::kU8, {static_cast<int64_t>(Scratch())});
    tiles_ = static_cast<kernels::ContextPoolTiles*>(arena_.Allocate(sizeof(*tiles_)));
    *tiles_ = {};
    pool_.conv2_weight = Upload(Random(options_.kernel_size * 2 * options_.bottleneck, 0.1f));
    pool_.conv2_bias = Upload({0, 0});
  }

  int64_t tokens() const { return tokens_; }
  int64_t length() const { return length_; }
  // Since SetSize, as a share.
  double ComputedTiles() const {
    return static_cast<double>(tiles_->computed) /
           static_cast<double>(tiles_->computed + tiles_->skipped);
  }
  double LargestSize() const { return options_.r * static_cast<float>(length_); }

  // Makes sizes that vary a little around `size` tokens.
  void SetSize(double size) {
    const double s = std::min(size / LargestSize(), 1 - 1e-6);
    const float bias[] = {-1.5f, static_cast<float>(std::log(s / (1 - s)))};
    device_.CopyToDevice(pool_.conv2_bias.data, bias, sizeof(bias));
    *tiles_ = {};
  }

  // What the plain layer takes, its ContextPool's network, and the pooling itself.
  double Time(bool attends, bool predicts, bool pools) {
    const double begin = Now();
    if (attends) Attend();
    if (predicts) Predict();
    if (pools) {
      device_.ContextPool(next_, support_, sequences_, options_, pool_, scratch_, tiles_, pooled_);
    }
    if (attends) FeedForward(pools ? pooled_ : next_);
    if (const absl::Status status = device_.Synchronize(); !status.ok()) {
      std::fprintf(stderr, "%s\n", status.ToString().c_str());
      std::exit(1);
    }
    return Now() - begin;
  }

  // FLOPs of a token.
  double LayerFlops() const {
    return static_cast<double>(columns_ * (24 * columns_ + 4 * length_));
  }
  double NetworkFlops() const {
    return static_cast<double>(options_.kernel_size * options_.bottleneck * (2 * columns_ + 4));
  }
  double PoolFlops() const { return static_cast<double>(2 * length_ * columns_); }

 private:
  AttentionShape Heads() const { return {columns_ / kHeadSize, kHeadSize}; }

  size_t Scratch() const {
    return std::max(device_.AttentionWorkspaceBytes(length_, Heads()),
                    device_.ContextPoolWorkspaceBytes(length_, columns_));
  }

  size_t Bytes() const { return tokens_ * columns_ * 12 * sizeof(float) + Scratch() + (1 << 20); }

  std::vector<float> Random(int64_t size, float scale) {
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> values(size);
    for (float& value : values) value = normal(random_);
    return values;
  }

  std::unique_ptr<LinearWeight> MakeLinear(int64_t out, int64_t in) {
    return Get(device_.PrepareLinear(Random(out * in, 1 / std::sqrt(static_cast<float>(in))),
                                     Random(out, 0.1f), out));
  }

  TensorView Upload(const std::vector<float>& values) {
    uploads_.push_back(Get(device_.Allocate(values.size() * sizeof(float))));
    void* data = uploads_.back().data();
    if (!device_.Upload(data, values.data(), values.size() * sizeof(float)).ok()) std::exit(1);
    return {data, DType::kF32, {static_cast<int64_t>(values.size())}};
  }

  void Attend() {
    const TensorView qkv(wide_.data, DType::kF32, {tokens_, 3 * columns_});
    device_.Linear(x_, *qkv_, kernels::Activation::kNone, qkv);
    device_.Attention(qkv, sequences_, Heads(), scratch_, out_);
    device_.LinearResidualLayerNorm(out_, *attended_, x_, norm_, next_);
  }

  void Predict() {
    device_.Linear(next_, *pool_.conv1, kernels::Activation::kNone, taps_);
    device_.ContextPoolSupport(taps_, sequences_, options_, pool_, support_);
  }

  void FeedForward(const TensorView& from) {
    device_.Linear(from, *inner_, kernels::Activation::kGelu, wide_);
    device_.LinearResidualLayerNorm(wide_, *outer_, from, norm_, out_);
  }

  Device& device_;
  int64_t columns_, length_, tokens_;
  std::mt19937 random_{5};
  ContextPoolOptions options_;
  ContextPoolWeights pool_;
  std::unique_ptr<LinearWeight> qkv_, attended_, inner_, outer_;
  LayerNormWeights norm_;
  std::vector<DeviceBuffer> uploads_;
  Arena arena_;
  Sequences sequences_;
  TensorView x_, next_, pooled_, out_, wide_, taps_, support_, scratch_;
  kernels::ContextPoolTiles* tiles_ = nullptr;
};

// Of one support size, as shares of the plain layer measured just before.
struct Shares {
  double size = 0;
  double computed = 0;
  std::vector<double> network, pool, both;
};

void Print(const Layer& layer, const Shares& shares, double seconds) {
  std::printf("| %lld | %.3g%s | %.1f | %.0f%% | %.1f%% (%.1f%%) | %.1f%% (%.1f%%) | %.1f%% |\n",
              static_cast<long long>(layer.length()), shares.size,
              shares.size == layer.LargestSize() ? " = r n" : "",
              1e6 * seconds / static_cast<double>(layer.tokens()), 100 * shares.computed,
              100 * Median(shares.network), 100 * layer.NetworkFlops() / layer.LayerFlops(),
              100 * Median(shares.pool), 100 * layer.PoolFlops() / layer.LayerFlops(),
              100 * Median(shares.both));
}

void Run(Device& device, int64_t columns, int64_t length) {
  Layer layer(device, columns, length);
  std::vector<Shares> all;
  for (double size : {1.0, 3.0, 10.0, layer.LargestSize()}) {
    if (size > layer.LargestSize()) continue;
    all.emplace_back().size = size;
  }
  std::vector<double> plain;
  layer.Time(true, true, true);
  for (int32_t round = 0; round < absl::GetFlag(FLAGS_rounds); ++round) {
    for (Shares& shares : all) {
      layer.SetSize(shares.size);
      plain.push_back(layer.Time(true, false, false));
      shares.network.push_back(layer.Time(false, true, false) / plain.back());
      shares.pool.push_back(layer.Time(false, false, true) / plain.back());
      shares.both.push_back(layer.Time(true, true, true) / plain.back() - 1);
      shares.computed = layer.ComputedTiles();
    }
  }
  for (const Shares& shares : all) Print(layer, shares, Median(plain));
}

int Main(const std::vector<char*>& arguments) {
  CpuDeviceOptions options;
  options.threads = absl::GetFlag(FLAGS_threads);
  if (options.threads <= 0) options.threads = AvailableCpus();
  const std::unique_ptr<Device> device = Get(CreateCpuDevice(options));
  const int32_t columns = absl::GetFlag(FLAGS_columns);
  if (columns < 1 || columns % kHeadSize != 0) {
    std::fprintf(stderr, "--columns must be a multiple of %d, but is %d\n", kHeadSize, columns);
    return 2;
  }
  std::printf(
      "%d thread(s), d = %d\n\n"
      "| n | sigma | us per token | tiles computed | network (of FLOPs) | pool (of FLOPs, dense) "
      "| layer with both |\n|---|---|---|---|---|---|---|\n",
      options.threads, columns);
  for (size_t i = 1; i < arguments.size(); ++i) {
    int32_t length = 0;
    if (!absl::SimpleAtoi(arguments[i], &length) || length < 1 ||
        length > absl::GetFlag(FLAGS_tokens)) {
      std::fprintf(stderr, "bad length %s\n", arguments[i]);
      return 2;
    }
    Run(*device, columns, length);
  }
  return 0;
}

}  // namespace
}  // namespace contextpool::engine

int main(int argc, char** argv) {
  return contextpool::engine::Main(absl::ParseCommandLine(argc, argv));
}
