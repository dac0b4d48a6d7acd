// The services of contextpool.v1: thin handlers over the engine.
#pragma once

#include "contextpool/v1/classification.grpc.pb.h"
#include "contextpool/v1/embedding.grpc.pb.h"
#include "contextpool/v1/model.grpc.pb.h"
#include "server/rpc/call.h"
#include "server/rpc/stream.h"

namespace contextpool::server {

// Requests arrive as raw bytes and are parsed by us, so that what is wrong with them can be said.
using RawEmbeddingService = v1::EmbeddingService::WithRawCallbackMethod_Embed<
    v1::EmbeddingService::WithRawCallbackMethod_EmbedStream<v1::EmbeddingService::Service>>;
using RawClassificationService = v1::ClassificationService::WithRawCallbackMethod_Classify<
    v1::ClassificationService::WithRawCallbackMethod_ClassifyStream<
        v1::ClassificationService::Service>>;
using RawModelService = v1::ModelService::WithRawCallbackMethod_ListModels<
    v1::ModelService::WithRawCallbackMethod_GetModel<
        v1::ModelService::WithRawCallbackMethod_Tokenize<v1::ModelService::Service>>>;

class EmbeddingServiceImpl final : public RawEmbeddingService {
 public:
  explicit EmbeddingServiceImpl(Backend& backend) : backend_(backend) {}

  grpc::ServerUnaryReactor* Embed(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* request,
                                  grpc::ByteBuffer* reply) override;
  RawStream* EmbedStream(grpc::CallbackServerContext* context) override;

 private:
  Backend& backend_;
};

class ClassificationServiceImpl final : public RawClassificationService {
 public:
  explicit ClassificationServiceImpl(Backend& backend) : backend_(backend) {}

  grpc::ServerUnaryReactor* Classify(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* reply) override;
  RawStream* ClassifyStream(grpc::CallbackServerContext* context) override;

 private:
  Backend& backend_;
};

class ModelServiceImpl final : public RawModelService {
 public:
  explicit ModelServiceImpl(Backend& backend) : backend_(backend) {}

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* reply) override;
  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* reply) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request,
                                     grpc::ByteBuffer* reply) override;

 private:
  Backend& backend_;
};

}  // namespace contextpool::server
