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
  JsonPrinter(std::ostream& out, std::ostream& err) : out_(out), err_(err) {}

  void Embedded(size_t index, const std::string&, const v1::EmbedResult& result) override {
    const auto& values = result.embedding().values();
    Json json = {{"index", index},
                 {"embedding", std::vector<float>(values.begin(), values.end())},
                 {"tokens", result.usage().tokens_used()},
                 {"truncated", result.usage().truncated()}};
    if (result.has_explanation()) json["explanation"] = Explain(result.explanation());
    Print(json);
  }

  void Classified(size_t index, const std::string&, const v1::ClassifyResult& result) override {
    Json scores = Json::array();
    for (const v1::LabelScore& score : result.classification().scores()) {
      Json entry = {{"label", score.label()}, {"score", score.score()}};
      if (score.has_logit()) entry["logit"] = score.logit();
      scores.push_back(std::move(entry));
    }
    Json json = {{"index", index}, {"scores", std::move(scores)}};
    if (result.has_explanation()) json["explanation"] = Explain(result.explanation());
    Print(json);
  }

  void Tokenized(size_t index, const std::string&, const v1::TokenizeResult& result) override {
    const auto& tokens = result.tokens();
    Print({{"index", index},
           {"ids", std::vector<int32_t>(tokens.ids().begin(), tokens.ids().end())},
           {"tokens", std::vector<std::string>(tokens.tokens().begin(), tokens.tokens().end())}});
  }

  void Failed(size_t first, size_t count, const Failure& failure) override {
    for (size_t index = first; index < first + count; ++index) {
      Print({{"index", index}, {"error", {{"code", failure.code}, {"message", failure.message}}}});
    }
  }

  void RequestFailed(const Failure& failure) override {
    Print({{"error", {{"code", failure.code}, {"message", failure.message}}}});
  }

  void Compared(const std::vector<std::string>&, const EmbeddingMatrix&) override {}

  void Saved(const std::string& path, const EmbeddingMatrix& vectors) override {
    err_ << "wrote float32 [" << vectors.rows() << ", " << vectors.dimensions() << "] to " << path
         << "\n";
  }

  void Listed(const google::protobuf::RepeatedPtrField<v1::Model>& models) override {
    for (const v1::Model& model : models) Print(Describe(model));
  }

 private:
  static Json Explain(const v1::Explanation& explanation) {
    Json layers = Json::array();
    for (const v1::ContextPoolLayer& layer : explanation.layers()) {
      const auto& sizes = layer.support_size();
      layers.push_back(
          {{"layer", layer.layer()},
           {"weight", std::vector<float>(layer.weight().begin(), layer.weight().end())},
           {"support_size", std::vector<float>(sizes.begin(), sizes.end())}});
    }
    const auto& tokens = explanation.tokens();
    return {{"tokens", std::vector<std::string>(tokens.begin(), tokens.end())},
            {"layers", std::move(layers)}};
  }

  static Json Describe(const v1::Model& model) {
    Json tasks = Json::array();
    for (const int task : model.tasks()) {
      tasks.push_back(EnumName(v1::Task_Name(task), "TASK_"));
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
        {"normalize", model.normalize()},
        {"labels", std::vector<std::string>(model.labels().begin(), model.labels().end())},
        {"problem_type", EnumName(v1::ProblemType_Name(model.problem_type()), "PROBLEM_TYPE_")},
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

  std::ostream& out_;
  std::ostream& err_;
};

}  // namespace

std::unique_ptr<Printer> MakeJsonPrinter(std::ostream& out, std::ostream& err) {
  return std::make_unique<JsonPrinter>(out, err);
}

}  // namespace contextpool::cli
