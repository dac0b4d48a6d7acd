// AdminService over loopback, with a repository on disk and a fake engine.
#include "server/rpc/admin_service.h"

#include <memory>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "server/models/model_control.h"
#include "tests/unit/server/models/repository_folder.h"
#include "tests/unit/server/rpc/server_fixture.h"

namespace contextpool::server {
namespace {

using ::testing::HasSubstr;

class AdminServiceTest : public ServerFixture {
 protected:
  void SetUp() override {
    backend_.admin = &control_;
    ServerFixture::SetUp();
    admin_ = v1::AdminService::NewStub(channel_);
  }

  grpc::Status Load(const std::string& name, v1::LoadModelResponse* reply) {
    grpc::ClientContext context;
    v1::LoadModelRequest request;
    request.mutable_model()->set_name(name);
    return admin_->LoadModel(&context, request, reply);
  }

  RepositoryFolder folder_;
  ModelControl control_{{folder_.path()}, engine_, metrics_, logger_};
  std::unique_ptr<v1::AdminService::Stub> admin_;
};

TEST_F(AdminServiceTest, LoadsReloadsAndUnloads) {
  folder_.Write("m/3/config.json");
  v1::LoadModelResponse loaded;
  ASSERT_TRUE(Load("m", &loaded).ok());
  EXPECT_EQ(loaded.model().ref().name(), "m");
  EXPECT_EQ(loaded.model().ref().version(), 3);
  EXPECT_EQ(loaded.model().state(), v1::MODEL_STATE_READY);

  v1::ReloadModelRequest reload;
  reload.mutable_model()->set_name("m");
  v1::ReloadModelResponse reloaded;
  grpc::ClientContext first;
  ASSERT_TRUE(admin_->ReloadModel(&first, reload, &reloaded).ok());
  EXPECT_EQ(reloaded.model().ref().version(), 3);
  EXPECT_EQ(engine_.loads(), 2);

  v1::UnloadModelRequest unload;
  unload.mutable_model()->set_name("m");
  v1::UnloadModelResponse unloaded;
  grpc::ClientContext second;
  ASSERT_TRUE(admin_->UnloadModel(&second, unload, &unloaded).ok());
  EXPECT_FALSE(engine_.GetModel("m", 0).ok());
  const auto& calls = metrics_.by_version().at({"m", 3})->calls;
  for (const Endpoint endpoint :
       {Endpoint::kLoadModel, Endpoint::kReloadModel, Endpoint::kUnloadModel}) {
    EXPECT_EQ(calls[static_cast<size_t>(endpoint)][0], 1);
  }
  EXPECT_EQ(Unanswered(), 0);
}

TEST_F(AdminServiceTest, AFailedLoadSaysWhy) {
  folder_.Write("m/config.json");
  engine_.FailLoadsWith(absl::InvalidArgumentError("config.json: is broken"));
  v1::LoadModelResponse reply;
  const grpc::Status status = Load("m", &reply);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("config.json: is broken"));
  EXPECT_EQ(Calls(Endpoint::kLoadModel, absl::StatusCode::kFailedPrecondition, "m"), 1);
}

TEST_F(AdminServiceTest, BadMessagesAreRefusedByField) {
  v1::LoadModelResponse reply;
  EXPECT_THAT(Load("", &reply).error_message(), HasSubstr("model.name"));
  const std::string method = "/contextpool.v1.AdminService/UnloadModel";
  EXPECT_EQ(SendRaw(method, "\xff").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  v1::UnloadModelRequest request;
  request.mutable_model()->set_version(-1);
  EXPECT_THAT(SendRaw(method, request.SerializeAsString()).error_message(),
              HasSubstr("model.version"));
}

TEST_F(AdminServiceTest, ACallerThatVanishedChangesNothing) {
  folder_.Write("m/config.json");
  engine_.HoldLoads();
  grpc::ClientContext context;
  v1::LoadModelRequest request;
  request.mutable_model()->set_name("m");
  v1::LoadModelResponse reply;
  grpc::Status status;
  std::thread caller([&] { status = admin_->LoadModel(&context, request, &reply); });
  engine_.WaitForLoads(1);
  context.TryCancel();
  caller.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  engine_.ReleaseLoads();
  EXPECT_TRUE(engine_.GetModel("m", 1).ok());
  v1::LoadModelResponse again;
  EXPECT_TRUE(Load("m", &again).ok());
}

}  // namespace
}  // namespace contextpool::server
