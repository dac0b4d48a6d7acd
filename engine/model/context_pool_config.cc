#include "engine/model/context_pool_config.h"

#include <numeric>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;

// Far above what is useful. The largest support size, kMaxR times kMaxTokens, is one whose square a
// float can hold.
constexpr IntRange kKernelRange = {1, 255};
constexpr IntRange kBottleneckRange = {1, 4096};
// Outputs of the first convolution for each token, all taps together.
constexpr int32_t kMaxTaps = 1 << 16;
constexpr IntRange kPrefixRange = {0, 1 << 20};
constexpr double kMaxTokens = 1e9;
constexpr double kMaxR = 1e6;

constexpr char kKnownKeys[] =
    "layers, placement, kernel_size, bottleneck, activation, weight_activation, size_activation, "
    "normalization, r, n_mode, residual, prefix_tokens, num_prefix_tokens";

enum class LayerChoice : uint8_t { kAuto, kAll, kListed };
// In one dimension kTokens and kSide are the same.
enum class NMode : uint8_t { kTokens, kSide, kFixed };
enum class PrefixTokens : uint8_t { kPassThrough, kPool };

template <typename T>
struct Choice {
  absl::string_view name;
  T value;
};

constexpr Choice<LayerChoice> kLayers[] = {{"auto", LayerChoice::kAuto},
                                           {"all", LayerChoice::kAll}};
constexpr Choice<ContextPoolPlace> kPlaces[] = {{"stem", ContextPoolPlace::kStem},
                                                {"final", ContextPoolPlace::kFinal}};
constexpr Choice<ContextPoolPlacement> kPlacements[] = {
    {"after_attention", ContextPoolPlacement::kAfterAttention},
    {"after_layer", ContextPoolPlacement::kAfterLayer}};
constexpr Choice<kernels::Activation> kActivations[] = {
    {"gelu", kernels::Activation::kGelu},
    {"relu", kernels::Activation::kRelu},
    {"leaky_relu", kernels::Activation::kLeakyRelu},
    {"identity", kernels::Activation::kNone}};
constexpr Choice<kernels::PoolWeight> kWeights[] = {{"sigmoid", kernels::PoolWeight::kSigmoid},
                                                    {"exp", kernels::PoolWeight::kExp},
                                                    {"softmax", kernels::PoolWeight::kSoftmax},
                                                    {"one", kernels::PoolWeight::kOne}};
constexpr Choice<kernels::SupportSize> kSizes[] = {{"sigmoid", kernels::SupportSize::kSigmoid},
                                                   {"softmax", kernels::SupportSize::kSoftmax}};
constexpr Choice<kernels::PoolNormalization> kNormalizations[] = {
    {"sum", kernels::PoolNormalization::kSum},
    {"mean", kernels::PoolNormalization::kMean},
    {"none", kernels::PoolNormalization::kNone}};
constexpr Choice<NMode> kNModes[] = {{"tokens", NMode::kTokens}, {"side", NMode::kSide}};
constexpr Choice<kernels::PoolResidual> kResiduals[] = {{"none", kernels::PoolResidual::kNone},
                                                        {"add", kernels::PoolResidual::kAdd},
                                                        {"gate", kernels::PoolResidual::kGate}};
constexpr Choice<PrefixTokens> kPrefixTokens[] = {{"pass_through", PrefixTokens::kPassThrough},
                                                  {"pool", PrefixTokens::kPool}};

absl::Status Wrong(absl::string_view key, const json& found, absl::string_view wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"context_pool.", key, "\" must be ", wanted, ", found ", Excerpt(found)));
}

// `others`: what is allowed besides the names.
template <typename T, size_t N>
absl::Status ReadChoice(absl::string_view key, const json& value, const Choice<T> (&choices)[N],
                        T& out, absl::string_view others = "") {
  for (const Choice<T>& choice : choices) {
    if (!value.is_string() || value.get_ref<const std::string&>() != choice.name) continue;
    out = choice.value;
    return absl::OkStatus();
  }
  const std::string names =
      absl::StrJoin(choices, ", ", [](std::string* list, const Choice<T>& choice) {
        absl::StrAppend(list, "\"", choice.name, "\"");
      });
  return Wrong(key, value, absl::StrCat("one of ", names, others));
}

absl::Status ReadInteger(const char* key, const json& value, IntRange range, int32_t& out) {
  const absl::StatusOr<int32_t> number = IntField(json{{key, value}}, key, range);
  if (!number.ok()) {
    return Wrong(key, value, absl::StrCat("an integer from ", range.min, " to ", range.max));
  }
  out = *number;
  return absl::OkStatus();
}

// At most `max`. `positive`: zero is refused, and so is what a float cannot tell from it.
struct Bounds {
  bool positive = false;
  double max = 0;
};

absl::Status ReadNumber(absl::string_view key, const json& value, Bounds bounds, float& out) {
  const double number = value.is_number() ? value.get<double>() : -1;
  if (!(number >= 0 && number <= bounds.max) ||
      (bounds.positive && static_cast<float>(number) == 0)) {
    return Wrong(key, value,
                 absl::StrCat("a number ", bounds.positive ? "above" : "of at least",
                              " 0 and at most ", bounds.max));
  }
  out = static_cast<float>(number);
  return absl::OkStatus();
}

// One of the names, or {"fixed": number}.
template <typename T, size_t N>
absl::Status ReadChoiceOrNumber(absl::string_view key, const json& value,
                                const Choice<T> (&choices)[N], T& out, T fixed, Bounds bounds,
                                float& number) {
  if (!value.is_object() || value.size() != 1 || !value.contains("fixed")) {
    return ReadChoice(key, value, choices, out, ", {\"fixed\": a number}");
  }
  out = fixed;
  return ReadNumber(absl::StrCat(key, ".fixed"), value["fixed"], bounds, number);
}

class Parser {
 public:
  explicit Parser(const ContextPoolSurroundings& surroundings)
      : surroundings_(surroundings), n_mode_(on_grid() ? NMode::kSide : NMode::kTokens) {
    config_.options.grid_width = surroundings.grid_width;
  }

  absl::StatusOr<ContextPoolConfig> Parse(const json& object) {
    if (!object.is_object()) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"context_pool\" must be an object, found ", Excerpt(object)));
    }
    for (const auto& [key, value] : object.items()) {
      if (absl::Status status = Read(key, value); !status.ok()) return status;
    }
    if (absl::Status status = CheckTaps(); !status.ok()) return status;
    if (absl::Status status = SettlePrefix(); !status.ok()) return status;
    config_.options.n_is_side = on_grid() && n_mode_ == NMode::kSide;
    SettleLayers();
    return std::move(config_);
  }

 private:
  bool on_grid() const { return surroundings_.grid_width > 0; }

  absl::Status Read(const std::string& key, const json& value) {
    ContextPoolOptions& options = config_.options;
    if (key == "layers") return ReadLayers(value);
    if (key == "placement") return ReadChoice(key, value, kPlacements, config_.placement);
    if (key == "kernel_size") return ReadKernelSize(value);
    if (key == "bottleneck") {
      return ReadInteger("bottleneck", value, kBottleneckRange, options.bottleneck);
    }
    if (key == "activation") return ReadChoice(key, value, kActivations, options.activation);
    if (key == "weight_activation") return ReadChoice(key, value, kWeights, options.weight);
    if (key == "size_activation") {
      return ReadChoiceOrNumber(key, value, kSizes, options.size, kernels::SupportSize::kFixed,
                                {.max = kMaxTokens}, options.fixed_size);
    }
    if (key == "normalization") {
      return ReadChoice(key, value, kNormalizations, options.normalization);
    }
    if (key == "r") return ReadNumber(key, value, {.positive = true, .max = kMaxR}, options.r);
    if (key == "n_mode") {
      return ReadChoiceOrNumber(key, value, kNModes, n_mode_, NMode::kFixed,
                                {.positive = true, .max = kMaxTokens}, options.fixed_n);
    }
    if (key == "residual") return ReadChoice(key, value, kResiduals, options.residual);
    if (key == "prefix_tokens") return ReadChoice(key, value, kPrefixTokens, prefix_tokens_);
    if (key == "num_prefix_tokens") {
      return ReadInteger("num_prefix_tokens", value, kPrefixRange, prefix_.emplace());
    }
    return absl::InvalidArgumentError(absl::StrCat("\"context_pool\" has the unknown key ",
                                                   Quoted(key), "; known: ", kKnownKeys));
  }

  absl::Status ReadLayers(const json& value) {
    const int32_t last = surroundings_.layers - 1;
    const std::string list =
        surroundings_.convnet
            ? std::string("a list of \"stem\", \"final\" in this order")
            : absl::StrCat("a list of layers from 0 to ", last, " in rising order");
    if (!value.is_array()) {
      return ReadChoice("layers", value, kLayers, layer_choice_, absl::StrCat(", ", list));
    }
    layer_choice_ = LayerChoice::kListed;
    for (const json& layer : value) {
      const int32_t first = config_.layers.empty() ? 0 : config_.layers.back() + 1;
      const absl::StatusOr<int32_t> index = ReadLayer(layer, {first, last});
      if (!index.ok()) return Wrong("layers", layer, list);
      config_.layers.push_back(*index);
    }
    return absl::OkStatus();
  }

  // Errors say nothing.
  absl::StatusOr<int32_t> ReadLayer(const json& layer, IntRange range) const {
    if (!surroundings_.convnet) return IntField(json{{"layer", layer}}, "layer", range);
    ContextPoolPlace place = ContextPoolPlace::kStem;
    absl::Status status = ReadChoice("layers", layer, kPlaces, place);
    if (!status.ok()) return status;
    return IntField(json{{"layer", static_cast<int32_t>(place)}}, "layer", range);
  }

  absl::Status ReadKernelSize(const json& value) {
    int32_t& size = config_.options.kernel_size;
    absl::Status status = ReadInteger("kernel_size", value, kKernelRange, size);
    if (status.ok() && size % 2 == 1) return status;
    return Wrong("kernel_size", value,
                 absl::StrCat("an odd integer from ", kKernelRange.min, " to ", kKernelRange.max));
  }

  absl::Status CheckTaps() const {
    const ContextPoolOptions& options = config_.options;
    if (options.taps() * options.bottleneck <= kMaxTaps) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("\"context_pool.kernel_size\"", on_grid() ? " squared" : "",
                     " times \"context_pool.bottleneck\" must be at most ", kMaxTaps, ", found ",
                     options.taps(), " times ", options.bottleneck));
  }

  absl::Status SettlePrefix() {
    if (on_grid()) return SettlePrefixOfGrid();
    if (prefix_tokens_ == PrefixTokens::kPool) return absl::OkStatus();
    if (!prefix_.has_value()) prefix_ = surroundings_.prefix_tokens;
    if (!prefix_.has_value()) {
      return absl::InvalidArgumentError(
          "\"context_pool.num_prefix_tokens\" is missing, and there is no tokenizer.json that "
          "tells how many special tokens stand before a text");
    }
    config_.options.prefix = *prefix_;
    return absl::OkStatus();
  }

  // The grid is what stands behind the prefix, so there is no choice.
  absl::Status SettlePrefixOfGrid() {
    if (prefix_tokens_ == PrefixTokens::kPool) {
      return absl::InvalidArgumentError(
          "\"context_pool.prefix_tokens\" must be \"pass_through\" for images, found \"pool\": a "
          "prefix token has no place on the grid");
    }
    const int32_t own = *surroundings_.prefix_tokens;
    if (prefix_.value_or(own) != own) {
      return Wrong("num_prefix_tokens", *prefix_,
                   absl::StrCat(own, ", as many tokens as this model puts before the grid"));
    }
    config_.options.prefix = own;
    return absl::OkStatus();
  }

  void SettleLayers() {
    if (layer_choice_ == LayerChoice::kListed) return;
    // Nothing would be seen of a last layer's pool where the only token read passes by it.
    const bool without_last = layer_choice_ == LayerChoice::kAuto &&
                              surroundings_.reads_first_token && config_.options.prefix > 0;
    config_.layers.resize(surroundings_.layers - (without_last ? 1 : 0));
    std::iota(config_.layers.begin(), config_.layers.end(), 0);
  }

  const ContextPoolSurroundings surroundings_;
  ContextPoolConfig config_;
  LayerChoice layer_choice_ = LayerChoice::kAuto;
  NMode n_mode_;
  PrefixTokens prefix_tokens_ = PrefixTokens::kPassThrough;
  std::optional<int32_t> prefix_;
};

}  // namespace

absl::StatusOr<ContextPoolConfig> ParseContextPool(const json& object,
                                                   const ContextPoolSurroundings& surroundings) {
  return Parser(surroundings).Parse(object);
}

}  // namespace contextpool::engine
