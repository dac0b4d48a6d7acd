#include "clients/cli/runner.h"

#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "clients/cli/connection.h"
#include "clients/cli/embeddings.h"
#include "clients/cli/npy.h"
#include "clients/cli/requests.h"
#include "clients/cli/served_models.h"
#include "contextpool/v1/classification.grpc.pb.h"
#include "contextpool/v1/embedding.grpc.pb.h"
#include "contextpool/v1/model.grpc.pb.h"

namespace contextpool::cli {
namespace {

// The input in the request's place `position`: those refused have none.
size_t InputAt(size_t position, const Chunk& chunk, const std::vector<Refusal>& refused) {
  size_t index = chunk.first + position;
  for (const Refusal& refusal : refused) index += refusal.index <= index ? 1 : 0;
  return index;
}

// Messages of the server count inputs from the start of their request; people count from the start
// of the run. "inputs[4].text: ..." in a request that began at 256 -> "inputs[260].text: ...".
std::string Renumber(const std::string& message, const Chunk& chunk,
                     const std::vector<Refusal>& refused) {
  for (const absl::string_view list : {"inputs[", "texts["}) {
    if (!absl::StartsWith(message, list)) continue;
    const size_t end = message.find(']');
    size_t position = 0;
    if (end == std::string::npos ||
        !absl::SimpleAtoi(message.substr(list.size(), end - list.size()), &position)) {
      break;
    }
    return absl::StrCat(list, InputAt(position, chunk, refused), message.substr(end));
  }
  return message;
}

Failure FailureOf(const absl::Status& status) {
  return {CodeName(status.raw_code()), std::string(status.message())};
}

}  // namespace

Runner::Runner(const Options& options, std::shared_ptr<grpc::Channel> channel, InputList& inputs,
               const Output& output)
    : options_(options), channel_(std::move(channel)), inputs_(inputs), output_(output) {
  if (!options.explain_file.empty()) pictures_.emplace(options.explain_file, inputs);
}

Failure Runner::ExplainHere(const grpc::Status& status) const {
  return Explain(status, options_.server, options_.timeout_s, *channel_);
}

void Runner::FailAll(const Chunk& chunk, const std::vector<Refusal>& refused,
                     const Failure& failure) {
  size_t next = chunk.first;
  for (const Refusal& refusal : refused) {
    if (refusal.index > next) output_.printer.Failed(next, refusal.index - next, failure);
    output_.printer.Failed(refusal.index, 1, FailureOf(refusal.status));
    next = refusal.index + 1;
  }
  if (next < chunk.end()) output_.printer.Failed(next, chunk.end() - next, failure);
}

template <typename Request, typename Response, typename Accept>
bool Runner::Deliver(const Answer<Request, Response>& answer, Accept accept) {
  const auto& [first, count] = answer.chunk;
  if (!answer.status.ok()) {
    Failure failure = ExplainHere(answer.status);
    failure.message = Renumber(failure.message, answer.chunk, answer.refused);
    FailAll(answer.chunk, answer.refused, failure);
    return false;
  }
  if (static_cast<size_t>(answer.response.results_size()) != answer.sent()) {
    FailAll(answer.chunk, answer.refused,
            {"INTERNAL", absl::StrCat("the server answered ", answer.response.results_size(),
                                      " results for ", answer.sent(), " inputs")});
    return false;
  }
  bool all_good = answer.refused.empty();
  auto refusal = answer.refused.begin();
  int position = 0;
  for (size_t i = first; i < first + count; ++i) {
    if (refusal != answer.refused.end() && refusal->index == i) {
      output_.printer.Failed(i, 1, FailureOf(refusal->status));
      ++refusal;
      continue;
    }
    const auto& result = answer.response.results(position);
    if (result.has_error()) {
      all_good = false;
      output_.printer.Failed(i, 1,
                             {CodeName(result.error().code()),
                              Renumber(result.error().message(), answer.chunk, answer.refused)});
    } else {
      accept(answer, i, position);
    }
    ++position;
  }
  return all_good;
}

template <typename Request, typename Response, typename Accept>
bool Runner::SendAll(Method<Request, Response> method, Accept accept) {
  bool all_good = true;
  const std::vector<Chunk> chunks = PlanRequests(inputs_);
  Progress progress(output_.err, output_.show_progress && chunks.size() > 1);
  Pipeline<Request, Response> pipeline(std::move(method), {.timeout_s = options_.timeout_s});
  progress.Show(0, inputs_.size());
  pipeline.Run(chunks, [&](const Answer<Request, Response>& answer) {
    progress.Clear();
    if (!Deliver(answer, accept)) all_good = false;
    output_.out.flush();
    if (answer.chunk.end() < inputs_.size()) progress.Show(answer.chunk.end(), inputs_.size());
  });
  return all_good;
}

bool Runner::Save(const EmbeddingMatrix& vectors) {
  if (vectors.dimensions() == 0) {
    output_.err << "contextpool: no input succeeded: " << options_.output << " was not written\n";
    return false;
  }
  const absl::Status written =
      WriteNpy(options_.output, vectors.rows(), vectors.dimensions(), vectors.values());
  if (!written.ok()) {
    output_.err << "contextpool: " << written.message() << "\n";
    return false;
  }
  output_.printer.Saved(options_.output, vectors);
  return true;
}

void Runner::Draw(size_t index, const v1::Input& input, const v1::Explanation& explanation) {
  if (!pictures_) return;
  const absl::Status written = pictures_->Write(index, input.image(), explanation);
  if (written.ok()) return output_.printer.Drawn(pictures_->PathOf(index));
  output_.err << "contextpool: input " << index << ": no picture: " << written.message() << "\n";
  all_drawn_ = false;
}

bool Runner::Embed() {
  const auto stub = v1::EmbeddingService::NewStub(channel_);
  const bool save = !options_.output.empty();
  EmbeddingMatrix vectors(inputs_.size());
  Method<v1::EmbedRequest, v1::EmbedResponse> method{
      [&](const Chunk& chunk, v1::EmbedRequest& request) {
        request = MakeEmbedRequest(options_);
        return AddInputs(inputs_, chunk, *request.mutable_inputs());
      },
      [&](auto* context, const auto& request, auto* queue) {
        return stub->AsyncEmbed(context, request, queue);
      }};
  bool same_length = true;
  bool all_good = SendAll(std::move(method), [&](const auto& answer, size_t index, int position) {
    const v1::EmbedResult& result = answer.response.results(position);
    const auto& values = result.embedding().values();
    if (save || options_.similarity) {
      const std::span row(values.data(), static_cast<size_t>(values.size()));
      if (!vectors.Set(index, row)) {
        output_.err << "contextpool: input " << index << ": the vector has another length ("
                    << row.size() << ") than those before\n";
        same_length = false;
      }
    }
    if (!save || options_.json || options_.explain) output_.printer.Embedded(index, result);
    Draw(index, answer.request.inputs(position), result.explanation());
  });
  if (options_.similarity && vectors.filled() > 0) output_.printer.Compared(vectors);
  if (save && !Save(vectors)) all_good = false;
  return all_good && same_length;
}

bool Runner::Classify() {
  const auto stub = v1::ClassificationService::NewStub(channel_);
  Method<v1::ClassifyRequest, v1::ClassifyResponse> method{
      [&](const Chunk& chunk, v1::ClassifyRequest& request) {
        request = MakeClassifyRequest(options_);
        return AddInputs(inputs_, chunk, *request.mutable_inputs());
      },
      [&](auto* context, const auto& request, auto* queue) {
        return stub->AsyncClassify(context, request, queue);
      }};
  return SendAll(std::move(method), [&](const auto& answer, size_t index, int position) {
    const v1::ClassifyResult& result = answer.response.results(position);
    output_.printer.Classified(index, result);
    Draw(index, answer.request.inputs(position), result.explanation());
  });
}

bool Runner::Tokenize() {
  const auto stub = v1::ModelService::NewStub(channel_);
  Method<v1::TokenizeRequest, v1::TokenizeResponse> method{
      [&](const Chunk& chunk, v1::TokenizeRequest& request) {
        request = MakeTokenizeRequest(options_);
        return AddTexts(inputs_, chunk, *request.mutable_texts());
      },
      [&](auto* context, const auto& request, auto* queue) {
        return stub->AsyncTokenize(context, request, queue);
      }};
  return SendAll(std::move(method), [&](const auto& answer, size_t index, int position) {
    output_.printer.Tokenized(index, answer.response.results(position));
  });
}

bool Runner::Models() {
  v1::ListModelsResponse list;
  const grpc::Status status = FetchModels(options_, channel_, list);
  if (!status.ok()) {
    output_.printer.RequestFailed(ExplainHere(status));
    return false;
  }
  output_.printer.Listed(list.models());
  return true;
}

bool Runner::Run() {
  bool all_good = false;
  switch (options_.command) {
    case Command::kEmbed:
      all_good = Embed();
      break;
    case Command::kClassify:
      all_good = Classify();
      break;
    case Command::kTokenize:
      all_good = Tokenize();
      break;
    case Command::kModels:
      all_good = Models();
      break;
    case Command::kBench:
      break;  // bench::RunBench
  }
  return all_good && all_drawn_;
}

}  // namespace contextpool::cli
