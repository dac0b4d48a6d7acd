#include "clients/cli/bench/bench.h"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "clients/cli/bench/caller.h"
#include "clients/cli/bench/findings.h"
#include "clients/cli/bench/json_report.h"
#include "clients/cli/bench/plot.h"
#include "clients/cli/bench/progress.h"
#include "clients/cli/bench/run_point.h"
#include "clients/cli/bench/text_report.h"
#include "clients/cli/bench/workload.h"
#include "clients/cli/connection.h"
#include "clients/cli/utf8.h"
#include "contextpool/v1/model.grpc.pb.h"

namespace contextpool::cli::bench {
namespace {

std::atomic<bool> interrupted = false;

// While it lives, the first SIGINT sets `interrupted`; the next one does what it did before.
class CatchInterrupt {
 public:
  CatchInterrupt() {
    interrupted = false;
    struct sigaction action {};
    action.sa_handler = [](int) { interrupted = true; };
    action.sa_flags = SA_RESETHAND;
    sigaction(SIGINT, &action, &before_);
  }
  ~CatchInterrupt() { sigaction(SIGINT, &before_, nullptr); }

 private:
  struct sigaction before_ {};
};

void AddCodes(const std::map<int, uint64_t>& codes, std::map<int, uint64_t>& sum) {
  for (const auto& [code, count] : codes) sum[code] += count;
}

class Bench {
 public:
  Bench(const Options& options, const Workload& workload, const Environment& environment)
      : options_(options),
        workload_(workload),
        environment_(environment),
        progress_(environment.err, environment.err_is_tty),
        kinds_(CallKinds(options.load)),
        caller_({options.server, options.load.connections, options.load.task}, workload, kinds_) {
    findings_.started_at = absl::FormatTime(absl::RFC3339_sec, absl::Now(), absl::UTCTimeZone());
    findings_.options = options.load;
    findings_.kinds = kinds_;
    findings_.workload = {.file = options.sources.empty() ? "" : options.sources.front().value,
                          .texts = workload.texts(),
                          .distinct_texts = workload.distinct_texts()};
  }

  // Connects, and asks once, without a deadline: whether the server answers at all, and with what.
  bool Prepare();
  // False if a point was not offered, or a search ended without a rate that the server bounds.
  bool Measure() { return options_.load.find_rate ? SearchRate() : Sweep(); }
  bool Report();

 private:
  bool Fail(const grpc::Status& status, grpc::Channel& channel);
  bool Describe(const v1::ModelRef& model, const std::shared_ptr<grpc::Channel>& channel);
  Nanoseconds Patience() const;
  LoadPoint PointOf(double rate_per_s, uint32_t concurrency) const;
  PointResult RunOne(const std::string& prefix, const LoadPoint& point,
                     const std::optional<Objective>& objective);
  // Keeps the result, unless nothing was measured before the run was interrupted.
  void Keep(PointResult result);
  bool Sweep();
  bool SearchRate();
  // What one caller gets who waits for each answer.
  PointResult AskAlone(const Objective& objective);
  ProbeOutcome Probe(double rate_per_s, const Objective& objective);
  bool Write(const std::string& path, const std::string& content);

  const Options& options_;
  const Workload& workload_;
  const Environment& environment_;
  ProgressLine progress_;
  const std::vector<CallKind> kinds_;
  Caller caller_;
  Findings findings_;
};

Nanoseconds Bench::Patience() const {
  return std::chrono::duration_cast<Nanoseconds>(std::chrono::duration<double>(options_.timeout_s));
}

bool Bench::Fail(const grpc::Status& status, grpc::Channel& channel) {
  const Failure failure = Explain(status, options_.server, options_.timeout_s, channel);
  constexpr size_t kWidest = 1000;
  progress_.Say(
      absl::StrCat("contextpool: ", failure.code, ": ", Printable(failure.message, kWidest)));
  return false;
}

bool Bench::Prepare() {
  if (!caller_.Connect(std::min<Nanoseconds>(Patience(), std::chrono::seconds(10)))) {
    return Fail({grpc::StatusCode::UNAVAILABLE, "no connection"}, *caller_.channel());
  }
  const std::vector<CallKind> plain(1);
  Caller probe({options_.server, 1, options_.load.task}, workload_, plain);
  probe.Start({.due = Clock::now()});
  const auto ended = probe.Next(Clock::now() + Patience());
  if (!ended) return Fail({grpc::StatusCode::DEADLINE_EXCEEDED, "no answer"}, *probe.channel());
  ++findings_.all_codes[ended->status.error_code()];
  if (!ended->status.ok()) return Fail(ended->status, *probe.channel());
  return Describe(probe.model(), probe.channel());
}

bool Bench::Describe(const v1::ModelRef& model, const std::shared_ptr<grpc::Channel>& channel) {
  grpc::ClientContext context;
  context.set_deadline(DeadlineAfter(options_.timeout_s));
  v1::GetModelRequest request;
  *request.mutable_model() = model;
  v1::GetModelResponse response;
  const grpc::Status status =
      v1::ModelService::NewStub(channel)->GetModel(&context, request, &response);
  if (!status.ok()) return Fail(status, *channel);
  findings_.server = {.address = options_.server,
                      .model = model.name(),
                      .version = model.version(),
                      .dtype = response.model().dtype(),
                      .device = response.model().device()};
  environment_.out << Headline(findings_) << "\n" << std::flush;
  return true;
}

LoadPoint Bench::PointOf(double rate_per_s, uint32_t concurrency) const {
  LoadPoint point;
  if (concurrency == 0) point.rate_per_s = rate_per_s;
  point.concurrency = concurrency;
  point.arrivals = options_.load.arrivals.value_or(ArrivalShape::kPoisson);
  point.warmup = options_.load.warmup;
  point.duration = options_.load.duration;
  point.seed = options_.load.seed;
  return point;
}

PointResult Bench::RunOne(const std::string& prefix, const LoadPoint& point,
                          const std::optional<Objective>& objective) {
  progress_.Begin(prefix, point);
  PointResult result =
      RunPoint(point, kinds_, caller_,
               {.stop = interrupted,
                .patience = Patience(),
                .objective = objective,
                .progress = [this](const RunProgress& progress) { progress_.Update(progress); }});
  AddCodes(result.all_codes, findings_.all_codes);
  return result;
}

void Bench::Keep(PointResult result) {
  if (result.interrupted && result.scheduled == 0) return;
  findings_.points.push_back(std::move(result));
}

bool Bench::Sweep() {
  std::vector<LoadPoint> points;
  for (const double rate : options_.load.rates) points.push_back(PointOf(rate, 0));
  for (const uint32_t calls : options_.load.concurrency) points.push_back(PointOf(0, calls));
  bool all_offered = true;
  for (size_t i = 0; i < points.size() && !interrupted; ++i) {
    const std::string prefix =
        points.size() == 1 ? "" : absl::StrCat("load ", i + 1, " of ", points.size(), ": ");
    PointResult result = RunOne(prefix, points[i], std::nullopt);
    all_offered = all_offered && result.not_offered.empty();
    Keep(std::move(result));
  }
  return all_offered;
}

PointResult Bench::AskAlone(const Objective& objective) {
  LoadPoint point = PointOf(0, 1);
  point.warmup = std::chrono::milliseconds(500);
  point.duration = std::max<Nanoseconds>(std::chrono::seconds(1), objective.p99);
  return RunOne("a first look: ", point, std::nullopt);
}

ProbeOutcome Bench::Probe(double rate_per_s, const Objective& objective) {
  if (interrupted) return ProbeOutcome::kInterrupted;
  LoadPoint point = PointOf(rate_per_s, 0);
  point.duration = ProbeDuration(point.duration, rate_per_s);
  PointResult result = RunOne("probe: ", point, objective);
  const ProbeOutcome outcome = Judge(result, objective);
  progress_.Say(DescribeProbe(result, outcome));
  Keep(std::move(result));
  return outcome;
}

bool Bench::SearchRate() {
  const Objective objective{*options_.load.p99,
                            options_.load.max_errors.value_or(kDefaultMaxErrors)};
  const PointResult alone = AskAlone(objective);
  RateSearch search;
  search.objective = objective;
  search.hopeless = WhyHopeless(alone, objective);
  search.found.interrupted = interrupted;
  if (search.hopeless.empty() && !interrupted) {
    // Half of what one caller gets who waits for each answer.
    const double start_per_s =
        std::max(PerSecond(alone.Total().in_window.ok_calls, alone), 1.0) / 2;
    search.found =
        FindRate(start_per_s, [&](double rate_per_s) { return Probe(rate_per_s, objective); });
  }
  findings_.search = search;
  return search.found.held_per_s && !search.found.client_limited;
}

bool Bench::Report() {
  progress_.Say(interrupted ? "interrupted: what follows was measured before" : "");
  if (!findings_.points.empty()) environment_.out << TableOf(findings_);
  if (findings_.search) environment_.out << "\n" << DescribeSearch(*findings_.search);
  environment_.out << std::flush;
  const LoadOptions& load = options_.load;
  bool written = load.json_file.empty() || Write(load.json_file, JsonOf(findings_));
  if (load.plot_file.empty()) return written;
  const Plot plot = PlotOf(findings_);
  if (!plot.points.empty()) return Write(load.plot_file, Draw(plot)) && written;
  progress_.Say(absl::StrCat("no point to draw: ", load.plot_file, " was not written"));
  return false;
}

bool Bench::Write(const std::string& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << content;
  file.close();
  progress_.Say(absl::StrCat(file.good() ? "wrote " : "contextpool: cannot write ", path));
  return file.good();
}

// Whether a file can be written, before a long run is put into it. Leaves what is there alone.
bool IsWritable(const std::string& path) {
  // An error means that nobody can tell; then the file cannot be opened either.
  std::error_code error;
  const bool existed = std::filesystem::exists(path, error);
  const bool writable = std::ofstream(path, std::ios::app).is_open();
  if (writable && !existed && !error) std::filesystem::remove(path, error);
  return writable;
}

}  // namespace

int RunBench(const Options& options, std::vector<std::string> file_texts,
             const Environment& environment) {
  for (const std::string& path : {options.load.json_file, options.load.plot_file}) {
    if (path.empty() || IsWritable(path)) continue;
    environment.err << "contextpool: cannot write " << path << "\n";
    return kExitFailed;
  }
  const auto workload = Workload::Make(options, std::move(file_texts));
  if (!workload.ok()) {
    environment.err << "contextpool: " << workload.status().message() << "\n";
    return kExitFailed;
  }
  const CatchInterrupt catch_interrupt;
  Bench bench(options, *workload, environment);
  if (!bench.Prepare()) return kExitFailed;
  const bool measured = bench.Measure();
  const bool reported = bench.Report();
  return measured && reported && !interrupted ? kExitOk : kExitFailed;
}

}  // namespace contextpool::cli::bench
