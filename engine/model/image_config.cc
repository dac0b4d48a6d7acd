#include "engine/model/image_config.h"

#include <cmath>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "engine/base/json.h"

namespace contextpool::engine {
namespace {

using nlohmann::json;

constexpr IntRange kSideRange = {1, 8192};
// Beyond these, values are no longer well inside a float's range.
constexpr double kMaxFactor = 1e6;
constexpr double kMinStd = 1e-6;
// ConvNext's own rule: images of at least this size are warped, smaller ones resized and cropped.
constexpr int32_t kWarpFrom = 384;

constexpr std::array<double, 3> kImagenetStandard = {0.5, 0.5, 0.5};
constexpr std::array<double, 3> kClipMean = {0.48145466, 0.4578275, 0.40821073};
constexpr std::array<double, 3> kClipStd = {0.26862954, 0.26130258, 0.27577711};

// What `size` may say: both sides, or the shorter one.
struct SizeRule {
  int32_t shortest_edge = 0;
  ImageSize exact;
};

// A processor's defaults: the class attributes of transformers' models/*/image_processing_pil_*.py.
struct Processor {
  absl::string_view name;
  SizeRule size;
  // What a bare number in `size` means.
  bool default_to_square;
  Resample resample;
  bool do_center_crop;
  ImageSize crop_size;
  std::array<double, 3> mean;
  std::array<double, 3> std;
  // Whether `crop_pct` decides how to crop.
  bool crops_by_percentage;
};

constexpr Processor kProcessors[] = {
    {"ViT",
     {0, {224, 224}},
     true,
     Resample::kBilinear,
     false,
     {},
     kImagenetStandard,
     kImagenetStandard,
     false},
    {"DeiT",
     {0, {256, 256}},
     true,
     Resample::kBicubic,
     true,
     {224, 224},
     kImagenetStandard,
     kImagenetStandard,
     false},
    {"ConvNext",
     {384, {}},
     false,
     Resample::kBicubic,
     false,
     {},
     kImagenetStandard,
     kImagenetStandard,
     true},
    {"Bit", {224, {}}, false, Resample::kBicubic, true, {224, 224}, kClipMean, kClipStd, false},
};

// Without influence on what is computed here.
constexpr absl::string_view kIgnoredKeys[] = {
    "_valid_processor_keys", "data_format", "device",          "disable_grouping", "do_convert_rgb",
    "input_data_format",     "pad_size",    "processor_class", "return_tensors",
};
constexpr absl::string_view kKnownKeys[] = {
    "crop_pct",
    "crop_size",
    "default_to_square",
    "do_center_crop",
    "do_normalize",
    "do_pad",
    "do_rescale",
    "do_resize",
    "feature_extractor_type",
    "image_mean",
    "image_processor_type",
    "image_std",
    "resample",
    "rescale_factor",
    "size",
};

absl::Status Wrong(absl::string_view key, const json& found, absl::string_view wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat("\"", key, "\" must be ", wanted, ", found ", Excerpt(found)));
}

template <size_t N>
bool Contains(const absl::string_view (&list)[N], absl::string_view key) {
  for (const absl::string_view entry : list) {
    if (entry == key) return true;
  }
  return false;
}

absl::Status RefuseUnknownKeys(const json& config) {
  for (const auto& [key, value] : config.items()) {
    if (value.is_null() || Contains(kKnownKeys, key) || Contains(kIgnoredKeys, key)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("has the key ", Quoted(key), ", which is not supported"));
  }
  return absl::OkStatus();
}

// "ViTImageProcessor", "ViTImageProcessorFast", "ViTFeatureExtractor" are all the processor "ViT".
absl::StatusOr<const Processor*> FindProcessor(const json& config) {
  const char* key = "image_processor_type";
  if (FindField(config, key) == nullptr && FindField(config, "feature_extractor_type") != nullptr) {
    key = "feature_extractor_type";
  }
  absl::StatusOr<std::string> type = StringField(config, key);
  if (!type.ok()) return type.status();
  absl::string_view name = *type;
  for (const absl::string_view suffix : {"Fast", "Pil", "ImageProcessor", "FeatureExtractor"}) {
    name = absl::StripSuffix(name, suffix);
  }
  for (const Processor& processor : kProcessors) {
    if (name == processor.name && name != *type) return &processor;
  }
  return absl::UnimplementedError(
      absl::StrCat("\"", key, "\" ", Quoted(*type), " is not supported; supported: ",
                   "ViTImageProcessor, DeiTImageProcessor, ConvNextImageProcessor, "
                   "BitImageProcessor"));
}

absl::Status ReadSide(absl::string_view key, const json& value, int32_t& out) {
  const absl::StatusOr<int32_t> side = IntField(json{{"side", value}}, "side", kSideRange);
  if (!side.ok()) {
    return Wrong(key, value,
                 absl::StrCat("an integer from ", kSideRange.min, " to ", kSideRange.max));
  }
  out = *side;
  return absl::OkStatus();
}

absl::Status ReadSides(absl::string_view key, const json& height, const json& width,
                       ImageSize& out) {
  absl::Status status = ReadSide(absl::StrCat(key, ".height"), height, out.height);
  return status.ok() ? ReadSide(absl::StrCat(key, ".width"), width, out.width) : status;
}

// 224, [224, 224], {"height": 224, "width": 224} or {"shortest_edge": 224}.
absl::StatusOr<SizeRule> ReadSize(absl::string_view key, const json& value, bool square) {
  SizeRule rule;
  absl::Status status;
  if (value.is_object() && value.size() == 2 && value.contains("height") &&
      value.contains("width")) {
    status = ReadSides(key, value["height"], value["width"], rule.exact);
  } else if (value.is_object() && value.size() == 1 && value.contains("shortest_edge")) {
    status =
        ReadSide(absl::StrCat(key, ".shortest_edge"), value["shortest_edge"], rule.shortest_edge);
  } else if (value.is_array() && value.size() == 2) {
    status = ReadSides(key, value[0], value[1], rule.exact);
  } else if (value.is_structured()) {
    return Wrong(key, value,
                 "a number, {\"height\": ..., \"width\": ...} or {\"shortest_edge\": ...}");
  } else if (square) {
    status = ReadSides(key, value, value, rule.exact);
  } else {
    status = ReadSide(key, value, rule.shortest_edge);
  }
  if (!status.ok()) return status;
  return rule;
}

// A finite number in [min, kMaxFactor].
absl::Status ReadNumber(absl::string_view key, const json& value, double min, double& out) {
  const double number = value.is_number() ? value.get<double>() : std::nan("");
  if (!(number >= min && number <= kMaxFactor)) {
    return Wrong(key, value, absl::StrCat("a number from ", min, " to ", kMaxFactor));
  }
  out = number;
  return absl::OkStatus();
}

// One number for each channel, or one for all.
absl::Status ReadChannels(const json& config, const char* key, double min,
                          std::array<double, 3>& out) {
  const json* field = FindField(config, key);
  if (field == nullptr) return absl::OkStatus();
  const bool is_list = field->is_array();
  if (is_list && field->size() != out.size()) return Wrong(key, *field, "three numbers");
  for (size_t c = 0; c < out.size(); ++c) {
    absl::Status status = ReadNumber(key, is_list ? (*field)[c] : *field, min, out[c]);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

class Parser {
 public:
  Parser(const json& config, const Processor& processor, std::optional<ImageSize> model_reads)
      : config_(config), processor_(processor), model_reads_(model_reads) {}

  absl::StatusOr<ImageConfig> Parse() {
    absl::Status status = ReadResize();
    if (status.ok()) status = ReadCrop();
    if (status.ok()) status = RefusePadding();
    if (status.ok()) status = SettleSize();
    if (status.ok()) status = ReadRescale();
    if (status.ok()) status = ReadNormalize();
    if (!status.ok()) return status;
    return result_;
  }

 private:
  absl::Status ReadResize() {
    absl::StatusOr<int32_t> resample =
        IntField(config_, "resample", {0, 5}, static_cast<int32_t>(processor_.resample));
    if (!resample.ok()) return resample.status();
    result_.resample = static_cast<Resample>(*resample);
    absl::StatusOr<bool> do_resize = BoolField(config_, "do_resize", true);
    if (!do_resize.ok()) return do_resize.status();
    if (!*do_resize) return absl::OkStatus();
    absl::StatusOr<SizeRule> rule = SizeField();
    if (!rule.ok()) return rule.status();
    if (processor_.crops_by_percentage) return ResizeByPercentage(*rule);
    result_.shortest_edge = rule->shortest_edge;
    result_.resize = rule->exact;
    return absl::OkStatus();
  }

  absl::StatusOr<SizeRule> SizeField() {
    const json* size = FindField(config_, "size");
    if (size == nullptr) return processor_.size;
    absl::StatusOr<bool> square =
        BoolField(config_, "default_to_square", processor_.default_to_square);
    if (!square.ok()) return square.status();
    return ReadSize("size", *size, *square);
  }

  // ConvNextImageProcessorPil.resize.
  absl::Status ResizeByPercentage(const SizeRule& rule) {
    if (rule.shortest_edge == 0) {
      return Wrong("size", *FindField(config_, "size"), "a number or {\"shortest_edge\": ...}");
    }
    double crop_pct = 224.0 / 256;
    if (const json* field = FindField(config_, "crop_pct"); field != nullptr) {
      absl::Status status = ReadNumber("crop_pct", *field, 0.1, crop_pct);
      if (!status.ok()) return status;
    }
    cut_ = {rule.shortest_edge, rule.shortest_edge};
    if (rule.shortest_edge >= kWarpFrom) {
      result_.resize = *cut_;
    } else {
      result_.shortest_edge = static_cast<int32_t>(rule.shortest_edge / crop_pct);
      result_.center_crop = true;
      if (result_.shortest_edge == 0) {
        return Wrong("crop_pct", config_["crop_pct"], "at most \"size.shortest_edge\"");
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadCrop() {
    absl::StatusOr<bool> crop = BoolField(config_, "do_center_crop", processor_.do_center_crop);
    if (!crop.ok()) return crop.status();
    if (!*crop) return absl::OkStatus();
    SizeRule rule = {0, processor_.crop_size};
    if (const json* field = FindField(config_, "crop_size"); field != nullptr) {
      absl::StatusOr<SizeRule> read = ReadSize("crop_size", *field, true);
      if (!read.ok()) return read.status();
      rule = *read;
    }
    if (rule.exact.height == 0) {
      return absl::InvalidArgumentError(
          "\"crop_size\" must give height and width, as \"do_center_crop\" is true");
    }
    // The processor would crop twice.
    if (cut_.has_value() && *cut_ != rule.exact) {
      return absl::InvalidArgumentError(
          "\"do_center_crop\" with another \"crop_size\" than \"size\" is not supported here");
    }
    cut_ = rule.exact;
    result_.center_crop = true;
    return absl::OkStatus();
  }

  absl::Status RefusePadding() {
    absl::StatusOr<bool> pad = BoolField(config_, "do_pad", false);
    if (!pad.ok()) return pad.status();
    if (*pad) return absl::InvalidArgumentError("\"do_pad\" true is not supported");
    return absl::OkStatus();
  }

  absl::Status SettleSize() {
    if (cut_.has_value()) {
      result_.size = *cut_;
    } else if (result_.resize.height > 0) {
      result_.size = result_.resize;
    } else if (result_.resizes()) {
      return absl::InvalidArgumentError(
          "\"size.shortest_edge\" without \"do_center_crop\" gives images of different sizes");
    } else if (model_reads_.has_value()) {
      result_.size = *model_reads_;
    } else {
      return absl::InvalidArgumentError(
          "\"do_resize\" and \"do_center_crop\" are false, so images would have different sizes");
    }
    if (!model_reads_.has_value() || result_.size == *model_reads_) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        result_.center_crop ? "\"crop_size\"" : "\"size\"", " makes images of ",
        result_.size.height, " x ", result_.size.width, ", but \"image_size\" of config.json is ",
        model_reads_->height, " x ", model_reads_->width));
  }

  absl::Status ReadRescale() {
    absl::StatusOr<bool> rescale = BoolField(config_, "do_rescale", true);
    if (!rescale.ok()) return rescale.status();
    if (!*rescale) {
      result_.rescale_factor = 1;
      return absl::OkStatus();
    }
    const json* field = FindField(config_, "rescale_factor");
    if (field == nullptr) return absl::OkStatus();
    return ReadNumber("rescale_factor", *field, kMinStd, result_.rescale_factor);
  }

  absl::Status ReadNormalize() {
    absl::StatusOr<bool> normalize = BoolField(config_, "do_normalize", true);
    if (!normalize.ok()) return normalize.status();
    if (!*normalize) return absl::OkStatus();
    result_.mean = processor_.mean;
    result_.std = processor_.std;
    absl::Status status = ReadChannels(config_, "image_mean", -kMaxFactor, result_.mean);
    return status.ok() ? ReadChannels(config_, "image_std", kMinStd, result_.std) : status;
  }

  const json& config_;
  const Processor& processor_;
  const std::optional<ImageSize> model_reads_;
  ImageConfig result_;
  // What is cut out of the resized image, if anything.
  std::optional<ImageSize> cut_;
};

}  // namespace

absl::StatusOr<ImageConfig> ParseImageConfig(absl::string_view text,
                                             std::optional<ImageSize> model_reads) {
  absl::StatusOr<json> config = ParseJson(text);
  if (!config.ok()) return config.status();
  absl::StatusOr<const Processor*> processor = FindProcessor(*config);
  if (!processor.ok()) return processor.status();
  if (absl::Status status = RefuseUnknownKeys(*config); !status.ok()) return status;
  return Parser(*config, **processor, model_reads).Parse();
}

}  // namespace contextpool::engine
