#include "clients/cli/connection.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace contextpool::cli {
namespace {

// https://github.com/grpc/grpc-proto/blob/master/grpc/service_config/service_config.proto
constexpr char kServiceConfig[] = R"({"methodConfig": [{"name": [{}], "retryPolicy": {
    "maxAttempts": 5, "initialBackoff": "0.2s", "maxBackoff": "3s", "backoffMultiplier": 2,
    "retryableStatusCodes": ["RESOURCE_EXHAUSTED"]}}]})";

// True if no connection stands behind the failure.
bool Unreachable(const grpc::Status& status, grpc::Channel& channel) {
  if (status.error_code() != grpc::StatusCode::UNAVAILABLE &&
      status.error_code() != grpc::StatusCode::DEADLINE_EXCEEDED) {
    return false;
  }
  const grpc_connectivity_state state = channel.GetState(false);
  return state == GRPC_CHANNEL_TRANSIENT_FAILURE || state == GRPC_CHANNEL_CONNECTING;
}

}  // namespace

std::shared_ptr<grpc::Channel> Connect(const std::string& server) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetServiceConfigJSON(kServiceConfig);
  // A request must fit to be sent again.
  arguments.SetInt(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE, 8 << 20);
  return grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments);
}

std::chrono::system_clock::time_point DeadlineAfter(double seconds) {
  using std::chrono::system_clock;
  return system_clock::now() +
         std::chrono::duration_cast<system_clock::duration>(std::chrono::duration<double>(seconds));
}

std::string CodeName(int code) {
  const std::string name = absl::StatusCodeToString(static_cast<absl::StatusCode>(code));
  return name.empty() ? "UNKNOWN" : name;
}

Failure Explain(const grpc::Status& status, const std::string& server, double timeout_s,
                grpc::Channel& channel) {
  Failure failure{CodeName(status.error_code()), status.error_message()};
  if (Unreachable(status, channel)) {
    failure.message = absl::StrCat("cannot reach ", server,
                                   ": is the server running? start it with script/server or pass "
                                   "--server HOST:PORT");
    return failure;
  }
  switch (status.error_code()) {
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      failure.message = absl::StrCat("no answer within ", timeout_s,
                                     " s: raise --timeout, or ask again when the server is less "
                                     "busy");
      break;
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      // Without a retry delay in the details it is a limit, which waiting does not lift.
      if (status.error_details().empty()) break;
      absl::StrAppend(&failure.message, "; the server is too busy: ask again later");
      break;
    case grpc::StatusCode::NOT_FOUND:
      absl::StrAppend(&failure.message, "; contextpool models lists what is served");
      break;
    case grpc::StatusCode::UNIMPLEMENTED:
      absl::StrAppend(&failure.message, "; is ", server, " a ContextPool server of this version?");
      break;
    default:
      break;
  }
  return failure;
}

}  // namespace contextpool::cli
