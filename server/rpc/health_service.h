// grpc.health.v1: the server's health as load balancers and orchestrators ask for it.
#pragma once

#include "grpc/health/v1/health.grpc.pb.h"
#include "server/observe/health.h"

namespace contextpool::server {

class HealthServiceImpl final : public grpc::health::v1::Health::CallbackService {
 public:
  // The monitor must outlive the server.
  explicit HealthServiceImpl(HealthMonitor& monitor) : monitor_(monitor) {}

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const grpc::health::v1::HealthCheckRequest* request,
                                  grpc::health::v1::HealthCheckResponse* response) override;

  // Ends with UNAVAILABLE once the monitor is stopped.
  grpc::ServerWriteReactor<grpc::health::v1::HealthCheckResponse>* Watch(
      grpc::CallbackServerContext* context,
      const grpc::health::v1::HealthCheckRequest* request) override;

 private:
  HealthMonitor& monitor_;
};

}  // namespace contextpool::server
