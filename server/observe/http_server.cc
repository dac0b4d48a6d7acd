#include "server/observe/http_server.h"

#include <httplib.h>

#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

namespace contextpool::server {
namespace {

constexpr char kMetricsType[] = "text/plain; version=0.0.4; charset=utf-8";
constexpr int kThreads = 16;
constexpr int kTimeoutSeconds = 5;  // of the client
constexpr int kReadSeconds = 1;
constexpr int kMostRequestsPerConnection = 100;
constexpr size_t kLongestBody = 1024;

class HttplibServer : public HttpServer {
 public:
  explicit HttplibServer(HttpPages pages) : pages_(std::move(pages)) {
    server_.new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
    // The library's default lets two servers share one port without a word.
    server_.set_socket_options([this](socket_t socket) {
      socket_ = socket;
      const int yes = 1;
      setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    });
    // A connection holds a thread: one that says nothing must not hold it for long.
    server_.set_keep_alive_timeout(1);
    server_.set_keep_alive_max_count(kMostRequestsPerConnection);
    server_.set_read_timeout(kReadSeconds);
    server_.set_write_timeout(kReadSeconds);
    server_.set_payload_max_length(kLongestBody);
    AddPages();
  }

  ~HttplibServer() override {
    server_.stop();
    if (thread_.joinable()) thread_.join();
  }

  absl::Status Bind(const std::string& address, int port) {
    if (port == 0) {
      port_ = server_.bind_to_any_port(address);
    } else {
      port_ = server_.bind_to_port(address, port) ? port : -1;
    }
    // The library lets 5 connections wait to be accepted; a machine that is busy needs more, since
    // who finds no room tries again after a second.
    if (port_ > 0 && listen(socket_, SOMAXCONN) == 0) return absl::OkStatus();
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", address, ":", port,
                     ": the port is taken or the address is not this machine's; choose another"
                     " with --metrics_port or --bind_address"));
  }

  void Run() {
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    // stop() before the loop has begun would be lost.
    while (!server_.is_running()) std::this_thread::yield();
  }

  int port() const override { return port_; }

 private:
  void AddPages() {
    server_.Get("/healthz", [this](const httplib::Request&, httplib::Response& response) {
      const absl::Status alive = pages_.alive();
      response.status = alive.ok() ? 200 : 503;
      response.set_content(alive.ok() ? "ok\n" : absl::StrCat(alive.message(), "\n"), "text/plain");
    });
    server_.Get("/readyz", [this](const httplib::Request&, httplib::Response& response) {
      response.status = pages_.ready() ? 200 : 503;
      response.set_content(pages_.readiness_json() + "\n", "application/json");
    });
    server_.Get("/metrics", [this](const httplib::Request&, httplib::Response& response) {
      response.set_content(pages_.metrics(), kMetricsType);
    });
    server_.set_error_handler([](const httplib::Request&, httplib::Response& response) {
      if (!response.body.empty()) return;
      response.set_content("pages: /metrics /healthz /readyz\n", "text/plain");
    });
  }

  const HttpPages pages_;
  httplib::Server server_;
  std::thread thread_;
  int port_ = -1;
  socket_t socket_ = INVALID_SOCKET;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const std::string& address, int port,
                                                              HttpPages pages) {
  auto server = std::make_unique<HttplibServer>(std::move(pages));
  if (absl::Status status = server->Bind(address, port); !status.ok()) return status;
  server->Run();
  return server;
}

absl::Status CheckReady(const std::string& address, int port) {
  httplib::Client client(address == "0.0.0.0" ? "127.0.0.1" : address, port);
  client.set_connection_timeout(kTimeoutSeconds);
  client.set_read_timeout(kTimeoutSeconds);
  const httplib::Result result = client.Get("/readyz");
  if (!result) {
    return absl::UnavailableError(
        absl::StrCat("no answer from port ", port, ": ", httplib::to_string(result.error())));
  }
  if (result->status == 200) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("not ready: ", result->body));
}

}  // namespace contextpool::server
