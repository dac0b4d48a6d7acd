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

// How one method is called: `make` builds a chunk's request, `start` begins the call.
template <typename Request, typename Response>
struct Method {
  std::function<Request(const Chunk&)> make;
  std::function<std::unique_ptr<grpc::ClientAsyncResponseReader<Response>>(
      grpc::ClientContext*, const Request&, grpc::CompletionQueue*)>
      start;
};

// Sends every chunk whose text is valid UTF-8, and delivers one (chunk, status, response) for each
// chunk, in order, from this thread. After the first failed request nothing more is sent: the
// chunks left are delivered with its status. Chunks that cannot be sent are delivered as
// INVALID_ARGUMENT and stop nothing.
template <typename Request, typename Response>
class Pipeline {
 public:
  using Deliver = std::function<void(const Chunk&, const grpc::Status&, const Response&)>;

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
      if (!oldest.status.ok() && oldest.chunk.valid_utf8 && failure.ok()) failure = oldest.status;
      deliver(oldest.chunk, oldest.status, oldest.response);
      calls_.pop_front();
    }
  }

 private:
  struct Call {
    Chunk chunk;
    grpc::ClientContext context;
    Request request;
    Response response;
    grpc::Status status;
    std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> reader;
    bool done = false;
  };

  void Begin(const Chunk& chunk, const grpc::Status& failure) {
    calls_.push_back(std::make_unique<Call>());
    Call& call = *calls_.back();
    call.chunk = chunk;
    call.done = !chunk.valid_utf8 || !failure.ok();
    if (!chunk.valid_utf8) {
      call.status = {grpc::StatusCode::INVALID_ARGUMENT, "the text is not valid UTF-8"};
    } else if (!failure.ok()) {
      call.status = failure;
    } else {
      call.request = method_.make(chunk);
      call.context.set_deadline(DeadlineAfter(options_.timeout_s));
      call.reader = method_.start(&call.context, call.request, &queue_);
      call.reader->Finish(&call.response, &call.status, &call);
    }
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
