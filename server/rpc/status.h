// absl::Status on its way to the gRPC wire. The only translation of errors for this wire.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/support/status.h"
#include "server/observe/log.h"

namespace contextpool::server {

// Whether callers get a general text and an id in place of the message.
bool IsInternal(absl::StatusCode code);

// The same code and message, with google.rpc.RetryInfo where the status carries a retry delay.
// INTERNAL, and codes that no caller can act on, become INTERNAL with a general text and an id;
// the log line with this id holds `endpoint` and the original message.
google::rpc::Status ToRpcStatus(const absl::Status& status, absl::string_view endpoint,
                                Logger& logger);

// The same as the status of a call, its details in grpc-status-details-bin.
grpc::Status ToGrpcStatus(const absl::Status& status, absl::string_view endpoint, Logger& logger);

// What a caller wrote, made safe to repeat in a message: escaped, cut, in quotes.
std::string Quoted(absl::string_view text);

}  // namespace contextpool::server
