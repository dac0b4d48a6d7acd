// Starts calls and collects their ends, over several connections.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "clients/cli/bench/call_kinds.h"
#include "clients/cli/bench/reply.h"
#include "clients/cli/bench/workload.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"

namespace contextpool::cli::bench {

using Clock = std::chrono::steady_clock;
using Time = Clock::time_point;

struct CallStart {
  // Which request of the workload is sent.
  uint64_t request = 0;
  // Index of its kind.
  size_t kind = 0;
  // When it should be sent. Its deadline counts from here.
  Time due{};
};

struct SentCall {
  size_t kind = 0;
  Time due{};
  Time sent{};
  // When it was sent, itself included: on its connection, and on all.
  size_t on_connection = 0;
  size_t in_flight = 0;
};

struct EndedCall : SentCall {
  Time ended{};
  grpc::Status status;
  // Where the status is OK.
  ReplyFacts reply;
};

// One thread starts calls, one thread (or the same) collects their ends; both are cheap, since a
// request is serialised already and a reply is read into memory that is there. Refused calls are
// not tried again. Must be destroyed by the thread that collects.
class Caller {
 public:
  struct Options {
    std::string server;
    uint32_t connections = 1;
    LoadTask task = LoadTask::kEmbed;
  };

  // `workload` and `kinds` must outlive the caller.
  Caller(const Options& options, const Workload& workload, std::span<const CallKind> kinds);
  // Cancels and collects what is left.
  ~Caller();

  // Waits until every connection stands; false if one does not within `timeout`.
  bool Connect(Nanoseconds timeout);
  const std::shared_ptr<grpc::Channel>& channel() const { return connections_.front().channel; }

  // Takes no time to speak of; calls go over the connections in turn. Thread safe.
  void Start(const CallStart& start);
  // The next call that ended, or nothing if none does until `until`. One thread only.
  std::optional<EndedCall> Next(Time until);
  // Ends all calls in flight soon, with CANCELLED. Thread safe.
  void CancelAll();
  // Calls whose end was not collected. Thread safe.
  size_t in_flight() const;
  // Those of them that are `which`. Thread safe.
  size_t CountInFlight(const std::function<bool(const SentCall&)>& which) const;

  // The model that answered the last call that ended OK. For the thread that collects.
  const v1::ModelRef& model() const { return reader_.model(); }

 private:
  struct Connection {
    std::shared_ptr<grpc::Channel> channel;
    std::unique_ptr<grpc::GenericStub> stub;
    // Under mutex_.
    size_t in_flight = 0;
  };
  struct Call {
    EndedCall facts;
    Connection* connection = nullptr;
    grpc::ClientContext context;
    grpc::ByteBuffer reply;
    std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
    std::list<Call>::iterator self;
  };

  // Counts a call, and holds it until it ends.
  void Launch(std::list<Call> call);

  const Workload& workload_;
  const std::span<const CallKind> kinds_;
  std::vector<Connection> connections_;
  grpc::CompletionQueue queue_;
  ReplyReader reader_;
  mutable std::mutex mutex_;
  // In flight; changed under mutex_.
  std::list<Call> calls_;
};

}  // namespace contextpool::cli::bench
