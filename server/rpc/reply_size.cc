#include "server/rpc/reply_size.h"

#include <algorithm>
#include <string>
#include <variant>

namespace contextpool::server {
namespace {

constexpr int64_t kNumberBytes = sizeof(float);
// On the wire, with tags and lengths: timing and the model without its name, a result without its
// numbers, a score without its label.
constexpr int64_t kMessageBytes = 128;
constexpr int64_t kResultBytes = 64;
constexpr int64_t kScoreBytes = 20;
// A token's text beyond the bytes that it stands for ("[UNK]", "##"), with tag and length.
constexpr int64_t kTokenBytes = 8;
constexpr int64_t kSpecialTokens = 2;

// A token stands for a byte or more.
int64_t MostTokens(const engine::Input& input, int64_t max_tokens) {
  if (const auto* text = std::get_if<engine::TextInput>(&input)) {
    return std::min(static_cast<int64_t>(text->utf8.size()) + kSpecialTokens, max_tokens);
  }
  return max_tokens;
}

int64_t TextBytes(const engine::Input& input) {
  const auto* text = std::get_if<engine::TextInput>(&input);
  return text == nullptr ? 0 : static_cast<int64_t>(text->utf8.size());
}

// What ContextPool chose for each token: its text, and per layer two numbers.
int64_t ExplanationBytes(const engine::Request& request, const engine::ModelInfo& model) {
  const int64_t token_bytes =
      kTokenBytes + 2 * kNumberBytes * static_cast<int64_t>(model.context_pool_layers.size());
  int64_t bytes = 0;
  for (const engine::Input& input : request.inputs) {
    bytes += TextBytes(input) + MostTokens(input, model.max_tokens) * token_bytes;
  }
  return bytes;
}

int64_t ReplyBytes(const engine::Request& request, const engine::ModelInfo& model, int64_t row) {
  const auto inputs = static_cast<int64_t>(request.inputs.size());
  const auto name = static_cast<int64_t>(model.name.size());
  const int64_t explanations = request.explain ? ExplanationBytes(request, model) : 0;
  return kMessageBytes + name + inputs * (kResultBytes + row) + explanations;
}

}  // namespace

int64_t ReplyBytes(const v1::EmbedRequest&, const engine::Request& request,
                   const engine::ModelInfo& model) {
  return ReplyBytes(request, model, model.embedding_dimensions * kNumberBytes);
}

int64_t ReplyBytes(const v1::ClassifyRequest& message, const engine::Request& request,
                   const engine::ModelInfo& model) {
  const auto labels = static_cast<int64_t>(model.labels.size());
  const v1::ClassifyOptions& options = message.options();
  const int64_t scores = options.has_top_k() ? std::min<int64_t>(labels, options.top_k()) : labels;
  size_t longest = 0;
  for (const std::string& label : model.labels) longest = std::max(longest, label.size());
  const int64_t wire = scores * (kScoreBytes + static_cast<int64_t>(longest));
  return ReplyBytes(request, model, std::max(wire, labels * kNumberBytes));
}

}  // namespace contextpool::server
