#include "server/config/flags.h"

#include <vector>

#include "absl/flags/commandlineflag.h"
#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/reflection.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

using Defaults = contextpool::server::Options;

ABSL_FLAG(std::vector<std::string>, model_repository, {},
          "Where the models are, comma separated."
          " Each entry is a folder whose subfolders or links are models, or itself a model"
          " directory with a config.json. A model's name is its folder's name.");
ABSL_FLAG(bool, require_all_models, Defaults().require_all_models,
          "End with an error if any model cannot be loaded, instead of serving the others.");
ABSL_FLAG(bool, enable_admin, Defaults().enable_admin,
          "Serve AdminService, which loads, unloads and reloads models of the repository while the"
          " server runs. Whoever reaches the port may call it.");
ABSL_FLAG(absl::Duration, repository_poll_interval,
          absl::FromChrono(Defaults().repository_poll_interval),
          "How often to look for models that came, changed or went in the repository, for example"
          " 30s. A change counts once two looks in a row saw the same. 0: never.");
ABSL_FLAG(
    std::vector<std::string>, device, Defaults().devices,
    "What computes, comma separated: cpu, cuda (every GPU), cuda:0 and so on, each with its own"
    " queue; a model lives on one of them, see device in serving.textproto. auto: every GPU"
    " that can be used, and the CPU for what they do not compute or if there is none. GPUs need"
    " a build with CUDA.");
ABSL_FLAG(std::string, gpu_dtype, contextpool::kernels::Name(Defaults().gpu_dtype),
          "What GPUs compute in: bfloat16 or float16. The CPU computes in float32.");
ABSL_FLAG(int32_t, threads, Defaults().threads,
          "Threads of the CPU that compute. 0: as many as the process may use (CPU quota of its "
          "cgroup and its"
          " CPU affinity).");
ABSL_FLAG(
    int32_t, decode_threads, Defaults().decode_threads,
    "Threads that decode images, beside those that compute. 0: half as many as the process may"
    " use.");
ABSL_FLAG(std::string, bind_address, Defaults().bind_address, "Address that both ports listen on.");
ABSL_FLAG(int32_t, grpc_port, Defaults().grpc_port,
          "Port of the gRPC services. 0 picks a free one.");
ABSL_FLAG(int32_t, metrics_port, Defaults().metrics_port,
          "Port of /metrics, /healthz and /readyz over HTTP. 0 picks a free one.");
ABSL_FLAG(std::string, ready_file, Defaults().ready_file,
          "File written once the models are loaded, with the ports in it:"
          " {\"grpc_port\":8001,\"metrics_port\":8002}. Empty: none.");
ABSL_FLAG(absl::Duration, drain_grace, absl::FromChrono(Defaults().drain_grace),
          "Time after SIGTERM or SIGINT for which new calls are still served although health says"
          " NOT_SERVING and /readyz 503, for example 10s, so that load balancers look elsewhere"
          " first. New calls are refused afterwards.");
ABSL_FLAG(absl::Duration, drain_timeout, absl::FromChrono(Defaults().drain_timeout),
          "Longest time for accepted work after that, for example 30s. A second signal, a second or"
          " more after the first, ends the server at once.");
ABSL_FLAG(absl::Duration, canary_interval, absl::FromChrono(Defaults().canary_interval),
          "A model that computed nothing for this time is sent a request of the server's own, a few"
          " tokens on the way of any other, to see that it still answers. 0: never.");
ABSL_FLAG(absl::Duration, unhealthy_exit, absl::FromChrono(Defaults().unhealthy_exit),
          "The server ends with an error once its engine has been unhealthy for this time (a batch"
          " hangs, the server's own requests fail), or at once if it cannot recover, so that a"
          " supervisor starts it again. 0: never.");
ABSL_FLAG(int64_t, max_message_bytes, Defaults().max_message_bytes,
          "Largest request message, in bytes.");
ABSL_FLAG(int32_t, max_inputs, Defaults().max_inputs, "Most inputs in one request.");
ABSL_FLAG(int64_t, max_image_bytes, Defaults().image.max_bytes, "Largest image file, in bytes.");
ABSL_FLAG(int64_t, max_image_pixels, Defaults().image.max_pixels,
          "Most pixels of an image, by its header; larger ones are not decoded.");
ABSL_FLAG(int32_t, max_in_flight_requests, Defaults().max_in_flight_requests,
          "Most requests being answered at one time; more are told to retry later.");
ABSL_FLAG(int64_t, max_in_flight_bytes, Defaults().max_in_flight_bytes,
          "Most bytes of requests being answered, with their replies, and of unary replies being"
          " sent, at one time; more are told to retry later.");
ABSL_FLAG(
    int64_t, max_queue_inputs, Defaults().queue.max_inputs,
    "Most inputs that wait for all models of a device together; more are told to retry later.");
ABSL_FLAG(
    int64_t, max_queue_tokens, Defaults().queue.max_tokens,
    "Most tokens that wait for all models of a device together; more are told to retry later.");
ABSL_FLAG(
    int64_t, max_queue_bytes, Defaults().queue.max_bytes,
    "Most bytes of inputs that wait for all models of a device together; more are told to retry"
    " later.");
ABSL_FLAG(int32_t, grpc_memory_mib, Defaults().grpc_memory_mib,
          "Memory for gRPC's own buffers, in MiB. 0: no limit.");
ABSL_FLAG(int32_t, max_concurrent_streams, Defaults().max_concurrent_streams,
          "Most calls at one time on one connection.");
ABSL_FLAG(absl::Duration, max_connection_age, absl::FromChrono(Defaults().max_connection_age),
          "Connections are closed after this time, for example 10m, so that clients spread over"
          " new servers. 0: never.");
ABSL_FLAG(absl::Duration, max_connection_age_grace,
          absl::FromChrono(Defaults().max_connection_age_grace),
          "Time for running calls on a connection that reached its age.");
ABSL_FLAG(std::string, log_format, "text", "Form of the log lines on stderr: text or json.");
ABSL_FLAG(std::string, log_level, "info",
          "Least important lines to log: debug, info, warning or error. Each request is logged at"
          " debug.");
ABSL_FLAG(bool, healthcheck, false,
          "Do not serve: ask the server that runs on --metrics_port of this machine whether it is"
          " ready, and exit with 0 if it is, else 1.");

namespace contextpool::server {
namespace {

struct HelpSection {
  absl::string_view title;
  std::vector<absl::string_view> flags;
};

const std::vector<HelpSection>& HelpSections() {
  static const std::vector<HelpSection>& sections = *new std::vector<HelpSection>{
      {"Models",
       {"model_repository", "require_all_models", "enable_admin", "repository_poll_interval",
        "decode_threads"}},
      {"Devices", {"device", "gpu_dtype", "threads"}},
      {"Ports and lifetime",
       {"bind_address", "grpc_port", "metrics_port", "ready_file", "drain_grace", "drain_timeout",
        "healthcheck"}},
      {"Health", {"canary_interval", "unhealthy_exit"}},
      {"Limits",
       {"max_message_bytes", "max_inputs", "max_image_bytes", "max_image_pixels",
        "max_in_flight_requests", "max_in_flight_bytes", "max_queue_inputs", "max_queue_tokens",
        "max_queue_bytes", "grpc_memory_mib", "max_concurrent_streams", "max_connection_age",
        "max_connection_age_grace"}},
      {"Log", {"log_format", "log_level"}},
  };
  return sections;
}

std::string Wrap(absl::string_view text, size_t width, absl::string_view indent) {
  std::string result;
  size_t column = 0;
  for (absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    if (column == 0 || column + 1 + word.size() > width) {
      absl::StrAppend(&result, column == 0 ? "" : "\n", indent, word);
      column = indent.size() + word.size();
    } else {
      absl::StrAppend(&result, " ", word);
      column += 1 + word.size();
    }
  }
  return result;
}

std::string FlagHelp(absl::string_view name) {
  const absl::CommandLineFlag* flag = absl::FindCommandLineFlag(name);
  const std::string value = flag->DefaultValue();
  return absl::StrCat("  --", name, " (default: ", value.empty() ? "none" : value, ")\n",
                      Wrap(flag->Help(), 96, "      "), "\n");
}

// Away from 0, which has a meaning of its own.
std::chrono::milliseconds Milliseconds(absl::Duration duration) {
  constexpr absl::Duration kUnit = absl::Milliseconds(1);
  const absl::Duration whole =
      duration < absl::ZeroDuration() ? absl::Floor(duration, kUnit) : absl::Ceil(duration, kUnit);
  return std::chrono::milliseconds(absl::ToInt64Milliseconds(whole));
}

template <typename Enum>
absl::StatusOr<Enum> ParseChoice(absl::string_view flag, absl::string_view value,
                                 const std::vector<std::pair<absl::string_view, Enum>>& choices) {
  std::vector<absl::string_view> names;
  for (const auto& [name, choice] : choices) {
    if (name == value) return choice;
    names.push_back(name);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag, "=", value, ": allowed is ", absl::StrJoin(names, ", ")));
}

absl::StatusOr<Options> OptionsFromFlags() {
  Options options;
  for (const std::string& entry : absl::GetFlag(FLAGS_model_repository)) {
    const absl::string_view path = absl::StripAsciiWhitespace(entry);
    if (!path.empty()) options.model_repositories.emplace_back(path);
  }
  options.require_all_models = absl::GetFlag(FLAGS_require_all_models);
  options.enable_admin = absl::GetFlag(FLAGS_enable_admin);
  options.repository_poll_interval = Milliseconds(absl::GetFlag(FLAGS_repository_poll_interval));
  options.devices.clear();
  for (const std::string& entry : absl::GetFlag(FLAGS_device)) {
    options.devices.emplace_back(absl::StripAsciiWhitespace(entry));
  }
  auto gpu_dtype = ParseChoice<engine::DType>(
      "gpu_dtype", absl::GetFlag(FLAGS_gpu_dtype),
      {{"bfloat16", engine::DType::kBF16}, {"float16", engine::DType::kF16}});
  if (!gpu_dtype.ok()) return gpu_dtype.status();
  options.gpu_dtype = *gpu_dtype;
  options.threads = absl::GetFlag(FLAGS_threads);
  options.decode_threads = absl::GetFlag(FLAGS_decode_threads);
  options.bind_address = absl::GetFlag(FLAGS_bind_address);
  options.grpc_port = absl::GetFlag(FLAGS_grpc_port);
  options.metrics_port = absl::GetFlag(FLAGS_metrics_port);
  options.ready_file = absl::GetFlag(FLAGS_ready_file);
  options.drain_grace = Milliseconds(absl::GetFlag(FLAGS_drain_grace));
  options.drain_timeout = Milliseconds(absl::GetFlag(FLAGS_drain_timeout));
  options.canary_interval = Milliseconds(absl::GetFlag(FLAGS_canary_interval));
  options.unhealthy_exit = Milliseconds(absl::GetFlag(FLAGS_unhealthy_exit));
  options.max_message_bytes = absl::GetFlag(FLAGS_max_message_bytes);
  options.max_inputs = absl::GetFlag(FLAGS_max_inputs);
  options.image.max_bytes = absl::GetFlag(FLAGS_max_image_bytes);
  options.image.max_pixels = absl::GetFlag(FLAGS_max_image_pixels);
  options.max_in_flight_requests = absl::GetFlag(FLAGS_max_in_flight_requests);
  options.max_in_flight_bytes = absl::GetFlag(FLAGS_max_in_flight_bytes);
  options.queue.max_inputs = absl::GetFlag(FLAGS_max_queue_inputs);
  options.queue.max_tokens = absl::GetFlag(FLAGS_max_queue_tokens);
  options.queue.max_bytes = absl::GetFlag(FLAGS_max_queue_bytes);
  options.grpc_memory_mib = absl::GetFlag(FLAGS_grpc_memory_mib);
  options.max_concurrent_streams = absl::GetFlag(FLAGS_max_concurrent_streams);
  options.max_connection_age = Milliseconds(absl::GetFlag(FLAGS_max_connection_age));
  options.max_connection_age_grace = Milliseconds(absl::GetFlag(FLAGS_max_connection_age_grace));
  auto format = ParseChoice<LogFormat>("log_format", absl::GetFlag(FLAGS_log_format),
                                       {{"text", LogFormat::kText}, {"json", LogFormat::kJson}});
  if (!format.ok()) return format.status();
  options.log_format = *format;
  auto level = ParseChoice<LogLevel>("log_level", absl::GetFlag(FLAGS_log_level),
                                     {{"debug", LogLevel::kDebug},
                                      {"info", LogLevel::kInfo},
                                      {"warning", LogLevel::kWarning},
                                      {"error", LogLevel::kError}});
  if (!level.ok()) return level.status();
  options.log_level = *level;
  if (absl::Status status = ValidateOptions(options); !status.ok()) return status;
  return options;
}

}  // namespace

absl::StatusOr<CommandLine> ParseCommandLine(int argc, char** argv) {
  CommandLine line;
  for (int i = 1; i < argc; ++i) {
    const absl::string_view argument = argv[i];
    if (argument == "--") break;
    if (argument == "--help" || argument == "-help" || argument == "-h") line.mode = Mode::kHelp;
    if (argument == "--version" || argument == "-version") line.mode = Mode::kVersion;
  }
  if (line.mode != Mode::kServe) return line;

  const std::vector<char*> rest = absl::ParseCommandLine(argc, argv);
  if (rest.size() > 1) {
    return absl::InvalidArgumentError(absl::StrCat("unexpected argument \"", rest[1],
                                                   "\": every setting is a --flag, see --help"));
  }
  absl::StatusOr<Options> options = OptionsFromFlags();
  if (!options.ok()) return options.status();
  line.options = *std::move(options);
  if (absl::GetFlag(FLAGS_healthcheck)) line.mode = Mode::kHealthCheck;
  return line;
}

std::string HelpText() {
  std::string text =
      "contextpool-server: embeddings and classification of texts and images over gRPC.\n\n"
      "  contextpool-server --model_repository=/models\n\n"
      "Settings of one model stand in the file serving.textproto beside its config.json.\n";
  for (const HelpSection& section : HelpSections()) {
    absl::StrAppend(&text, "\n", section.title, ":\n");
    for (absl::string_view flag : section.flags) absl::StrAppend(&text, FlagHelp(flag));
  }
  absl::StrAppend(&text,
                  "\nOther:\n  --version\n      Print the version and exit.\n"
                  "  --help\n      Print this and exit.\n"
                  "  --flagfile\n      Read flags from a file, one a line.\n");
  return text;
}

}  // namespace contextpool::server
