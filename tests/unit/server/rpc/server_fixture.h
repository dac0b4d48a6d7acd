// A server on loopback over a fake engine, and clients for it.
#pragma once

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "contextpool/v1/admin.grpc.pb.h"
#include "contextpool/v1/classification.grpc.pb.h"
#include "contextpool/v1/embedding.grpc.pb.h"
#include "contextpool/v1/model.grpc.pb.h"
#include "engine/base/mutex.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "server/rpc/grpc_server.h"
#include "tests/support/fake_engine.h"

namespace contextpool::server {

class ServerFixture : public ::testing::Test {
 protected:
  explicit ServerFixture(int64_t max_in_flight = kMaxInFlight,
                         engine::Clock& clock = engine::Clock::Real())
      : admission_({.max_message_bytes = kMaxMessageBytes,
                    .max_in_flight_requests = max_in_flight,
                    .max_in_flight_bytes = 64 << 20}),
        backend_{engine_, admission_, metrics_, logger_, /*max_inputs=*/4096, clock} {
    google::protobuf::SetLogHandler(nullptr);
  }

  void SetUp() override {
    Options options;
    options.bind_address = "127.0.0.1";
    options.grpc_port = 0;
    options.max_message_bytes = kMaxMessageBytes;
    auto server = GrpcServer::Start(options, backend_, health_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = grpc::CreateChannel(absl::StrCat("127.0.0.1:", server_->port()),
                                   grpc::InsecureChannelCredentials());
    embedding_ = v1::EmbeddingService::NewStub(channel_);
    classification_ = v1::ClassificationService::NewStub(channel_);
    models_ = v1::ModelService::NewStub(channel_);
    health_stub_ = grpc::health::v1::Health::NewStub(channel_);
  }

  void TearDown() override {
    engine_.Release();
    health_.SetPhase(HealthMonitor::Phase::kStopped);
    server_->Shutdown(std::chrono::seconds(10));
  }

  grpc::Status Embed(const v1::EmbedRequest& request, v1::EmbedResponse* reply = nullptr) {
    grpc::ClientContext context;
    v1::EmbedResponse ignored;
    return embedding_->Embed(&context, request, reply == nullptr ? &ignored : reply);
  }

  grpc::Status Classify(const v1::ClassifyRequest& request, v1::ClassifyResponse* reply = nullptr) {
    grpc::ClientContext context;
    v1::ClassifyResponse ignored;
    return classification_->Classify(&context, request, reply == nullptr ? &ignored : reply);
  }

  // A connection that buffers little of what its client does not read: its window does not grow.
  std::shared_ptr<grpc::Channel> NarrowChannel() {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", server_->port()),
                                     grpc::InsecureChannelCredentials(), arguments);
  }

  // Long enough for the server to have read what was sent on this connection before.
  void RoundTrips() {
    for (int i = 0; i < 20; ++i) {
      grpc::ClientContext context;
      v1::ListModelsResponse reply;
      EXPECT_TRUE(models_->ListModels(&context, {}, &reply).ok());
    }
  }

  // Sends any bytes to a method.
  grpc::Status SendRaw(const std::string& method, const std::string& bytes) {
    grpc::GenericStub stub(channel_);
    grpc::ClientContext context;
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer reply;
    engine::Mutex mutex;
    engine::CondVar done;
    bool finished = false;
    grpc::Status status;
    stub.UnaryCall(&context, method, grpc::StubOptions(), &request, &reply,
                   [&](grpc::Status result) {
                     engine::MutexLock lock(mutex);
                     status = std::move(result);
                     finished = true;
                     done.NotifyAll();
                   });
    engine::MutexLock lock(mutex);
    while (!finished) done.Wait(mutex);
    return status;
  }

  double Calls(Endpoint endpoint, absl::StatusCode code, const std::string& model) {
    const auto& calls = metrics_.by_version().at(metrics_.Key(model, 0))->calls;
    for (size_t i = 0; i < kCountedCodes.size(); ++i) {
      if (kCountedCodes[i] == code) {
        return static_cast<double>(calls[static_cast<size_t>(endpoint)][i]);
      }
    }
    return -1;
  }

  // Calls that were received and have not been counted as answered.
  double Unanswered() {
    double sum = 0;
    for (const auto& [name, figures] : metrics_.by_name()) {
      for (const auto& received : figures->received) sum += static_cast<double>(received);
    }
    for (const auto& [key, figures] : metrics_.by_version()) {
      for (const auto& codes : figures->calls) {
        for (const auto& calls : codes) sum -= static_cast<double>(calls);
      }
    }
    return sum;
  }

  static constexpr int64_t kMaxMessageBytes = 3 << 20;
  static constexpr int64_t kMaxInFlight = 4;

  engine::FakeEngine engine_;
  Admission admission_;
  ServerMetrics metrics_{{{"classifier", 1}, {"encoder", 1}}};
  Logger logger_{LogFormat::kText, LogLevel::kError, /*file_descriptor=*/-1};
  Backend backend_;
  HealthMonitor health_{engine_};
  std::unique_ptr<GrpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::EmbeddingService::Stub> embedding_;
  std::unique_ptr<v1::ClassificationService::Stub> classification_;
  std::unique_ptr<v1::ModelService::Stub> models_;
  std::unique_ptr<grpc::health::v1::Health::Stub> health_stub_;
};

inline v1::EmbedRequest EmbedTexts(const std::vector<std::string>& texts) {
  v1::EmbedRequest request;
  request.mutable_model()->set_name("encoder");
  for (const std::string& text : texts) request.add_inputs()->set_text(text);
  return request;
}

inline v1::ClassifyRequest ClassifyTexts(const std::vector<std::string>& texts) {
  v1::ClassifyRequest request;
  for (const std::string& text : texts) request.add_inputs()->set_text(text);
  return request;
}

}  // namespace contextpool::server
