#include "clients/cli/run.h"

#include <ostream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "clients/cli/bench/bench.h"
#include "clients/cli/connection.h"
#include "clients/cli/embeddings.h"
#include "clients/cli/inputs.h"
#include "clients/cli/npy.h"
#include "clients/cli/options.h"
#include "clients/cli/pipeline.h"
#include "clients/cli/requests.h"
#include "contextpool/v1/classification.grpc.pb.h"
#include "contextpool/v1/embedding.grpc.pb.h"
#include "contextpool/v1/model.grpc.pb.h"

namespace contextpool::cli {
namespace {

using Texts = std::vector<std::string>;

// Messages of the server count inputs from the start of their request; people count from the start
// of the run. "inputs[4].text: ..." in a request that began at 256 -> "inputs[260].text: ...".
std::string Renumber(const std::string& message, size_t first) {
  for (const absl::string_view list : {"inputs[", "texts["}) {
    if (!absl::StartsWith(message, list)) continue;
    const size_t end = message.find(']');
    size_t index = 0;
    if (end == std::string::npos ||
        !absl::SimpleAtoi(message.substr(list.size(), end - list.size()), &index)) {
      break;
    }
    return absl::StrCat(list, first + index, message.substr(end));
  }
  return message;
}

// One command on one server.
class Runner {
 public:
  Runner(const Options& options, Printer& printer, std::ostream& out, std::ostream& err)
      : options_(options),
        printer_(printer),
        out_(out),
        err_(err),
        channel_(Connect(options.server)) {}

  // False if an input or a request failed.
  bool Embed(const Texts& texts);
  bool Classify(const Texts& texts);
  bool Tokenize(const Texts& texts);
  bool Models();

 private:
  // Sends all texts through `method` and hands each good result to `accept`.
  template <typename Request, typename Response, typename Accept>
  bool SendAll(const Texts& texts, Method<Request, Response> method, Accept accept);

  template <typename Response, typename Accept>
  bool Deliver(const Chunk& chunk, const grpc::Status& status, const Response& response,
               Accept accept);

  bool Save(const EmbeddingMatrix& vectors);

  Failure ExplainHere(const grpc::Status& status) const {
    return Explain(status, options_.server, options_.timeout_s, *channel_);
  }

  const Options& options_;
  Printer& printer_;
  std::ostream& out_;
  std::ostream& err_;
  std::shared_ptr<grpc::Channel> channel_;
};

template <typename Response, typename Accept>
bool Runner::Deliver(const Chunk& chunk, const grpc::Status& status, const Response& response,
                     Accept accept) {
  if (!status.ok()) {
    Failure failure = ExplainHere(status);
    failure.message = Renumber(failure.message, chunk.first);
    printer_.Failed(chunk.first, chunk.count, failure);
    return false;
  }
  if (static_cast<size_t>(response.results_size()) != chunk.count) {
    printer_.Failed(chunk.first, chunk.count,
                    {"INTERNAL", absl::StrCat("the server answered ", response.results_size(),
                                              " results for ", chunk.count, " inputs")});
    return false;
  }
  bool all_good = true;
  for (size_t i = 0; i < chunk.count; ++i) {
    const auto& result = response.results(static_cast<int>(i));
    if (!result.has_error()) {
      accept(chunk.first + i, result);
      continue;
    }
    all_good = false;
    printer_.Failed(
        chunk.first + i, 1,
        {CodeName(result.error().code()), Renumber(result.error().message(), chunk.first)});
  }
  return all_good;
}

template <typename Request, typename Response, typename Accept>
bool Runner::SendAll(const Texts& texts, Method<Request, Response> method, Accept accept) {
  bool all_good = true;
  Pipeline<Request, Response> pipeline(std::move(method), {.timeout_s = options_.timeout_s});
  pipeline.Run(PlanRequests(texts, RequestLimits{}),
               [&](const Chunk& chunk, const grpc::Status& status, const Response& response) {
                 if (!Deliver(chunk, status, response, accept)) all_good = false;
                 out_.flush();
               });
  return all_good;
}

bool Runner::Save(const EmbeddingMatrix& vectors) {
  if (vectors.dimensions() == 0) {
    err_ << "contextpool: no input succeeded: " << options_.output << " was not written\n";
    return false;
  }
  const absl::Status written =
      WriteNpy(options_.output, vectors.rows(), vectors.dimensions(), vectors.values());
  if (!written.ok()) {
    err_ << "contextpool: " << written.message() << "\n";
    return false;
  }
  printer_.Saved(options_.output, vectors);
  return true;
}

bool Runner::Embed(const Texts& texts) {
  const auto stub = v1::EmbeddingService::NewStub(channel_);
  const bool save = !options_.output.empty();
  EmbeddingMatrix vectors(texts.size());
  Method<v1::EmbedRequest, v1::EmbedResponse> method{
      [&](const Chunk& chunk) { return MakeEmbedRequest(options_, texts, chunk); },
      [&](auto* context, const auto& request, auto* queue) {
        return stub->AsyncEmbed(context, request, queue);
      }};
  bool same_length = true;
  bool all_good =
      SendAll(texts, std::move(method), [&](size_t index, const v1::EmbedResult& result) {
        const auto& values = result.embedding().values();
        if (save || options_.similarity) {
          const std::span row(values.data(), static_cast<size_t>(values.size()));
          if (!vectors.Set(index, row)) {
            err_ << "contextpool: input " << index << ": the vector has another length ("
                 << row.size() << ") than those before\n";
            same_length = false;
          }
        }
        if (!save || options_.json || options_.explain) {
          printer_.Embedded(index, texts[index], result);
        }
      });
  if (options_.similarity && vectors.filled() > 0) printer_.Compared(texts, vectors);
  if (save && !Save(vectors)) all_good = false;
  return all_good && same_length;
}

bool Runner::Classify(const Texts& texts) {
  const auto stub = v1::ClassificationService::NewStub(channel_);
  Method<v1::ClassifyRequest, v1::ClassifyResponse> method{
      [&](const Chunk& chunk) { return MakeClassifyRequest(options_, texts, chunk); },
      [&](auto* context, const auto& request, auto* queue) {
        return stub->AsyncClassify(context, request, queue);
      }};
  return SendAll(texts, std::move(method), [&](size_t index, const v1::ClassifyResult& result) {
    printer_.Classified(index, texts[index], result);
  });
}

bool Runner::Tokenize(const Texts& texts) {
  const auto stub = v1::ModelService::NewStub(channel_);
  Method<v1::TokenizeRequest, v1::TokenizeResponse> method{
      [&](const Chunk& chunk) { return MakeTokenizeRequest(options_, texts, chunk); },
      [&](auto* context, const auto& request, auto* queue) {
        return stub->AsyncTokenize(context, request, queue);
      }};
  return SendAll(texts, std::move(method), [&](size_t index, const v1::TokenizeResult& result) {
    printer_.Tokenized(index, texts[index], result);
  });
}

bool Runner::Models() {
  const auto stub = v1::ModelService::NewStub(channel_);
  grpc::ClientContext context;
  context.set_deadline(DeadlineAfter(options_.timeout_s));
  v1::ListModelsResponse list;
  grpc::Status status;
  if (options_.model.empty()) {
    status = stub->ListModels(&context, v1::ListModelsRequest(), &list);
  } else {
    v1::GetModelRequest request;
    request.mutable_model()->set_name(options_.model);
    request.mutable_model()->set_version(options_.model_version);
    v1::GetModelResponse response;
    status = stub->GetModel(&context, request, &response);
    if (status.ok()) list.add_models()->Swap(response.mutable_model());
  }
  if (!status.ok()) {
    printer_.RequestFailed(ExplainHere(status));
    return false;
  }
  printer_.Listed(list.models());
  return true;
}

int UsageError(const absl::Status& status, std::ostream& err) {
  err << "contextpool: " << status.message() << "\n";
  return kExitUsage;
}

bool RunCommand(Command command, Runner& runner, const Texts& texts) {
  switch (command) {
    case Command::kEmbed:
      return runner.Embed(texts);
    case Command::kClassify:
      return runner.Classify(texts);
    case Command::kTokenize:
      return runner.Tokenize(texts);
    case Command::kModels:
      return runner.Models();
    case Command::kBench:
      break;  // bench::RunBench
  }
  return false;
}

}  // namespace

int Run(const std::vector<std::string>& args, const Environment& environment) {
  const auto invocation = ParseCommandLine(args, environment.default_server);
  if (!invocation.ok()) return UsageError(invocation.status(), environment.err);
  if (invocation->print) {
    environment.out << *invocation->print << std::flush;
    return kExitOk;
  }
  const Options& options = invocation->options;
  Texts texts;
  const bool is_bench = options.command == Command::kBench;
  if (is_bench ? !options.sources.empty() : options.command != Command::kModels) {
    auto read = ReadInputs(options.sources, environment.in);
    if (!read.ok()) return UsageError(read.status(), environment.err);
    texts = *std::move(read);
  }
  if (is_bench) return bench::RunBench(options, std::move(texts), environment);
  const auto printer = options.json ? MakeJsonPrinter(environment.out, environment.err)
                                    : MakeTextPrinter(options, environment.terminal,
                                                      environment.out, environment.err);
  Runner runner(options, *printer, environment.out, environment.err);
  const bool all_good = RunCommand(options.command, runner, texts);
  environment.out.flush();
  if (!environment.out.good()) {
    environment.err << "contextpool: cannot write the output\n";
    return kExitFailed;
  }
  return all_good ? kExitOk : kExitFailed;
}

}  // namespace contextpool::cli
