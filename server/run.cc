#include "server/run.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "engine/engine.h"
#include "server/admission/admission.h"
#include "server/config/repository.h"
#include "server/models/model_control.h"
#include "server/models/repository_watcher.h"
#include "server/observe/exit_guard.h"
#include "server/observe/health.h"
#include "server/observe/health_metrics.h"
#include "server/observe/http_server.h"
#include "server/observe/log.h"
#include "server/observe/metrics_page.h"
#include "server/observe/server_metrics.h"
#include "server/observe/version.h"
#include "server/rpc/grpc_server.h"

namespace contextpool::server {
namespace {

// Replies that are on their way get at least this long, and streams that nobody ends at most that.
constexpr std::chrono::milliseconds kFlushTime{500};
constexpr std::chrono::milliseconds kLongestFlush{2000};
// Signals closer together count as one: a terminal and a script may both send theirs.
constexpr std::chrono::milliseconds kSignalGap{1000};

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

int WaitForSignal() {
  const sigset_t signals = StopSignals();
  int signal = 0;
  while (sigwait(&signals, &signal) != 0) {
  }
  return signal;
}

// Written beside and moved into place, so that a reader never sees half a file.
absl::Status WriteReadyFile(const std::string& path, int grpc_port, int metrics_port) {
  const std::string partial = absl::StrCat(path, ".", getpid(), ".partial");
  const nlohmann::ordered_json json = {{"grpc_port", grpc_port}, {"metrics_port", metrics_port}};
  std::ofstream file(partial, std::ios::trunc);
  file << json.dump() << "\n";
  file.close();
  std::error_code error;
  if (file) std::filesystem::rename(partial, path, error);
  if (file && !error) return absl::OkStatus();
  std::filesystem::remove(partial, error);
  return absl::UnavailableError(
      absl::StrCat("--ready_file=", path, ": the file cannot be written; is its folder writable?"));
}

void RemoveReadyFile(const std::string& path) {
  std::error_code ignored;
  if (!path.empty()) std::filesystem::remove(path, ignored);
}

std::vector<ModelKey> Keys(const std::vector<engine::ModelSpec>& models) {
  std::vector<ModelKey> keys;
  for (const engine::ModelSpec& model : models) keys.emplace_back(model.name, model.version);
  return keys;
}

AdmissionLimits Limits(const Options& options) {
  AdmissionLimits limits;
  limits.max_message_bytes = options.max_message_bytes;
  limits.max_in_flight_requests = options.max_in_flight_requests;
  limits.max_in_flight_bytes = options.max_in_flight_bytes;
  return limits;
}

// Draining ended in time. Outlives the server object, as the threads that watch draining do.
std::atomic<bool> drained{false};

// Everything that serves. Members are destroyed from the last to the first.
class Server {
 public:
  Server(const Options& options, Logger& logger, std::unique_ptr<engine::Engine> engine,
         const std::vector<ModelKey>& models)
      : options_(options),
        logger_(logger),
        started_(std::chrono::steady_clock::now()),
        metrics_(models),
        control_(options.model_repositories, *engine, metrics_, logger),
        engine_(std::move(engine)),
        admission_(Limits(options)),
        page_(metrics_, admission_, *engine_),
        backend_{*engine_, admission_, metrics_, logger_, options.max_inputs},
        health_page_(*engine_),
        health_(*engine_),
        exit_guard_(*engine_, options.unhealthy_exit, engine::Clock::Real(), logger,
                    [this] { ExitAtOnce(); }) {
    if (options.enable_admin) backend_.admin = &control_;
    exit_guard_.Start();
  }

  ~Server() {
    if (loader_.joinable()) loader_.join();
  }

  absl::Status OpenPorts() {
    HttpPages pages;
    pages.metrics = [this] { return RenderMetrics({&page_, &health_page_, &process_}); };
    pages.alive = [this] { return health_.Alive(); };
    pages.ready = [this] { return health_.Ready(); };
    pages.readiness_json = [this] { return health_.ReadinessJson(); };
    auto http = HttpServer::Start(options_.bind_address, options_.metrics_port, std::move(pages));
    if (!http.ok()) return http.status();
    http_ = *std::move(http);
    auto grpc = GrpcServer::Start(options_, backend_, health_);
    if (!grpc.ok()) return grpc.status();
    grpc_ = *std::move(grpc);
    logger_.Log(LogLevel::kInfo, "listening",
                {{"grpc_port", int64_t{grpc_->port()}},
                 {"metrics_port", int64_t{http_->port()}},
                 {"address", options_.bind_address}});
    return absl::OkStatus();
  }

  // Keeps what is served as the repository is, of which `look` has what was there at the start.
  void WatchRepository(RepositoryWatcher::Look look) {
    watcher_.emplace(options_.model_repositories, std::move(look), control_, logger_);
    watcher_->Start(options_.repository_poll_interval);
  }

  // A failure ends in SIGTERM to this process, which the main thread waits for.
  void WatchLoading() {
    loader_ = std::thread([this] {
      engine_->WaitUntilLoaded();
      start_status_ = ReportLoading();
      if (!start_status_.ok()) kill(getpid(), SIGTERM);
    });
  }

  // Tells everybody, serves on for --drain_grace, then takes no more work and finishes what was
  // accepted.
  void Drain() {
    EndProcessOnSecondSignal();
    if (watcher_) watcher_->Stop();
    const bool served = health_.Serving("").value_or(false);
    health_.SetPhase(HealthMonitor::Phase::kDraining);
    RemoveReadyFile(options_.ready_file);
    if (served) std::this_thread::sleep_for(options_.drain_grace);
    const auto deadline = std::chrono::steady_clock::now() + options_.drain_timeout;
    EndProcessUnlessDrainedBy(deadline);
    grpc_->Drain();
    engine_->Drain();
    grpc_->WaitForOpenCalls(deadline);
    health_.SetPhase(HealthMonitor::Phase::kStopped);
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    grpc_->Shutdown(std::clamp(left, kFlushTime, kLongestFlush));
  }

  // REQUIRES: a signal arrived, after which nobody writes it.
  absl::Status start_status() {
    loader_.join();
    RemoveReadyFile(options_.ready_file);  // loading may have ended after draining began
    drained = true;
    return start_status_;
  }

 private:
  absl::Status ReportLoading() {
    if (health_.phase() != HealthMonitor::Phase::kServing) return absl::OkStatus();
    std::string failed;
    for (const engine::ModelStatus& model : engine_->ListModels()) {
      LogModel(logger_, model);
      if (model.state != engine::ModelState::kReady) failed = model.info->name;
    }
    if (!failed.empty() && options_.require_all_models) {
      return absl::FailedPreconditionError(
          absl::StrCat("model ", failed, " could not be loaded, and --require_all_models is set"));
    }
    if (!health_.Ready()) {
      logger_.Log(LogLevel::kError,
                  "no model serves; the server stays to say why on /readyz and in ListModels");
      return absl::OkStatus();
    }
    const double seconds = engine::Seconds(std::chrono::steady_clock::now() - started_);
    logger_.Log(LogLevel::kInfo, "ready", {{"seconds", seconds}});
    if (options_.ready_file.empty()) return absl::OkStatus();
    return WriteReadyFile(options_.ready_file, grpc_->port(), http_->port());
  }

  // These threads may outlive this object, on the process's way out, and touch nothing of it once
  // drained.
  void EndProcessOnSecondSignal() {
    std::thread([first = std::chrono::steady_clock::now()] {
      do {
        WaitForSignal();
      } while (std::chrono::steady_clock::now() < first + kSignalGap);
      _exit(1);
    }).detach();
  }

  void EndProcessUnlessDrainedBy(std::chrono::steady_clock::time_point deadline) {
    std::thread([deadline, &logger = logger_] {
      std::this_thread::sleep_until(deadline + kFlushTime);
      if (drained) return;
      logger.Log(LogLevel::kError, "accepted work took longer than --drain_timeout; stopping now");
      _exit(1);
    }).detach();
  }

  // A thread that is stuck cannot be waited for, so nothing is drained or destroyed.
  [[noreturn]] void ExitAtOnce() {
    RemoveReadyFile(options_.ready_file);
    _exit(1);
  }

  const Options& options_;
  Logger& logger_;
  const std::chrono::steady_clock::time_point started_;
  ServerMetrics metrics_;
  ModelControl control_;
  // Its end may still bring outcomes of loads to both.
  const std::unique_ptr<engine::Engine> engine_;
  Admission admission_;
  const ContextPoolCollectable page_;
  const ProcessCollectable process_;
  Backend backend_;
  const HealthCollectable health_page_;
  HealthMonitor health_;
  ExitGuard exit_guard_;
  std::optional<RepositoryWatcher> watcher_;
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<GrpcServer> grpc_;
  absl::Status start_status_;
  std::thread loader_;
};

}  // namespace

absl::Status Run(const Options& options) {
  // Before any thread exists, so that all of them leave the signals to this one.
  const sigset_t signals = StopSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  RemoveReadyFile(options.ready_file);

  Logger logger(options.log_format, options.log_level);
  absl::StatusOr<Repository> repository = FindModels(options.model_repositories);
  if (!repository.ok()) return repository.status();
  for (const std::string& note : repository->notes) logger.Log(LogLevel::kWarning, note);

  engine::EngineOptions engine_options;
  engine_options.cpu_threads = options.threads;
  engine_options.queue = options.queue;
  engine_options.models = repository->models;
  engine_options.canary_interval = options.canary_interval;
  logger.Log(LogLevel::kInfo, "starting",
             {{"version", absl::string_view(kVersion)},
              {"models", static_cast<int64_t>(repository->models.size())}});
  // Before the engine reads any file: what changes afterwards is seen.
  const bool watch = options.repository_poll_interval.count() > 0;
  RepositoryWatcher::Look look;
  if (watch) look = RepositoryWatcher::LookAt(repository->models);
  absl::StatusOr<std::unique_ptr<engine::Engine>> engine =
      engine::Engine::Create(std::move(engine_options));
  if (!engine.ok()) return engine.status();

  Server server(options, logger, *std::move(engine), Keys(repository->models));
  if (absl::Status status = server.OpenPorts(); !status.ok()) return status;
  server.WatchLoading();
  if (watch) server.WatchRepository(std::move(look));
  const int signal = WaitForSignal();
  logger.Log(LogLevel::kInfo, "draining", {{"signal", absl::string_view(strsignal(signal))}});
  server.Drain();
  absl::Status status = server.start_status();
  logger.Log(LogLevel::kInfo, "stopped");
  return status;
}

}  // namespace contextpool::server
