#include "server/observe/http_server.h"

#include <httplib.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/observe/health.h"
#include "tests/support/fake_engine.h"

namespace contextpool::server {
namespace {

using ::testing::HasSubstr;

class HttpServerTest : public testing::Test {
 protected:
  void SetUp() override {
    auto server = HttpServer::Start("127.0.0.1", 0,
                                    {.metrics = [] { return std::string("figures\n"); },
                                     .alive = [this] { return health_.Alive(); },
                                     .ready = [this] { return health_.Ready(); },
                                     .readiness_json = [this] { return health_.ReadinessJson(); }});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  httplib::Result Get(const char* path) {
    return httplib::Client("127.0.0.1", server_->port()).Get(path);
  }

  engine::FakeEngine engine_;
  HealthMonitor health_{engine_};
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, ServesItsPagesAndNothingElse) {
  EXPECT_EQ(Get("/healthz")->status, 200);
  const auto metrics = Get("/metrics");
  EXPECT_EQ(metrics->status, 200);
  EXPECT_EQ(metrics->body, "figures\n");
  EXPECT_THAT(metrics->get_header_value("Content-Type"), HasSubstr("version=0.0.4"));
  EXPECT_EQ(Get("/")->status, 404);
  EXPECT_THAT(Get("/other")->body, HasSubstr("/metrics"));
}

TEST_F(HttpServerTest, ReadyOnceEveryModelOfTheStartIsReadyOrFailed) {
  engine_.SetState("encoder", engine::ModelState::kLoading, "");
  EXPECT_EQ(Get("/readyz")->status, 503);
  engine_.SetState("encoder", engine::ModelState::kFailed, "bad tensor");
  const auto answer = Get("/readyz");
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(
      answer->body,
      R"({"ready":true,"draining":false,"healthy":true,"models":[{"name":"classifier","version":1,)"
      R"("state":"ready"},{"name":"encoder","version":1,"state":"failed",)"
      R"("reason":"bad tensor"}]})"
      "\n");
  engine_.SetState("encoder", engine::ModelState::kLoading, "");
  EXPECT_EQ(Get("/readyz")->status, 200) << "it is loaded again";
}

TEST_F(HttpServerTest, ReadyOnceTheStartHasEndedWhateverElseIsLoading) {
  engine_.SetState("encoder", engine::ModelState::kLoading, "");
  ASSERT_EQ(Get("/readyz")->status, 503);
  health_.EndStart();
  EXPECT_EQ(Get("/readyz")->status, 200);
}

TEST_F(HttpServerTest, AnUnhealthyEngineIsNotReadyAndSaysWhyButTheProcessLives) {
  engine_.SetHealth({false, /*can_recover=*/true, "the device hangs", {}});
  const auto answer = Get("/readyz");
  EXPECT_EQ(answer->status, 503);
  EXPECT_THAT(answer->body, HasSubstr(R"("ready":false,"draining":false,"healthy":false,)"
                                      R"("reason":"the device hangs")"));
  EXPECT_EQ(Get("/healthz")->status, 200);
  engine_.SetHealth({});
  EXPECT_EQ(Get("/readyz")->status, 200);
}

TEST_F(HttpServerTest, AnEngineThatCannotRecoverIsNotAlive) {
  engine_.SetHealth({false, /*can_recover=*/false, "its thread ended", {}});
  const auto answer = Get("/healthz");
  EXPECT_EQ(answer->status, 503);
  EXPECT_EQ(answer->body, "the engine cannot recover: its thread ended\n");
}

TEST_F(HttpServerTest, NotReadyWhenNothingServesOrDraining) {
  engine_.SetState("encoder", engine::ModelState::kFailed, "");
  engine_.SetState("classifier", engine::ModelState::kFailed, "");
  EXPECT_EQ(Get("/readyz")->status, 503);
  engine_.SetState("classifier", engine::ModelState::kReady, "");
  EXPECT_EQ(Get("/readyz")->status, 200);
  health_.SetPhase(HealthMonitor::Phase::kDraining);
  EXPECT_EQ(Get("/readyz")->status, 503);
  EXPECT_EQ(Get("/healthz")->status, 200);
}

TEST_F(HttpServerTest, HealthCheckAsksReadyz) {
  EXPECT_TRUE(CheckReady("0.0.0.0", server_->port()).ok());
  health_.SetPhase(HealthMonitor::Phase::kDraining);
  EXPECT_THAT(std::string(CheckReady("127.0.0.1", server_->port()).message()),
              HasSubstr("not ready"));
  const int port = server_->port();
  server_.reset();
  EXPECT_EQ(CheckReady("127.0.0.1", port).code(), absl::StatusCode::kUnavailable);
}

TEST_F(HttpServerTest, APortThatIsTakenIsAnErrorThatNamesTheFlag) {
  const auto second = HttpServer::Start("127.0.0.1", server_->port(), {});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("--metrics_port"));
}

}  // namespace
}  // namespace contextpool::server
