#include "clients/cli/requests.h"

#include <utility>

namespace contextpool::cli {
namespace {

void SetModel(const Options& options, v1::ModelRef& model) {
  model.set_name(options.model);
  model.set_version(options.model_version);
}

template <typename Request>
Request WithCommonOptions(const Options& options) {
  Request request;
  SetModel(options, *request.mutable_model());
  request.set_priority(options.priority);
  request.mutable_options()->set_truncation(options.truncation);
  request.mutable_options()->set_explain(options.explain);
  return request;
}

template <typename Add>
std::vector<Refusal> Load(InputList& inputs, const Chunk& chunk, Add add) {
  std::vector<Refusal> refused;
  for (size_t i = chunk.first; i < chunk.end(); ++i) {
    absl::StatusOr<std::string> bytes = inputs.Load(i);
    if (bytes.ok()) {
      add(*std::move(bytes));
    } else {
      refused.push_back({i, bytes.status()});
    }
  }
  return refused;
}

}  // namespace

v1::EmbedRequest MakeEmbedRequest(const Options& options) {
  auto request = WithCommonOptions<v1::EmbedRequest>(options);
  v1::EmbedOptions& embed = *request.mutable_options();
  if (options.normalize) embed.set_normalize(*options.normalize);
  embed.set_dimensions(options.dimensions);
  embed.set_pooling(options.pooling);
  return request;
}

v1::ClassifyRequest MakeClassifyRequest(const Options& options) {
  auto request = WithCommonOptions<v1::ClassifyRequest>(options);
  v1::ClassifyOptions& classify = *request.mutable_options();
  if (options.top_k) classify.set_top_k(*options.top_k);
  if (options.threshold) classify.set_threshold(*options.threshold);
  classify.set_logits(options.logits);
  for (const std::string& label : options.labels) classify.add_labels(label);
  return request;
}

v1::TokenizeRequest MakeTokenizeRequest(const Options& options) {
  v1::TokenizeRequest request;
  SetModel(options, *request.mutable_model());
  request.set_truncation(options.truncation);
  request.set_without_special_tokens(options.without_special_tokens);
  return request;
}

std::vector<Refusal> AddInputs(InputList& inputs, const Chunk& chunk,
                               google::protobuf::RepeatedPtrField<v1::Input>& request) {
  return Load(inputs, chunk, [&](std::string bytes) {
    v1::Input& input = *request.Add();
    if (inputs.are_images()) {
      input.set_image(std::move(bytes));
    } else {
      input.set_text(std::move(bytes));
    }
  });
}

std::vector<Refusal> AddTexts(InputList& inputs, const Chunk& chunk,
                              google::protobuf::RepeatedPtrField<std::string>& request) {
  return Load(inputs, chunk, [&](std::string bytes) { *request.Add() = std::move(bytes); });
}

}  // namespace contextpool::cli
