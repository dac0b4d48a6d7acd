#include "clients/cli/requests.h"

namespace contextpool::cli {
namespace {

void SetModel(const Options& options, v1::ModelRef& model) {
  model.set_name(options.model);
  model.set_version(options.model_version);
}

template <typename Request>
Request WithInputs(const Options& options, const std::vector<std::string>& texts,
                   const Chunk& chunk) {
  Request request;
  SetModel(options, *request.mutable_model());
  request.set_priority(options.priority);
  request.mutable_options()->set_truncation(options.truncation);
  request.mutable_options()->set_explain(options.explain);
  for (size_t i = chunk.first; i < chunk.first + chunk.count; ++i) {
    request.add_inputs()->set_text(texts[i]);
  }
  return request;
}

}  // namespace

v1::EmbedRequest MakeEmbedRequest(const Options& options, const std::vector<std::string>& texts,
                                  const Chunk& chunk) {
  auto request = WithInputs<v1::EmbedRequest>(options, texts, chunk);
  v1::EmbedOptions& embed = *request.mutable_options();
  if (options.normalize) embed.set_normalize(*options.normalize);
  embed.set_dimensions(options.dimensions);
  embed.set_pooling(options.pooling);
  return request;
}

v1::ClassifyRequest MakeClassifyRequest(const Options& options,
                                        const std::vector<std::string>& texts, const Chunk& chunk) {
  auto request = WithInputs<v1::ClassifyRequest>(options, texts, chunk);
  v1::ClassifyOptions& classify = *request.mutable_options();
  if (options.top_k) classify.set_top_k(*options.top_k);
  if (options.threshold) classify.set_threshold(*options.threshold);
  classify.set_logits(options.logits);
  for (const std::string& label : options.labels) classify.add_labels(label);
  return request;
}

v1::TokenizeRequest MakeTokenizeRequest(const Options& options,
                                        const std::vector<std::string>& texts, const Chunk& chunk) {
  v1::TokenizeRequest request;
  SetModel(options, *request.mutable_model());
  request.set_truncation(options.truncation);
  request.set_without_special_tokens(options.without_special_tokens);
  for (size_t i = chunk.first; i < chunk.first + chunk.count; ++i) request.add_texts(texts[i]);
  return request;
}

}  // namespace contextpool::cli
