// The gRPC port with all services, health and reflection.
#pragma once

#include <chrono>
#include <memory>

#include "absl/status/statusor.h"
#include "server/config/options.h"
#include "server/observe/health.h"
#include "server/rpc/call.h"

namespace contextpool::server {

class GrpcServer {
 public:
  // Serves at once. UNAVAILABLE: the address cannot be bound. `backend` and `health` must outlive
  // the server. Of `options` the port, the address and gRPC's limits count.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const Options& options, Backend& backend,
                                                           HealthMonitor& health);
  virtual ~GrpcServer() = default;

  virtual int port() const = 0;

  // Ends streams once what they have read is answered, and refuses what the engine does not: to be
  // followed by Engine::Drain.
  virtual void Drain() = 0;

  // Waits until the replies of all calls that came before Drain are sent, or until `deadline`:
  // false.
  virtual bool WaitForOpenCalls(engine::TimePoint deadline) = 0;

  // Takes no new calls and waits for running ones; after `timeout` they are cancelled, and waited
  // for still: the engine must answer what it accepted.
  virtual void Shutdown(std::chrono::milliseconds timeout) = 0;
};

}  // namespace contextpool::server
