// The channel to a server, and what its failures mean to a person.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "grpcpp/grpcpp.h"

namespace contextpool::cli {

// Why an input, or a whole request, has no result.
struct Failure {
  // Name of the gRPC code, for example "INVALID_ARGUMENT".
  std::string code;
  std::string message;
};

// Connects lazily. Requests that the server is too busy for are tried again a few times, with a
// growing pause. Replies may be as large as the server makes them.
std::shared_ptr<grpc::Channel> Connect(const std::string& server);

std::chrono::system_clock::time_point DeadlineAfter(double seconds);

// "INVALID_ARGUMENT" and the like, from a number on the wire.
std::string CodeName(int code);

// Says what to do about `status`, which must not be OK.
Failure Explain(const grpc::Status& status, const std::string& server, double timeout_s,
                grpc::Channel& channel);

}  // namespace contextpool::cli
