#include "server/run.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "engine/base/mutex.h"
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
// What is not over so long after its time ends with the process.
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

std::string DeviceNames(const engine::Engine& engine) {
  const engine::Stats stats = engine.Snapshot();
  return absl::StrJoin(stats.devices, ",", [](std::string* out, const engine::DeviceStats& device) {
    out->append(device.name);
  });
}

AdmissionLimits Limits(const Options& options) {
  AdmissionLimits limits;
  limits.max_message_bytes = options.max_message_bytes;
  limits.max_in_flight_requests = options.max_in_flight_requests;
  limits.max_in_flight_bytes = options.max_in_flight_bytes;
  return limits;
}

// How far the end has come. Outlives Run, as the threads that watch the end do.
enum class Ending : uint8_t { kWork, kCleanUp, kOver };
std::atomic<Ending> ending{Ending::kWork};

// Blocks until something serves for the first time: true. False: draining began before.
bool WaitUntilServing(HealthMonitor& health) {
  engine::Mutex mutex;
  engine::CondVar changed;
  bool serves = false;
  bool draining = false;
  const int64_t listener = health.AddListener([&](const HealthMonitor::State& state) {
    engine::MutexLock lock(mutex);
    serves = state.services.at("");
    draining = state.phase != HealthMonitor::Phase::kServing;
    changed.NotifyAll();
  });
  {
    engine::MutexLock lock(mutex);
    while (!serves && !draining) changed.Wait(mutex);
  }
  health.RemoveListener(listener);
  return !draining;
}

// Everything that serves. Members are destroyed from the last to the first.
class Server {
 public:
  Server(const Options& options, Logger& logger, std::unique_ptr<engine::Engine> engine,
         const std::vector<ModelKey>& models)
      : options_(options),
        logger_(logger),
        started_(std::chrono::steady_clock::now()),
        start_models_(models),
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
  // accepted. An error: the start failed, or not all of the work could be finished in time.
  // REQUIRES: a signal arrived, after which nobody writes what WatchLoading found.
  absl::Status Drain() {
    EndProcessOnSecondSignal();
    const bool served = health_.Serving("").value_or(false);
    health_.SetPhase(HealthMonitor::Phase::kDraining);
    RemoveReadyFile(options_.ready_file);
    const auto refuse = std::chrono::steady_clock::now() +
                        (served ? options_.drain_grace : std::chrono::milliseconds(0));
    // However short the time, what takes none is finished.
    const auto deadline =
        refuse + std::max<std::chrono::milliseconds>(options_.drain_timeout, kFlushTime);
    EndProcessAt(refuse + options_.drain_timeout + kLongestFlush);
    if (watcher_) watcher_->RequestStop();
    std::this_thread::sleep_until(refuse);
    absl::Status work = FinishWork(deadline);
    loader_.join();
    RemoveReadyFile(options_.ready_file);  // loading may have ended after draining began
    if (!start_status_.ok()) return start_status_;
    if (work.ok()) ending = Ending::kCleanUp;
    return work;
  }

 private:
  absl::Status FinishWork(std::chrono::steady_clock::time_point deadline) {
    grpc_->Drain();
    const std::future<void> work = std::async(std::launch::async, [this] { engine_->Drain(); });
    const bool finished = work.wait_until(deadline) == std::future_status::ready;
    const bool sent = grpc_->WaitForOpenCalls(deadline);
    health_.SetPhase(HealthMonitor::Phase::kStopped);
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    grpc_->Shutdown(std::clamp(left, kFlushTime, kLongestFlush));
    work.wait();  // what was not finished was cancelled
    if (!finished) {
      return absl::DeadlineExceededError(
          "accepted work took longer than --drain_timeout and was cancelled");
    }
    if (!sent) {
      logger_.Log(LogLevel::kWarning,
                  "all work is done, but its callers did not read every reply in --drain_timeout;"
                  " their calls were ended");
    }
    return absl::OkStatus();
  }

  absl::Status ReportLoading() {
    if (health_.phase() != HealthMonitor::Phase::kServing) return absl::OkStatus();
    if (absl::Status status = ReportModels(); !status.ok()) return status;
    health_.EndStart();
    if (!health_.Ready()) {
      logger_.Log(LogLevel::kError,
                  "no model serves; the server stays to say why on /readyz and in ListModels");
    }
    if (!WaitUntilServing(health_)) return absl::OkStatus();
    const double seconds = engine::Seconds(std::chrono::steady_clock::now() - started_);
    logger_.Log(LogLevel::kInfo, "ready", {{"seconds", seconds}});
    if (options_.ready_file.empty()) return absl::OkStatus();
    return WriteReadyFile(options_.ready_file, grpc_->port(), http_->port());
  }

  // Of the start; who loads others reports them.
  absl::Status ReportModels() {
    std::string failed;
    for (const ModelKey& key : start_models_) {
      const absl::StatusOr<engine::ModelStatus> model = engine_->GetModel(key.first, key.second);
      if (!model.ok()) continue;  // unloaded already
      const bool is_failed = model->state == engine::ModelState::kFailed;
      if (is_failed) failed = key.first;
      if (is_failed || model->state == engine::ModelState::kReady) LogModel(logger_, *model);
    }
    if (failed.empty() || !options_.require_all_models) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("model ", failed, " could not be loaded, and --require_all_models is set"));
  }

  // These threads may outlive this object and Run, on the process's way out, and touch nothing of
  // either.
  static void EndProcessOnSecondSignal() {
    std::thread([first = std::chrono::steady_clock::now()] {
      do {
        WaitForSignal();
      } while (std::chrono::steady_clock::now() < first + kSignalGap);
      _exit(1);
    }).detach();
  }

  // Unless all is over by then.
  void EndProcessAt(std::chrono::steady_clock::time_point time) const {
    std::thread([time, logger = logger_]() mutable {
      std::this_thread::sleep_until(time);
      const Ending now = ending;
      if (now == Ending::kOver) return;
      if (now == Ending::kCleanUp) {
        logger.Log(LogLevel::kWarning,
                   "all work is done, but the load of a model, or a look at the repository, has not"
                   " ended in --drain_timeout; ending without it");
        _exit(0);
      }
      logger.Log(LogLevel::kError, "accepted work took longer than --drain_timeout; ending now");
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
  const std::vector<ModelKey> start_models_;
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
  engine_options.devices = options.devices;
  engine_options.gpu_dtype = options.gpu_dtype;
  engine_options.cpu_threads = options.threads;
  engine_options.decode_threads = options.decode_threads;
  engine_options.image_limits = options.image;
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
  std::vector<std::string> notes;
  absl::StatusOr<std::unique_ptr<engine::Engine>> engine =
      engine::Engine::Create(std::move(engine_options), engine::Clock::Real(), &notes);
  if (!engine.ok()) return engine.status();
  for (const std::string& note : notes) logger.Log(LogLevel::kWarning, note);
  logger.Log(LogLevel::kInfo, "computing", {{"devices", DeviceNames(**engine)}});

  auto server =
      std::make_unique<Server>(options, logger, *std::move(engine), Keys(repository->models));
  if (absl::Status status = server->OpenPorts(); !status.ok()) return status;
  server->WatchLoading();
  if (watch) server->WatchRepository(std::move(look));
  const int signal = WaitForSignal();
  logger.Log(LogLevel::kInfo, "draining", {{"signal", absl::string_view(strsignal(signal))}});
  absl::Status status = server->Drain();
  server.reset();
  ending = Ending::kOver;
  logger.Log(LogLevel::kInfo, "stopped");
  return status;
}

}  // namespace contextpool::server
