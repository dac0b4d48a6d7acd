#include "clients/cli/bench/text_report.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "clients/cli/connection.h"
#include "clients/cli/table.h"
#include "clients/cli/utf8.h"

namespace contextpool::cli::bench {
namespace {

constexpr size_t kColumns = 13;
// What a server calls itself is cut at so many columns.
constexpr size_t kWidestName = 200;

// Three digits or so.
std::string Short(double number) {
  const int decimals = number < 9.995 ? 2 : number < 99.95 ? 1 : 0;
  return absl::StrFormat("%.*f", decimals, number);
}

std::string Short(Nanoseconds time) { return Short(Milliseconds(time)); }

std::string Plural(uint64_t count, absl::string_view noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

std::vector<std::string> Row(std::string name, const Tally& tally, const PointResult& result) {
  std::vector<std::string> cells = {std::move(name),
                                    Short(PerSecond(tally.in_window.ok_calls, result)),
                                    Short(PerSecond(tally.in_window.inputs, result)),
                                    Short(PerSecond(tally.in_window.tokens, result)),
                                    Short(PerSecond(tally.in_window.good_calls, result))};
  for (const double share : {0.5, 0.9, 0.95, 0.99}) {
    cells.push_back(tally.ok.count() == 0 ? "-" : Short(tally.ok.Percentile(share)));
  }
  cells.push_back(tally.ok.count() == 0 ? "-" : Short(tally.ok.max()));
  cells.push_back(tally.not_ok_calls() == 0
                      ? "0"
                      : absl::StrFormat("%.2f%%", 100 * static_cast<double>(tally.not_ok_calls()) /
                                                      static_cast<double>(tally.calls)));
  return cells;
}

std::string Codes(const Tally& tally) {
  std::vector<std::string> codes;
  for (const auto& [code, count] : tally.codes) {
    if (code != grpc::StatusCode::OK) codes.push_back(absl::StrCat(count, " ", CodeName(code)));
  }
  return absl::StrJoin(codes, ", ");
}

void AddNotes(const Findings& findings, const PointResult& result, const Tally& total,
              Table& table) {
  if (result.interrupted) {
    table.AddNote(absl::StrCat("   interrupted after ", Short(Seconds(result.measured)), " s of ",
                               FormatPeriod(result.point.duration), "; ",
                               Plural(result.abandoned, "call"), " in flight not counted"));
  }
  if (total.not_ok_calls() > 0) {
    table.AddNote(absl::StrCat("   not OK: ", Codes(total), "; answered within ",
                               Short(total.not_ok.Percentile(0.5)), " ms (p50), ",
                               Short(total.not_ok.Percentile(0.99)), " ms (p99)"));
  }
  if (total.failed_inputs > 0) {
    table.AddNote(absl::StrCat("   ", Plural(total.failed_inputs, "input"), " failed inside ",
                               total.partial_calls, " OK ",
                               total.partial_calls == 1 ? "reply" : "replies"));
  }
  const uint64_t inputs = result.most_in_flight * findings.options.batch;
  if (findings.workload.distinct_texts < inputs) {
    table.AddNote(absl::StrCat("   ", Plural(findings.workload.distinct_texts, "distinct text"),
                               " for up to ", Plural(inputs, "input"),
                               " in flight: the server may compute equal ones once"));
  }
}

std::string WhyNoFigures(const PointResult& result) {
  return result.not_offered.empty()
             ? absl::StrCat("after ", Short(Seconds(result.measured)), " s ", result.lost)
             : absl::StrCat("not offered: ", result.not_offered);
}

void AddPoint(const Findings& findings, const PointResult& result, Table& table) {
  const std::string name = Describe(result.point);
  if (!result.has_figures()) {
    std::vector<std::string> cells(kColumns, "-");
    cells.front() = name;
    table.AddRow(std::move(cells));
    table.AddNote(absl::StrCat("   ", WhyNoFigures(result)));
    return;
  }
  const Tally total = result.Total();
  std::vector<std::string> cells = Row(name, total, result);
  cells.push_back(result.point.rate_per_s ? Short(result.lag.Percentile(0.99)) : "-");
  cells.push_back(absl::StrFormat("%.0f", Milliseconds(result.client_cpu_per_call) * 1000));
  table.AddRow(std::move(cells));
  for (const Group& group : GroupsOf(findings.kinds, result)) {
    cells = Row(absl::StrCat("  ", group.name), group.tally, result);
    cells.resize(kColumns);
    table.AddRow(std::move(cells));
  }
  AddNotes(findings, result, total, table);
}

std::string TextsOf(const Findings& findings) {
  const std::string distinct = absl::StrCat(" (", findings.workload.distinct_texts, " distinct)");
  if (!findings.workload.file.empty()) {
    const std::string name =
        findings.workload.file == "-" ? "the standard input" : findings.workload.file;
    return absl::StrCat(Plural(findings.workload.texts, "text"), distinct, " of ", name);
  }
  return absl::StrCat(findings.workload.texts, " made-up texts", distinct, ", ",
                      FormatLengths(findings.options.lengths.value_or(kDefaultLengths)), " words");
}

}  // namespace

std::string Headline(const Findings& findings) {
  const ServerFacts& server = findings.server;
  const LoadOptions& options = findings.options;
  const std::string model =
      absl::StrCat(server.model, " version ", server.version, " (", server.dtype, " on ",
                   server.device, ") at ", server.address);
  return absl::StrCat(Printable(model, kWidestName), "\n",
                      options.task == LoadTask::kEmbed ? "embed" : "classify", ", ",
                      Plural(options.batch, "input"), " a call, ",
                      Plural(options.connections, "connection"), ", ", TextsOf(findings), "\n");
}

std::string TableOf(const Findings& findings) {
  Table table({{.title = "LOAD"},
               {.title = "CALLS/S", .right = true},
               {.title = "INPUTS/S", .right = true},
               {.title = "TOKENS/S", .right = true},
               {.title = "GOOD/S", .right = true},
               {.title = "P50", .right = true},
               {.title = "P90", .right = true},
               {.title = "P95", .right = true},
               {.title = "P99", .right = true},
               {.title = "MAX", .right = true},
               {.title = "NOT OK", .right = true},
               {.title = "LAG", .right = true},
               {.title = "CPU", .right = true}});
  for (const PointResult& result : findings.points) AddPoint(findings, result, table);
  std::string text = table.Render(0);
  const double tokens = TokensPerInput(findings.points);
  if (tokens > 0) {
    absl::StrAppend(&text,
                    "\nP50 to MAX: ms from due to answered, of OK calls. LAG: ms sent after "
                    "due, p99. CPU: us of this client a call.\n",
                    absl::StrFormat("%.1f", tokens), " tokens an input, as the server counts.\n");
  }
  return text;
}

std::string DescribeProbe(const PointResult& result, ProbeOutcome outcome) {
  const std::string name = Describe(result.point);
  switch (outcome) {
    case ProbeOutcome::kInterrupted:
      return absl::StrCat(name, ": interrupted");
    case ProbeOutcome::kNotOffered:
      return absl::StrCat(name, ": ", WhyNoFigures(result));
    case ProbeOutcome::kHolds:
    case ProbeOutcome::kFails:
      break;
  }
  if (!result.lost.empty()) {
    return absl::StrCat(name, ": ", WhyNoFigures(result), ": does not hold");
  }
  const Tally total = result.Total();
  const auto p99 = OfferedPercentile(total, 0.99);
  return absl::StrCat(
      name, ": p99 ", p99 ? absl::StrCat(Short(*p99), " ms") : "never", ", ",
      total.not_ok_calls() + total.partial_calls, " of ", Plural(total.calls, "call"),
      " not OK or not whole: ", outcome == ProbeOutcome::kHolds ? "holds" : "does not hold");
}

std::string DescribeSearch(const RateSearch& search) {
  const FoundRate& found = search.found;
  const std::string objective = Describe(search.objective);
  if (!search.hopeless.empty()) {
    return absl::StrCat("No rate can hold ", objective, ": ", search.hopeless, "\n");
  }
  std::string text = found.held_per_s ? absl::StrCat("Highest rate that holds ", objective, ": ",
                                                     *found.held_per_s, " calls/s")
                                      : absl::StrCat("No rate was found that holds ", objective);
  if (found.failed_per_s) {
    absl::StrAppend(
        &text, found.client_limited ? "; this client could not offer " : "; lowest that does not: ",
        *found.failed_per_s, " calls/s");
  }
  if (found.interrupted) absl::StrAppend(&text, " (interrupted: the search is not finished)");
  return absl::StrCat(text, "\n");
}

}  // namespace contextpool::cli::bench
