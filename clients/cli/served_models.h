// What the server says of its models.
#pragma once

#include <memory>

#include "clients/cli/options.h"
#include "contextpool/v1/model.pb.h"
#include "grpcpp/grpcpp.h"

namespace contextpool::cli {

// The model that the options name, or every model of the server.
grpc::Status FetchModels(const Options& options, const std::shared_ptr<grpc::Channel>& channel,
                         v1::ListModelsResponse& list);

// What the model that answers reads. IMAGE: it, or where none is named each model that offers the
// command's task, reads images. TEXT: one of these reads text. UNSPECIFIED: the server does not
// say, or there is none.
//
// `list` comes from FetchModels with the same options.
v1::Modality ModalityOf(const Options& options, const v1::ListModelsResponse& list);

}  // namespace contextpool::cli
