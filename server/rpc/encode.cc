#include "server/rpc/encode.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/rpc/scores.h"
#include "server/rpc/vector_encoding.h"

namespace contextpool::server {
namespace {

bool AllFinite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(),
                     [](float value) { return std::isfinite(value); });
}

absl::string_view FieldOf(const engine::Input& input) {
  if (std::holds_alternative<engine::TextInput>(input)) return ".text";
  if (std::holds_alternative<engine::ImageInput>(input)) return ".image";
  return ".token_ids";
}

// The same error with the field's path in front, unless it is there.
absl::Status WithPath(const absl::Status& status, absl::string_view path) {
  if (status.ok() || absl::StartsWith(status.message(), path)) return status;
  return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
}

absl::Status InputStatus(const DecodedRequest& decoded, const engine::Response& response,
                         size_t i) {
  const auto fault = decoded.input_faults.find(i);
  if (fault != decoded.input_faults.end()) return fault->second;
  const std::string index = absl::StrCat("inputs[", i, "]");
  const absl::Status& status = response.results[i].status;
  if (absl::StartsWith(status.message(), index)) return status;
  if (!status.ok()) {
    return WithPath(status, absl::StrCat(index, FieldOf(decoded.request.inputs[i])));
  }
  if (!AllFinite(response.row(i))) {
    return absl::InternalError(absl::StrCat(index, ": the model's output is not finite"));
  }
  return absl::OkStatus();
}

absl::Status CheckShape(const DecodedRequest& decoded, const engine::Response& response,
                        int64_t width) {
  const size_t inputs = decoded.request.inputs.size();
  const size_t explanations = decoded.request.explain ? inputs : 0;
  if (response.model != nullptr && response.results.size() == inputs && response.width == width &&
      response.values.size() == inputs * static_cast<size_t>(width) &&
      response.explanations.size() == explanations) {
    return absl::OkStatus();
  }
  return absl::InternalError(absl::StrCat("the engine answered ", response.results.size(), " x ",
                                          response.width, " for ", inputs, " inputs"));
}

void EncodeModelRef(const engine::ModelInfo& info, v1::ModelRef& ref) {
  ref.set_name(info.name);
  ref.set_version(info.version);
}

template <typename Summary>
void EncodeUsage(const Summary& summary, int64_t tokens_used, v1::InputUsage& usage) {
  usage.set_tokens_used(static_cast<uint32_t>(tokens_used));
  usage.set_tokens_seen(static_cast<uint32_t>(summary.tokens_seen));
  usage.set_truncated(summary.truncated);
}

void EncodeBox(const engine::ImageBox& box, v1::ImageBox& wire) {
  wire.set_left(box.left);
  wire.set_top(box.top);
  wire.set_width(box.width);
  wire.set_height(box.height);
}

// REQUIRES: the input has an explanation.
absl::Status EncodeExplanation(const engine::Response& response, size_t input,
                               v1::Explanation& wire) {
  const engine::Explanation& explanation = response.explanations[input];
  const std::vector<int32_t>& layers = response.model->context_pool_layers;
  const auto numbers = static_cast<int64_t>(explanation.context_pool.size());
  if (numbers != static_cast<int64_t>(layers.size()) * 2 * explanation.length) {
    return absl::InternalError(absl::StrCat("inputs[", input, "]: the engine explained ", numbers,
                                            " numbers of ", explanation.length, " tokens"));
  }
  wire.set_grid_height(response.model->grid_height);
  wire.set_grid_width(response.model->grid_width);
  if (explanation.grid_box) EncodeBox(*explanation.grid_box, *wire.mutable_grid_box());
  wire.set_image_orientation(explanation.image_orientation);
  wire.mutable_tokens()->Add(explanation.tokens.begin(), explanation.tokens.end());
  for (size_t i = 0; i < layers.size(); ++i) {
    v1::ContextPoolLayer& layer = *wire.add_layers();
    const auto weight = explanation.weight(i);
    const auto size = explanation.support_size(i);
    layer.set_layer(layers[i]);
    layer.mutable_weight()->Add(weight.begin(), weight.end());
    layer.mutable_support_size()->Add(size.begin(), size.end());
  }
  return absl::OkStatus();
}

v1::Pooling WirePooling(engine::Pooling pooling) {
  switch (pooling) {
    case engine::Pooling::kMean:
      return v1::POOLING_MEAN;
    case engine::Pooling::kCls:
      return v1::POOLING_CLS;
    case engine::Pooling::kMax:
      return v1::POOLING_MAX;
    case engine::Pooling::kLastToken:
      return v1::POOLING_LAST_TOKEN;
    case engine::Pooling::kPooler:
      return v1::POOLING_POOLER;
  }
  return v1::POOLING_UNSPECIFIED;
}

v1::ModelState WireState(engine::ModelState state) {
  switch (state) {
    case engine::ModelState::kLoading:
      return v1::MODEL_STATE_LOADING;
    case engine::ModelState::kReady:
      return v1::MODEL_STATE_READY;
    case engine::ModelState::kFailed:
      return v1::MODEL_STATE_FAILED;
    case engine::ModelState::kUnloading:
      return v1::MODEL_STATE_UNLOADING;
  }
  return v1::MODEL_STATE_UNSPECIFIED;
}

v1::ProblemType WireProblemType(engine::ProblemType type) {
  switch (type) {
    case engine::ProblemType::kNone:
      return v1::PROBLEM_TYPE_UNSPECIFIED;
    case engine::ProblemType::kSingleLabel:
      return v1::PROBLEM_TYPE_SINGLE_LABEL;
    case engine::ProblemType::kMultiLabel:
      return v1::PROBLEM_TYPE_MULTI_LABEL;
    case engine::ProblemType::kRegression:
      return v1::PROBLEM_TYPE_REGRESSION;
  }
  return v1::PROBLEM_TYPE_UNSPECIFIED;
}

// What a model that is ready says of itself.
void EncodeInfo(const engine::ModelInfo& info, v1::Model& model) {
  model.set_architecture(info.architecture);
  model.add_tasks(v1::TASK_EMBED);
  if (info.classifies()) model.add_tasks(v1::TASK_CLASSIFY);
  model.set_modality(info.modality == engine::Modality::kText ? v1::MODALITY_TEXT
                                                              : v1::MODALITY_IMAGE);
  model.set_embedding_dimensions(info.embedding_dimensions);
  model.set_pooling(WirePooling(info.pooling));
  for (engine::Pooling pooling : info.poolings) model.add_poolings(WirePooling(pooling));
  model.set_normalize(info.normalize);
  model.mutable_labels()->Add(info.labels.begin(), info.labels.end());
  model.set_problem_type(WireProblemType(info.problem_type));
  model.set_max_tokens(info.max_tokens);
  model.set_vocabulary_size(info.vocabulary_size);
  model.mutable_context_pool_layers()->Add(info.context_pool_layers.begin(),
                                           info.context_pool_layers.end());
  model.set_dtype(kernels::Name(info.dtype));
  model.set_device(info.device);
  model.set_weight_bytes(info.weight_bytes);
  model.set_batch_token_budget(info.batch_token_budget);
  model.set_layers(info.layers);
  if (!info.image) return;
  model.set_image_height(info.image->size.height);
  model.set_image_width(info.image->size.width);
}

}  // namespace

absl::Status Encode(const v1::EmbedRequest& message, const DecodedRequest& decoded,
                    const engine::Response& response, const InputErrorWriter& write_error,
                    v1::EmbedResponse& reply) {
  absl::Status shape =
      CheckShape(decoded, response, response.model ? response.model->embedding_dimensions : 0);
  if (!shape.ok()) return shape;
  EncodeModelRef(*response.model, *reply.mutable_model());
  reply.mutable_results()->Reserve(static_cast<int>(response.results.size()));
  for (size_t i = 0; i < response.results.size(); ++i) {
    v1::EmbedResult& result = *reply.add_results();
    EncodeUsage(response.results[i], response.results[i].tokens_used, *result.mutable_usage());
    absl::Status status = InputStatus(decoded, response, i);
    if (status.ok()) {
      status = WithPath(
          EncodeVector(response.row(i), message.options().encoding(), *result.mutable_embedding()),
          absl::StrCat("inputs[", i, "]"));
    }
    if (status.ok() && decoded.request.explain) {
      status = EncodeExplanation(response, i, *result.mutable_explanation());
    }
    if (!status.ok()) write_error(status, result.mutable_error());
  }
  return absl::OkStatus();
}

absl::Status Encode(const v1::ClassifyRequest& message, const DecodedRequest& decoded,
                    const engine::Response& response, const InputErrorWriter& write_error,
                    v1::ClassifyResponse& reply) {
  absl::Status shape = CheckShape(
      decoded, response, response.model ? static_cast<int64_t>(response.model->labels.size()) : 0);
  if (!shape.ok()) return shape;
  const engine::ModelInfo& model = *response.model;
  absl::StatusOr<std::vector<uint32_t>> selected = SelectLabels(message.options(), model);
  if (!selected.ok()) return selected.status();
  EncodeModelRef(model, *reply.mutable_model());
  reply.mutable_results()->Reserve(static_cast<int>(response.results.size()));
  for (size_t i = 0; i < response.results.size(); ++i) {
    v1::ClassifyResult& result = *reply.add_results();
    EncodeUsage(response.results[i], response.results[i].tokens_used, *result.mutable_usage());
    absl::Status status = InputStatus(decoded, response, i);
    if (status.ok() && decoded.request.explain) {
      status = EncodeExplanation(response, i, *result.mutable_explanation());
    }
    if (status.ok()) {
      FillScores(response.row(i), *selected, message.options(), model,
                 *result.mutable_classification());
    } else {
      write_error(status, result.mutable_error());
    }
  }
  return absl::OkStatus();
}

void Encode(const engine::TokenizeResponse& response, const InputErrorWriter& write_error,
            v1::TokenizeResponse& reply) {
  EncodeModelRef(*response.model, *reply.mutable_model());
  for (size_t i = 0; i < response.results.size(); ++i) {
    const engine::Tokenization& from = response.results[i];
    v1::TokenizeResult& result = *reply.add_results();
    EncodeUsage(from, static_cast<int64_t>(from.ids.size()), *result.mutable_usage());
    if (!from.status.ok()) {
      write_error(WithPath(from.status, absl::StrCat("texts[", i, "]")), result.mutable_error());
      continue;
    }
    result.mutable_tokens()->mutable_ids()->Add(from.ids.begin(), from.ids.end());
    result.mutable_tokens()->mutable_tokens()->Add(from.tokens.begin(), from.tokens.end());
  }
}

void Encode(const engine::ModelStatus& status, v1::Model& model) {
  EncodeModelRef(*status.info, *model.mutable_ref());
  model.set_state(WireState(status.state));
  model.set_reason(status.reason);
  model.set_load_seconds(status.load_seconds);
  if (status.state == engine::ModelState::kReady) EncodeInfo(*status.info, model);
}

}  // namespace contextpool::server
