#include "clients/cli/run.h"

#include <ostream>
#include <utility>

#include "absl/status/status.h"
#include "clients/cli/bench/bench.h"
#include "clients/cli/connection.h"
#include "clients/cli/gather_inputs.h"
#include "clients/cli/options.h"
#include "clients/cli/runner.h"
#include "clients/cli/text_inputs.h"

namespace contextpool::cli {
namespace {

int UsageError(const absl::Status& status, std::ostream& err) {
  err << "contextpool: " << status.message() << "\n";
  return kExitUsage;
}

int RunBench(const Options& options, const Environment& environment) {
  std::vector<std::string> texts;
  if (!options.sources.empty()) {
    auto read = ReadTexts(options.sources, environment.in);
    if (!read.ok()) return UsageError(read.status(), environment.err);
    texts = *std::move(read);
  }
  return bench::RunBench(options, std::move(texts), environment);
}

// Whether all results are kept for the end.
bool PrintsNothing(const Options& options) {
  return !options.output.empty() && !options.json && !options.explain;
}

}  // namespace

int Run(const std::vector<std::string>& args, const Environment& environment) {
  const auto invocation = ParseCommandLine(args, environment.default_server);
  if (!invocation.ok()) return UsageError(invocation.status(), environment.err);
  if (invocation->print) {
    environment.out << *invocation->print << std::flush;
    return kExitOk;
  }
  const Options& options = invocation->options;
  if (options.command == Command::kBench) return RunBench(options, environment);
  const auto channel = Connect(options.server);
  const auto inputs = GatherInputs(options, channel, environment.in);
  if (!inputs.ok()) return UsageError(inputs.status(), environment.err);
  const auto printer = options.json ? MakeJsonPrinter(**inputs, environment.out, environment.err)
                                    : MakeTextPrinter(options, **inputs, environment.terminal,
                                                      environment.out, environment.err);
  const bool quiet = !environment.terminal.is_tty || PrintsNothing(options);
  Runner runner(options, channel, **inputs,
                {*printer, environment.out, environment.err, environment.err_is_tty && quiet});
  const bool all_good = runner.Run();
  environment.out.flush();
  if (!environment.out.good()) {
    environment.err << "contextpool: cannot write the output\n";
    return kExitFailed;
  }
  return all_good ? kExitOk : kExitFailed;
}

}  // namespace contextpool::cli
