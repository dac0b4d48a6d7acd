#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/strip.h"
#include "clients/cli/printer.h"

namespace contextpool::cli {
namespace {

// Keys in the order written. Numbers are float32, so that they print as the shortest text that
// reads back as the same float32.
using Json = nlohmann::basic_json<nlohmann::ordered_map, std::vector, std::string, bool, int64_t,
                                  uint64_t, float>;

// "TASK_EMBED" -> "embed"; empty for an unspecified value.
std::string EnumName(const std::string& name, const std::string& prefix) {
  const std::string lower = absl::AsciiStrToLower(std::string(absl::StripPrefix(name, prefix)));
  return lower == "unspecified" ? "" : lower;
}

class JsonPrinter : public Printer {
 public:
  JsonPrinter(const InputList& inputs, std::ostream& out, std::ostream& err)
      : inputs_(inputs), out_(out), err_(err) {}

  void Embedded(size_t index, const v1::EmbedResult& result) override {
    const auto& values = result.embedding().values();
    Json json = Begin(index);
    json["embedding"] = std::vector<float>(values.begin(), values.end());
    json["tokens"] = result.usage().tokens_used();
    json["truncated"] = result.usage().truncated();
    if (result.has_explanation()) json["explanation"] = Explain(result.explanation());
    Print(json);
  }

  void Classified(size_t index, const v1::ClassifyResult& result) override {
    Json scores = Json::array();
    for (const v1::LabelScore& score : result.classification().scores()) {
      Json entry = {{"label", score.label()}, {"score", score.score()}};
      if (score.has_logit()) entry["logit"] = score.logit();
      scores.push_back(std::move(entry));
    }
    Json json = Begin(index);
    json["scores"] = std::move(scores);
    if (result.has_explanation()) json["explanation"] = Explain(result.explanation());
    Print(json);
  }

  void Tokenized(size_t index, const v1::TokenizeResult& result) override {
    const auto& tokens = result.tokens();
    Json json = Begin(index);
    json["ids"] = std::vector<int32_t>(tokens.ids().begin(), tokens.ids().end());
    json["tokens"] = std::vector<std::string>(tokens.tokens().begin(), tokens.tokens().end());
    Print(json);
  }

  void Failed(size_t first, size_t count, const Failure& failure) override {
    for (size_t index = first; index < first + count; ++index) {
      Json json = Begin(index);
      json["error"] = Describe(failure);
      Print(json);
    }
  }

  void RequestFailed(const Failure& failure) override { Print({{"error", Describe(failure)}}); }

  void Compared(const EmbeddingMatrix&) override {}

  void Saved(const std::string& path, const EmbeddingMatrix& vectors) override {
    err_ << "wrote float32 [" << vectors.rows() << ", " << vectors.dimensions() << "] to " << path
         << "\n";
  }

  void Drawn(const std::string&) override {}

  void Listed(const google::protobuf::RepeatedPtrField<v1::Model>& models) override {
    for (const v1::Model& model : models) Print(Describe(model));
  }

 private:
  // What every line of an input starts with.
  Json Begin(size_t index) const {
    Json json = {{"index", index}};
    if (inputs_.are_images()) json["file"] = inputs_.name(index);
    return json;
  }

  static Json Describe(const Failure& failure) {
    return {{"code", failure.code}, {"message", failure.message}};
  }

  static Json Describe(const v1::ImageBox& box) {
    return {
        {"left", box.left()}, {"top", box.top()}, {"width", box.width()}, {"height", box.height()}};
  }

  static Json Explain(const v1::Explanation& explanation) {
    Json layers = Json::array();
    for (const v1::ContextPoolLayer& layer : explanation.layers()) {
      const auto& sizes = layer.support_size();
      layers.push_back(
          {{"layer", layer.layer()},
           {"weight", std::vector<float>(layer.weight().begin(), layer.weight().end())},
           {"support_size", std::vector<float>(sizes.begin(), sizes.end())}});
    }
    Json json = Json::object();
    if (explanation.grid_width() > 0) {
      json["grid_height"] = explanation.grid_height();
      json["grid_width"] = explanation.grid_width();
      if (explanation.has_grid_box()) json["grid_box"] = Describe(explanation.grid_box());
      json["image_orientation"] = explanation.image_orientation();
    } else {
      const auto& tokens = explanation.tokens();
      json["tokens"] = std::vector<std::string>(tokens.begin(), tokens.end());
    }
    json["layers"] = std::move(layers);
    return json;
  }

  static Json Describe(const v1::Model& model) {
    Json tasks = Json::array();
    for (const int task : model.tasks()) {
      tasks.push_back(EnumName(v1::Task_Name(task), "TASK_"));
    }
    Json poolings = Json::array();
    for (const int pooling : model.poolings()) {
      poolings.push_back(EnumName(v1::Pooling_Name(pooling), "POOLING_"));
    }
    Json json = {
        {"name", model.ref().name()},
        {"version", model.ref().version()},
        {"state", EnumName(v1::ModelState_Name(model.state()), "MODEL_STATE_")},
        {"reason", model.reason()},
        {"architecture", model.architecture()},
        {"tasks", std::move(tasks)},
        {"modality", EnumName(v1::Modality_Name(model.modality()), "MODALITY_")},
        {"dimensions", model.embedding_dimensions()},
        {"pooling", EnumName(v1::Pooling_Name(model.pooling()), "POOLING_")},
        {"poolings", std::move(poolings)},
        {"normalize", model.normalize()},
        {"labels", std::vector<std::string>(model.labels().begin(), model.labels().end())},
        {"problem_type", EnumName(v1::ProblemType_Name(model.problem_type()), "PROBLEM_TYPE_")},
        {"image_height", model.image_height()},
        {"image_width", model.image_width()},
        {"max_tokens", model.max_tokens()},
        {"vocabulary_size", model.vocabulary_size()},
        {"layers", model.layers()},
        {"context_pool_layers", std::vector<uint32_t>(model.context_pool_layers().begin(),
                                                      model.context_pool_layers().end())},
        {"dtype", model.dtype()},
        {"device", model.device()},
        {"weight_bytes", model.weight_bytes()}};
    return json;
  }

  void Print(const Json& json) {
    out_ << json.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
  }

  const InputList& inputs_;
  std::ostream& out_;
  std::ostream& err_;
};

}  // namespace

std::unique_ptr<Printer> MakeJsonPrinter(const InputList& inputs, std::ostream& out,
                                         std::ostream& err) {
  return std::make_unique<JsonPrinter>(inputs, out, err);
}

}  // namespace contextpool::cli
