// The operator's HTTP port: /metrics, /healthz (the process is of use) and /readyz (it can serve).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace contextpool::server {

// What the pages show, asked at each request from several threads.
struct HttpPages {
  std::function<std::string()> metrics;
  std::function<absl::Status()> alive;
  std::function<bool()> ready;
  std::function<std::string()> readiness_json;
};

class HttpServer {
 public:
  // Serves until destruction. UNAVAILABLE: the address cannot be bound. Port 0 picks a free one.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const std::string& address, int port,
                                                           HttpPages pages);
  virtual ~HttpServer() = default;

  virtual int port() const = 0;
};

// OK if the server on this machine answers /readyz with 200, else UNAVAILABLE with the reason.
absl::Status CheckReady(const std::string& address, int port);

}  // namespace contextpool::server
