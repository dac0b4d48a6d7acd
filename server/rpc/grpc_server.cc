#include "server/rpc/grpc_server.h"

#include <algorithm>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/grpcpp.h"
#include "server/rpc/admin_service.h"
#include "server/rpc/health_service.h"
#include "server/rpc/services.h"

namespace contextpool::server {
namespace {

// gRPC's own limit lies above ours, so that ours, which says what to do, is met first.
constexpr int64_t kMessageMargin = 1 << 20;

int Milliseconds(std::chrono::milliseconds duration) {
  return static_cast<int>(std::min<int64_t>(duration.count(), std::numeric_limits<int>::max()));
}

void ApplyLimits(const Options& options, grpc::ServerBuilder& builder) {
  builder.SetMaxReceiveMessageSize(static_cast<int>(std::min<int64_t>(
      options.max_message_bytes + kMessageMargin, std::numeric_limits<int>::max())));
  builder.SetMaxSendMessageSize(-1);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_concurrent_streams);
  // Without it two servers may share a port without a word.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  if (options.max_connection_age.count() > 0) {
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS,
                               Milliseconds(options.max_connection_age));
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS,
                               Milliseconds(options.max_connection_age_grace));
  }
  if (options.grpc_memory_mib > 0) {
    grpc::ResourceQuota quota("contextpool-server");
    quota.Resize(static_cast<size_t>(options.grpc_memory_mib) << 20);
    builder.SetResourceQuota(quota);
  }
}

std::string HostAndPort(const std::string& address, int port) {
  const bool ipv6 = absl::StrContains(address, ':') && address[0] != '[';
  return ipv6 ? absl::StrCat("[", address, "]:", port) : absl::StrCat(address, ":", port);
}

class GrpcServerImpl : public GrpcServer {
 public:
  GrpcServerImpl(Backend& backend, HealthMonitor& health)
      : backend_(backend),
        embedding_(backend),
        classification_(backend),
        models_(backend),
        admin_(backend),
        health_(health) {}

  ~GrpcServerImpl() override {
    if (server_ != nullptr) Shutdown(std::chrono::milliseconds(0));
  }

  absl::Status Start(const Options& options) {
    static const bool reflection = [] {
      grpc::reflection::InitProtoReflectionServerBuilderPlugin();
      return true;
    }();
    (void)reflection;
    grpc::ServerBuilder builder;
    ApplyLimits(options, builder);
    const std::string address = HostAndPort(options.bind_address, options.grpc_port);
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&embedding_);
    builder.RegisterService(&classification_);
    builder.RegisterService(&models_);
    builder.RegisterService(&admin_);
    builder.RegisterService(&health_);
    server_ = builder.BuildAndStart();
    if (server_ != nullptr && port_ != 0) return absl::OkStatus();
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", address,
                     ": the port is taken or the address is not this machine's; choose another"
                     " with --grpc_port or --bind_address"));
  }

  int port() const override { return port_; }

  void Drain() override { backend_.draining.Begin(); }

  bool WaitForOpenCalls(engine::TimePoint deadline) override {
    return backend_.draining.WaitForOpenCalls(deadline);
  }

  void Shutdown(std::chrono::milliseconds timeout) override {
    server_->Shutdown(std::chrono::system_clock::now() + timeout);
    server_->Wait();
  }

 private:
  Backend& backend_;
  EmbeddingServiceImpl embedding_;
  ClassificationServiceImpl classification_;
  ModelServiceImpl models_;
  AdminServiceImpl admin_;
  HealthServiceImpl health_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const Options& options,
                                                              Backend& backend,
                                                              HealthMonitor& health) {
  auto server = std::make_unique<GrpcServerImpl>(backend, health);
  if (absl::Status status = server->Start(options); !status.ok()) return status;
  return server;
}

}  // namespace contextpool::server
