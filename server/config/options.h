// Everything an operator can set, as one validated value.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engine/base/dtype.h"
#include "engine/base/options.h"

namespace contextpool::server {

enum class LogFormat : uint8_t { kText, kJson };
enum class LogLevel : uint8_t { kDebug, kInfo, kWarning, kError };

struct Options {
  // Where the models are: folders of models, or model directories.
  std::vector<std::string> model_repositories;
  // A model that cannot be loaded ends the server.
  bool require_all_models = false;
  // Whether AdminService loads and unloads models.
  bool enable_admin = false;
  // How often to look for changes of the repositories; 0: never.
  std::chrono::milliseconds repository_poll_interval{0};
  // What models are computed on, as engine::EngineOptions has it.
  std::vector<std::string> devices = {"auto"};
  // What GPUs compute in.
  engine::DType gpu_dtype = engine::EngineOptions().gpu_dtype;
  // Threads of the CPU device; 0: as many as the process may use.
  int32_t threads = 0;
  // Threads that decode images; 0: half as many as the process may use.
  int32_t decode_threads = 0;

  std::string bind_address = "0.0.0.0";
  // 0 picks a free port.
  int32_t grpc_port = 8001;
  int32_t metrics_port = 8002;
  // Written once ready; empty: no file.
  std::string ready_file;
  // How long new calls are served once the server was told to stop, and has told so itself.
  std::chrono::milliseconds drain_grace{0};
  // How long accepted work may take afterwards.
  std::chrono::milliseconds drain_timeout = std::chrono::seconds(30);

  // How long a model may be idle before the server asks it whether it still answers; 0: never
  // asked.
  std::chrono::milliseconds canary_interval = std::chrono::seconds(10);
  // How long the engine may be unhealthy before the process ends; 0: for ever.
  std::chrono::milliseconds unhealthy_exit = std::chrono::seconds(30);

  // Limits of one request.
  int64_t max_message_bytes = 64 << 20;
  int32_t max_inputs = 4096;
  // Limits of one image.
  engine::ImageLimits image;
  // Limits of all requests together.
  int32_t max_in_flight_requests = 8192;
  int64_t max_in_flight_bytes = 512 << 20;
  // What may wait for all models of a device together; serving.textproto bounds each model.
  engine::QueueBounds queue = engine::EngineOptions().queue;
  // gRPC's own buffers; 0: no limit.
  int32_t grpc_memory_mib = 1024;
  // Per connection.
  int32_t max_concurrent_streams = 1024;
  // 0: connections live for as long as the client wants.
  std::chrono::milliseconds max_connection_age{0};
  std::chrono::milliseconds max_connection_age_grace = std::chrono::seconds(30);

  LogFormat log_format = LogFormat::kText;
  LogLevel log_level = LogLevel::kInfo;
};

// INVALID_ARGUMENT naming the flag, its value and the allowed range.
absl::Status ValidateOptions(const Options& options);

}  // namespace contextpool::server
