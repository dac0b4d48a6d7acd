// Loading and unloading models on an operator's word: contextpool.v1.AdminService.
#pragma once

#include "contextpool/v1/admin.grpc.pb.h"
#include "server/rpc/call.h"

namespace contextpool::server {

using RawAdminService = v1::AdminService::WithRawCallbackMethod_LoadModel<
    v1::AdminService::WithRawCallbackMethod_UnloadModel<
        v1::AdminService::WithRawCallbackMethod_ReloadModel<v1::AdminService::Service>>>;

// Without Backend::admin every call is answered with UNIMPLEMENTED, naming the flag.
class AdminServiceImpl final : public RawAdminService {
 public:
  explicit AdminServiceImpl(Backend& backend) : backend_(backend) {}

  grpc::ServerUnaryReactor* LoadModel(grpc::CallbackServerContext* context,
                                      const grpc::ByteBuffer* request,
                                      grpc::ByteBuffer* reply) override;
  grpc::ServerUnaryReactor* UnloadModel(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* reply) override;
  grpc::ServerUnaryReactor* ReloadModel(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* request,
                                        grpc::ByteBuffer* reply) override;

 private:
  Backend& backend_;
};

}  // namespace contextpool::server
