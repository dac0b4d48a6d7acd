#include "server/rpc/health_service.h"

#include <optional>
#include <string>
#include <utility>

#include "engine/base/mutex.h"

namespace contextpool::server {
namespace {

using ::grpc::health::v1::HealthCheckResponse;

constexpr char kUnknownService[] =
    "unknown service; known are \"\", contextpool.v1.EmbeddingService,"
    " contextpool.v1.ClassificationService and model:<name>";

HealthCheckResponse::ServingStatus Status(std::optional<bool> serving) {
  if (!serving) return HealthCheckResponse::SERVICE_UNKNOWN;
  return *serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

// One watcher: one write at a time, and always of the newest state.
class Watcher final : public grpc::ServerWriteReactor<HealthCheckResponse> {
 public:
  Watcher(HealthMonitor& monitor, std::string service)
      : monitor_(monitor), service_(std::move(service)) {
    listener_ = monitor_.AddListener([this](const HealthMonitor::State& state) { Hear(state); });
  }

  void OnWriteDone(bool ok) override {
    engine::MutexLock lock(mutex_);
    writing_ = false;
    if (!ok) end_ = grpc::Status(grpc::StatusCode::CANCELLED, "the watcher is gone");
    Continue();
  }

  void OnCancel() override {
    engine::MutexLock lock(mutex_);
    end_ = grpc::Status(grpc::StatusCode::CANCELLED, "the watcher gave up");
    Continue();
  }

  void OnDone() override {
    monitor_.RemoveListener(listener_);
    delete this;
  }

 private:
  void Hear(const HealthMonitor::State& state) {
    const auto found = state.services.find(service_);
    engine::MutexLock lock(mutex_);
    newest_ = Status(found == state.services.end() ? std::nullopt : std::optional(found->second));
    if (state.phase == HealthMonitor::Phase::kStopped) {
      end_ = grpc::Status(grpc::StatusCode::UNAVAILABLE, "the server stops");
    }
    Continue();
  }

  // Ends the stream or tells the newest state, unless a write is under way: its end comes here.
  void Continue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_ || finished_) return;
    if (end_) {
      finished_ = true;
      Finish(*end_);
    } else if (sent_ != newest_) {
      sent_ = newest_;
      writing_ = true;
      response_.set_status(newest_);
      StartWrite(&response_);
    }
  }

  HealthMonitor& monitor_;
  const std::string service_;
  int64_t listener_ = 0;
  engine::Mutex mutex_;
  HealthCheckResponse::ServingStatus newest_ ABSL_GUARDED_BY(mutex_) = HealthCheckResponse::UNKNOWN;
  // UNKNOWN: nothing yet.
  HealthCheckResponse::ServingStatus sent_ ABSL_GUARDED_BY(mutex_) = HealthCheckResponse::UNKNOWN;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<grpc::Status> end_ ABSL_GUARDED_BY(mutex_);
  HealthCheckResponse response_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

grpc::ServerUnaryReactor* HealthServiceImpl::Check(
    grpc::CallbackServerContext* context, const grpc::health::v1::HealthCheckRequest* request,
    HealthCheckResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const std::optional<bool> serving = monitor_.Serving(request->service());
  if (serving) {
    response->set_status(Status(serving));
    reactor->Finish(grpc::Status::OK);
  } else {
    reactor->Finish(grpc::Status(grpc::StatusCode::NOT_FOUND, kUnknownService));
  }
  return reactor;
}

grpc::ServerWriteReactor<HealthCheckResponse>* HealthServiceImpl::Watch(
    grpc::CallbackServerContext*, const grpc::health::v1::HealthCheckRequest* request) {
  return new Watcher(monitor_, request->service());
}

}  // namespace contextpool::server
