// Many requests to one method: a few in flight, answers in order.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "clients/cli/connection.h"
#include "clients/cli/inputs.h"
#include "grpcpp/grpcpp.h"

namespace contextpool::cli {

struct PipelineOptions {
  size_t in_flight = 4;
  // Deadline of each request, from the moment it is sent.
  double timeout_s = 60;
};

// How one method is called: `make` fills in a chunk's request and says which of its inputs cannot
// be sent, in order; `start` begins the call.
template <typename Request, typename Response>
struct Method {
  std::function<std::vector<Refusal>(const Chunk&, Request&)> make;
  std::function<std::unique_ptr<grpc::ClientAsyncResponseReader<Response>>(
      grpc::ClientContext*, const Request&, grpc::CompletionQueue*)>
      start;
};

// One chunk with what came of it.
template <typename Request, typename Response>
struct Answer {
  Chunk chunk;
  // Inputs that the request left out, in order. Where all are, nothing was sent, and the status is
  // OK with an empty response.
  std::vector<Refusal> refused;
  Request request;
  grpc::Status status;
  Response response;

  size_t sent() const { return chunk.count - refused.size(); }
};

// Sends every chunk, and delivers one answer for each, in order, from this thread. A request is
// made when there is room for it. After the first failed one nothing more is made or sent: the
// chunks left are delivered with its status.
template <typename Request, typename Response>
class Pipeline {
 public:
  using Deliver = std::function<void(const Answer<Request, Response>&)>;

  Pipeline(Method<Request, Response> method, PipelineOptions options)
      : method_(std::move(method)), options_(options) {}

  ~Pipeline() {
    queue_.Shutdown();
    void* tag;
    bool ok;
    while (queue_.Next(&tag, &ok)) {
    }
  }

  void Run(const std::vector<Chunk>& chunks, const Deliver& deliver) {
    size_t next = 0;
    grpc::Status failure;
    while (next < chunks.size() || !calls_.empty()) {
      while (next < chunks.size() && calls_.size() < options_.in_flight) {
        Begin(chunks[next++], failure);
      }
      Call& oldest = *calls_.front();
      WaitFor(oldest);
      if (failure.ok()) failure = oldest.status;
      deliver(oldest);
      calls_.pop_front();
    }
  }

 private:
  struct Call : Answer<Request, Response> {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> reader;
    bool done = false;
  };

  void Begin(const Chunk& chunk, const grpc::Status& failure) {
    calls_.push_back(std::make_unique<Call>());
    Call& call = *calls_.back();
    call.chunk = chunk;
    call.status = failure;
    if (failure.ok()) call.refused = method_.make(chunk, call.request);
    call.done = !failure.ok() || call.sent() == 0;
    if (call.done) return;
    call.context.set_deadline(DeadlineAfter(options_.timeout_s));
    call.reader = method_.start(&call.context, call.request, &queue_);
    call.reader->Finish(&call.response, &call.status, &call);
  }

  void WaitFor(const Call& call) {
    void* tag;
    bool ok;
    while (!call.done && queue_.Next(&tag, &ok)) static_cast<Call*>(tag)->done = true;
  }

  Method<Request, Response> method_;
  PipelineOptions options_;
  grpc::CompletionQueue queue_;
  std::deque<std::unique_ptr<Call>> calls_;
};

}  // namespace contextpool::cli
