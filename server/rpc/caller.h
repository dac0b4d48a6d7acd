// The far end of a gRPC call: what it said beside its messages, and whether it still waits.
#pragma once

#include <cstdint>
#include <stop_token>

#include "absl/status/status.h"
#include "engine/base/clock.h"
#include "grpcpp/server_context.h"
#include "server/rpc/decode.h"

namespace contextpool::server {

// Thread safe.
class Caller {
 public:
  // REQUIRES: the call has just arrived. `clock` outlives this, `context` need not.
  Caller(const grpc::CallbackServerContext& context, int32_t max_inputs,
         const engine::Clock& clock);

  const CallInfo& info() const { return info_; }

  // The caller gave up, vanished or let its deadline pass; gRPC does not say which. The engine may
  // answer work that waits from inside.
  void GiveUp();

  // For engine::Request::stop.
  std::stop_token stop() const { return stop_.get_token(); }

  // DEADLINE_EXCEEDED or CANCELLED: nobody waits for an answer any more.
  absl::Status CheckWanted() const;

 private:
  const engine::Clock& clock_;
  const engine::TimePoint arrived_;
  const CallInfo info_;
  std::stop_source stop_;
};

}  // namespace contextpool::server
