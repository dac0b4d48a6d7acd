#include "clients/cli/bench/json_report.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "absl/strings/match.h"
#include "clients/cli/connection.h"

namespace contextpool::cli::bench {
namespace {

using Json = nlohmann::ordered_json;

std::string ProcessorName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const size_t colon = line.find(": ");
    if (absl::StartsWith(line, "model name") && colon != std::string::npos) {
      return line.substr(colon + 2);
    }
  }
  return "unknown";
}

Json Codes(const std::map<int, uint64_t>& codes) {
  Json json = Json::object();
  for (const auto& [code, count] : codes) json[CodeName(code)] = count;
  return json;
}

Json Latency(const LatencyHistogram& histogram) {
  Json json = {{"count", histogram.count()}};
  if (histogram.count() == 0) return json;
  json["mean"] = Milliseconds(histogram.mean());
  json["p50"] = Milliseconds(histogram.Percentile(0.5));
  json["p90"] = Milliseconds(histogram.Percentile(0.9));
  json["p95"] = Milliseconds(histogram.Percentile(0.95));
  json["p99"] = Milliseconds(histogram.Percentile(0.99));
  json["max"] = Milliseconds(histogram.max());
  return json;
}

Json Buckets(const LatencyHistogram& histogram) {
  Json json = Json::array();
  for (const auto& [upper, count] : histogram.Buckets()) {
    json.push_back({Milliseconds(upper), count});
  }
  return json;
}

// Mean of the server's own times over OK calls.
Json ServerTimes(const Tally& tally) {
  const auto mean = [&](Nanoseconds sum) {
    return Milliseconds(sum) / static_cast<double>(std::max<uint64_t>(tally.ok.count(), 1));
  };
  return {{"queue", mean(tally.server_queue)},
          {"compute", mean(tally.server_compute)},
          {"total", mean(tally.server_total)}};
}

Json Figures(const Tally& tally, const PointResult& result) {
  const auto p99 = OfferedPercentile(tally, 0.99);
  return {{"calls", tally.calls},
          {"codes", Codes(tally.codes)},
          {"good_calls", tally.good_calls},
          {"partial_calls", tally.partial_calls},
          {"failed_inputs", tally.failed_inputs},
          {"ok_calls_per_s", PerSecond(tally.in_window.ok_calls, result)},
          {"good_calls_per_s", PerSecond(tally.in_window.good_calls, result)},
          {"inputs_per_s", PerSecond(tally.in_window.inputs, result)},
          {"tokens_per_s", PerSecond(tally.in_window.tokens, result)},
          {"ok_latency_ms", Latency(tally.ok)},
          {"not_ok_latency_ms", Latency(tally.not_ok)},
          {"offered_p99_ms", p99 ? Json(Milliseconds(*p99)) : Json()},
          {"server_mean_ms", ServerTimes(tally)},
          {"ok_histogram_ms", Buckets(tally.ok)},
          {"not_ok_histogram_ms", Buckets(tally.not_ok)}};
}

Json Load(const LoadPoint& point) {
  Json json = {{"loop", point.rate_per_s ? "open" : "closed"}};
  if (point.rate_per_s) {
    json["rate_per_s"] = *point.rate_per_s;
    json["arrivals"] = point.arrivals == ArrivalShape::kPoisson ? "poisson" : "constant";
  } else {
    json["concurrency"] = point.concurrency;
  }
  json["warmup_s"] = Seconds(point.warmup);
  json["duration_s"] = Seconds(point.duration);
  return json;
}

Json Point(const Findings& findings, const PointResult& result) {
  Json json = {{"load", Load(result.point)},
               {"offered", result.not_offered.empty()},
               {"interrupted", result.interrupted}};
  if (!result.not_offered.empty()) {
    json["not_offered_because"] = result.not_offered;
    return json;
  }
  if (!result.lost.empty()) {
    json["measured_s"] = Seconds(result.measured);
    json["lost_because"] = result.lost;
    return json;
  }
  json["measured_s"] = Seconds(result.measured);
  json["scheduled_calls"] = result.scheduled;
  json["abandoned_calls"] = result.abandoned;
  json["late_calls"] = result.late;
  json["most_in_flight"] = result.most_in_flight;
  json["send_lag_ms"] = Latency(result.lag);
  json["client_cpu_us_per_call"] = 1000 * Milliseconds(result.client_cpu_per_call);
  json["client_collector_busy"] = result.collector_busy;
  json.update(Figures(result.Total(), result));
  Json groups = Json::object();
  for (const Group& group : GroupsOf(findings.kinds, result)) {
    groups[group.name] = Figures(group.tally, result);
  }
  json["groups"] = std::move(groups);
  return json;
}

Json Settings(const LoadOptions& options) {
  Json deadlines = Json::array();
  for (const DeadlineShare& part : options.deadlines) {
    deadlines.push_back({{"ms", part.deadline ? Json(Milliseconds(*part.deadline)) : Json()},
                         {"share", part.share}});
  }
  return {{"task", options.task == LoadTask::kEmbed ? "embed" : "classify"},
          {"inputs_per_call", options.batch},
          {"connections", options.connections},
          {"seed", options.seed},
          {"deadlines", std::move(deadlines)},
          {"bulk_share", options.bulk_share}};
}

Json Texts(const Findings& findings) {
  const bool made_up = findings.workload.file.empty();
  Json json = {{"source", made_up ? "made up" : "file"}};
  if (made_up) {
    json["words"] = FormatLengths(findings.options.lengths.value_or(kDefaultLengths));
  } else {
    json["file"] = findings.workload.file;
    json["shuffled"] = findings.options.shuffle;
  }
  json["texts"] = findings.workload.texts;
  json["distinct_texts"] = findings.workload.distinct_texts;
  json["tokens_per_input"] = TokensPerInput(findings.points);
  return json;
}

Json Search(const RateSearch& search) {
  const auto number = [](const std::optional<double>& rate) { return rate ? Json(*rate) : Json(); };
  return {{"p99_ms", Milliseconds(search.objective.p99)},
          {"max_errors", search.objective.max_errors},
          {"held_per_s", number(search.found.held_per_s)},
          {"failed_per_s", number(search.found.failed_per_s)},
          {"hopeless_because", search.hopeless.empty() ? Json() : Json(search.hopeless)},
          {"client_limited", search.found.client_limited},
          {"interrupted", search.found.interrupted}};
}

}  // namespace

std::string JsonOf(const Findings& findings) {
  const ServerFacts& server = findings.server;
  Json json = {
      {"client", {{"program", "contextpool bench"}, {"version", CONTEXTPOOL_VERSION}}},
      {"started_at", findings.started_at},
      {"host", {{"processor", ProcessorName()}, {"cores", std::thread::hardware_concurrency()}}},
      {"server",
       {{"address", server.address},
        {"model", server.model},
        {"version", server.version},
        {"dtype", server.dtype},
        {"device", server.device}}},
      {"settings", Settings(findings.options)},
      {"texts", Texts(findings)}};
  Json points = Json::array();
  for (const PointResult& result : findings.points) points.push_back(Point(findings, result));
  json["points"] = std::move(points);
  if (findings.search) json["find_rate"] = Search(*findings.search);
  json["calls_by_code_in_all"] = Codes(findings.all_codes);
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace contextpool::cli::bench
