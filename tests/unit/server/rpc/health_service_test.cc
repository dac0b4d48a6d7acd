#include "server/rpc/health_service.h"

#include "tests/unit/server/rpc/server_fixture.h"

namespace contextpool::server {
namespace {

using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;

class HealthServiceTest : public ServerFixture {
 protected:
  HealthCheckResponse::ServingStatus Check(const std::string& service) {
    grpc::ClientContext context;
    HealthCheckRequest request;
    request.set_service(service);
    HealthCheckResponse response;
    const grpc::Status status = health_stub_->Check(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.status();
  }
};

TEST_F(HealthServiceTest, ServingWhileModelsAreReady) {
  EXPECT_EQ(Check(""), HealthCheckResponse::SERVING);
  EXPECT_EQ(Check("contextpool.v1.EmbeddingService"), HealthCheckResponse::SERVING);
  EXPECT_EQ(Check("contextpool.v1.ClassificationService"), HealthCheckResponse::SERVING);
  EXPECT_EQ(Check("model:encoder"), HealthCheckResponse::SERVING);
}

TEST_F(HealthServiceTest, ClassificationNeedsAClassifier) {
  engine_.SetState("classifier", engine::ModelState::kFailed, "broken");
  EXPECT_EQ(Check(""), HealthCheckResponse::SERVING);
  EXPECT_EQ(Check("contextpool.v1.EmbeddingService"), HealthCheckResponse::SERVING);
  EXPECT_EQ(Check("contextpool.v1.ClassificationService"), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(Check("model:classifier"), HealthCheckResponse::NOT_SERVING);
}

TEST_F(HealthServiceTest, NothingServesWhileDraining) {
  health_.SetPhase(HealthMonitor::Phase::kDraining);
  for (const char* service : {"", "contextpool.v1.EmbeddingService", "model:encoder"}) {
    EXPECT_EQ(Check(service), HealthCheckResponse::NOT_SERVING) << service;
  }
}

TEST_F(HealthServiceTest, NothingServesWhileTheEngineIsUnhealthy) {
  engine_.SetHealth({false, /*can_recover=*/true, "the device hangs", {}});
  for (const char* service : {"", "contextpool.v1.EmbeddingService",
                              "contextpool.v1.ClassificationService", "model:encoder"}) {
    EXPECT_EQ(Check(service), HealthCheckResponse::NOT_SERVING) << service;
  }
  engine_.SetHealth({});
  EXPECT_EQ(Check("model:encoder"), HealthCheckResponse::SERVING);
}

TEST_F(HealthServiceTest, WatchTellsOfAnEngineThatBecomesUnhealthyAndRecovers) {
  grpc::ClientContext context;
  auto watch = health_stub_->Watch(&context, HealthCheckRequest());
  HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  engine_.SetHealth({false, /*can_recover=*/true, "the device hangs", {}});
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  engine_.SetHealth({});
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  context.TryCancel();
  watch->Finish();
}

TEST_F(HealthServiceTest, UnknownServiceIsNotFoundInCheck) {
  grpc::ClientContext context;
  HealthCheckRequest request;
  request.set_service("model:nobody");
  HealthCheckResponse response;
  EXPECT_EQ(health_stub_->Check(&context, request, &response).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST_F(HealthServiceTest, UnknownServiceIsServiceUnknownInWatch) {
  grpc::ClientContext context;
  HealthCheckRequest request;
  request.set_service("model:nobody");
  auto watch = health_stub_->Watch(&context, request);
  HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVICE_UNKNOWN);
  context.TryCancel();
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(HealthServiceTest, WatchTellsOfDrainingAndEndsWithTheServer) {
  grpc::ClientContext context;
  auto watch = health_stub_->Watch(&context, HealthCheckRequest());
  HealthCheckResponse response;
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  health_.SetPhase(HealthMonitor::Phase::kDraining);
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
  health_.SetPhase(HealthMonitor::Phase::kStopped);
  EXPECT_FALSE(watch->Read(&response));
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(HealthServiceTest, TheServerIsReadyOnceTheModelsOfTheStartAreAndStaysSoWhileOthersCome) {
  engine_.SetState("encoder", engine::ModelState::kLoading, "");
  EXPECT_FALSE(health_.Ready());
  engine_.SetState("encoder", engine::ModelState::kFailed, "broken");
  EXPECT_TRUE(health_.Ready());
  engine_.SetState("encoder", engine::ModelState::kLoading, "");
  EXPECT_TRUE(health_.Ready()) << "it is loaded again, or one more";
  engine_.SetState("encoder", engine::ModelState::kUnloading, "");
  EXPECT_TRUE(health_.Ready());
  engine_.SetState("classifier", engine::ModelState::kFailed, "");
  EXPECT_FALSE(health_.Ready()) << "nothing serves";
}

TEST_F(HealthServiceTest, WatchTellsOfAModelThatBecomesReady) {
  engine_.SetState("encoder", engine::ModelState::kLoading, "");
  grpc::ClientContext context;
  HealthCheckRequest request;
  request.set_service("model:encoder");
  auto watch = health_stub_->Watch(&context, request);
  HealthCheckResponse response;
  do {
    ASSERT_TRUE(watch->Read(&response));
  } while (response.status() != HealthCheckResponse::NOT_SERVING);
  engine_.SetState("encoder", engine::ModelState::kReady, "");
  ASSERT_TRUE(watch->Read(&response));
  EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  context.TryCancel();
  watch->Finish();
}

}  // namespace
}  // namespace contextpool::server
