#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "clients/cli/bench/json_report.h"
#include "clients/cli/bench/text_report.h"
#include "gmock/gmock.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"

namespace contextpool::cli::bench {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;

Tally TallyOf(uint64_t ok_calls, Nanoseconds latency) {
  Tally tally;
  tally.calls = ok_calls;
  tally.good_calls = tally.in_window.ok_calls = tally.in_window.good_calls = ok_calls;
  tally.inputs = tally.in_window.inputs = 2 * ok_calls;
  tally.tokens = tally.in_window.tokens = 30 * ok_calls;
  tally.codes[grpc::StatusCode::OK] = ok_calls;
  tally.server_total = ok_calls * 3ms;
  for (uint64_t i = 0; i < ok_calls; ++i) tally.ok.Add(latency);
  return tally;
}

// 200 calls/s for 10 s: 1,400 interactive ones in 4 ms, 600 bulk ones in 8 ms.
Findings TwoClasses() {
  Findings findings;
  findings.started_at = "2026-01-02T03:04:05+00:00";
  findings.options.rates = {200};
  findings.options.batch = 2;
  findings.server = {"host:1", "mini", 3, "float32", "cpu"};
  findings.workload = {"texts.txt", 100, 90};
  findings.kinds = {{.bulk = false, .deadline = 50ms, .share = 0.7},
                    {.bulk = true, .deadline = 50ms, .share = 0.3}};
  PointResult& result = findings.points.emplace_back();
  result.point.rate_per_s = 200;
  result.point.duration = result.measured = 10s;
  result.scheduled = result.sent = 2000;
  result.lag.Add(250us);
  result.client_cpu_per_call = 45us;
  result.kinds = {TallyOf(1400, 4ms), TallyOf(600, 8ms)};
  findings.all_codes = {{grpc::StatusCode::OK, 2100}};
  return findings;
}

std::vector<std::string> WordsOf(const std::string& text, const std::string& line_start) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind(line_start, 0) != 0) continue;
    std::istringstream words(line);
    return {std::istream_iterator<std::string>(words), {}};
  }
  ADD_FAILURE() << "no line starts with '" << line_start << "' in\n" << text;
  return {};
}

TEST(TableOf, HasARowForThePointAndForEachClass) {
  const std::string table = TableOf(TwoClasses());
  EXPECT_THAT(WordsOf(table, "200 calls/s"),
              testing::ElementsAre("200", "calls/s", "200", "400", "6000", "200", "4.01", "8.00",
                                   "8.00", "8.00", "8.00", "0", "0.25", "45"));
  EXPECT_EQ(WordsOf(table, "  interactive")[1], "140");
  EXPECT_EQ(WordsOf(table, "  bulk")[1], "60.0");
  // All calls share a deadline: it has no row.
  EXPECT_THAT(table, Not(HasSubstr("deadline 50ms")));
  EXPECT_THAT(table, HasSubstr("15.0 tokens an input"));
}

TEST(TableOf, ShowsRefusalsApart) {
  Findings findings = TwoClasses();
  Tally& tally = findings.points[0].kinds[0];
  tally.calls += 500;
  tally.codes[grpc::StatusCode::RESOURCE_EXHAUSTED] = 500;
  for (int i = 0; i < 500; ++i) tally.not_ok.Add(1ms);
  const std::string table = TableOf(findings);
  EXPECT_THAT(WordsOf(table, "200 calls/s"), testing::Contains("20.00%"));
  EXPECT_THAT(table, HasSubstr("not OK: 500 RESOURCE_EXHAUSTED; answered within 1.00 ms (p50)"));
}

TEST(TableOf, WithholdsWhatWasNotOffered) {
  Findings findings = TwoClasses();
  findings.points[0].not_offered = "only 1 of 2 calls could be sent in time";
  const std::string table = TableOf(findings);
  EXPECT_THAT(WordsOf(table, "200 calls/s"),
              testing::ElementsAre("200", "calls/s", "-", "-", "-", "-", "-", "-", "-", "-", "-",
                                   "-", "-", "-"));
  EXPECT_THAT(table, HasSubstr("not offered: only 1 of 2 calls"));
  EXPECT_THAT(table, Not(HasSubstr("tokens an input")));
}

TEST(TableOf, WithholdsWhatWasGivenUp) {
  Findings findings = TwoClasses();
  findings.points[0].lost = "given up: by then 21 of 2000 calls had missed 20ms";
  findings.points[0].measured = 1500ms;
  EXPECT_THAT(TableOf(findings), HasSubstr("after 1.50 s given up: by then 21 of 2000 calls"));
  EXPECT_EQ(WordsOf(TableOf(findings), "200 calls/s")[2], "-");
  const json point = json::parse(JsonOf(findings))["points"][0];
  EXPECT_TRUE(point["offered"]);
  EXPECT_THAT(point["lost_because"].get<std::string>(), HasSubstr("given up"));
  EXPECT_FALSE(point.contains("ok_latency_ms"));
}

TEST(TableOf, SaysWhereARunWasInterrupted) {
  Findings findings = TwoClasses();
  findings.points[0].interrupted = true;
  findings.points[0].measured = 3200ms;
  findings.points[0].abandoned = 4;
  EXPECT_THAT(TableOf(findings),
              HasSubstr("interrupted after 3.20 s of 10s; 4 calls in flight not counted"));
}

TEST(TableOf, WarnsWhereEqualTextsMayMeet) {
  Findings findings = TwoClasses();
  findings.points[0].most_in_flight = 45;
  EXPECT_THAT(TableOf(findings), Not(HasSubstr("distinct")));
  findings.points[0].most_in_flight = 46;
  EXPECT_THAT(TableOf(findings), HasSubstr("90 distinct texts for up to 92 inputs in flight"));
}

TEST(Headline, NamesModelAndTexts) {
  EXPECT_EQ(Headline(TwoClasses()),
            "mini version 3 (float32 on cpu) at host:1\n"
            "embed, 2 inputs a call, 1 connection, 100 texts (90 distinct) of texts.txt\n");
  Findings findings = TwoClasses();
  findings.workload.file.clear();
  findings.server.model = "evil\x1B[2J";
  EXPECT_THAT(Headline(findings), HasSubstr("100 made-up texts (90 distinct), uniform:5-60 words"));
  EXPECT_THAT(Headline(findings), Not(HasSubstr("\x1B")));
}

TEST(DescribeSearch, SaysWhatBoundsTheRate) {
  RateSearch search{{20ms, 0.001}, {.held_per_s = 212, .failed_per_s = 221}, ""};
  EXPECT_EQ(DescribeSearch(search),
            "Highest rate that holds p99 <= 20ms with at most 0.1% not OK: 212 calls/s; lowest "
            "that does not: 221 calls/s\n");
  search.found.client_limited = true;
  EXPECT_THAT(DescribeSearch(search), HasSubstr("this client could not offer 221 calls/s"));
  search.found.held_per_s.reset();
  EXPECT_THAT(DescribeSearch(search), HasSubstr("No rate was found"));
  search.hopeless = "too slow";
  EXPECT_EQ(DescribeSearch(search),
            "No rate can hold p99 <= 20ms with at most 0.1% not OK: too slow\n");
}

TEST(JsonOf, HoldsSettingsFiguresAndHistograms) {
  const json report = json::parse(JsonOf(TwoClasses()));
  EXPECT_EQ(report["server"]["model"], "mini");
  EXPECT_EQ(report["server"]["version"], 3);
  EXPECT_GE(report["host"]["cores"], 1);
  EXPECT_EQ(report["settings"]["inputs_per_call"], 2);
  EXPECT_EQ(report["texts"]["distinct_texts"], 90);
  EXPECT_EQ(report["calls_by_code_in_all"]["OK"], 2100);
  ASSERT_EQ(report["points"].size(), 1u);
  const json& point = report["points"][0];
  EXPECT_EQ(point["load"]["loop"], "open");
  EXPECT_EQ(point["load"]["rate_per_s"], 200);
  EXPECT_TRUE(point["offered"]);
  EXPECT_EQ(point["calls"], 2000);
  EXPECT_EQ(point["ok_calls_per_s"], 200);
  EXPECT_EQ(point["inputs_per_s"], 400);
  EXPECT_EQ(point["tokens_per_s"], 6000);
  EXPECT_EQ(point["ok_latency_ms"]["max"], 8);
  EXPECT_EQ(point["client_cpu_us_per_call"], 45);
  EXPECT_EQ(point["server_mean_ms"]["total"], 3);
  EXPECT_EQ(point["groups"]["bulk"]["calls"], 600);
  uint64_t counted = 0;
  for (const json& bucket : point["ok_histogram_ms"]) counted += bucket[1].get<uint64_t>();
  EXPECT_EQ(counted, 2000u);
}

TEST(JsonOf, WithholdsWhatWasNotOffered) {
  Findings findings = TwoClasses();
  findings.points[0].not_offered = "late";
  const json point = json::parse(JsonOf(findings))["points"][0];
  EXPECT_FALSE(point["offered"]);
  EXPECT_EQ(point["not_offered_because"], "late");
  for (const char* figure : {"ok_latency_ms", "ok_calls_per_s", "codes", "groups"}) {
    EXPECT_FALSE(point.contains(figure)) << figure;
  }
}

TEST(JsonOf, TellsWhatASearchFound) {
  Findings findings = TwoClasses();
  EXPECT_FALSE(json::parse(JsonOf(findings)).contains("find_rate"));
  findings.search =
      RateSearch{{20ms, 0.001}, {.held_per_s = 212, .failed_per_s = std::nullopt}, "no"};
  const json search = json::parse(JsonOf(findings))["find_rate"];
  EXPECT_EQ(search["p99_ms"], 20);
  EXPECT_EQ(search["held_per_s"], 212);
  EXPECT_TRUE(search["failed_per_s"].is_null());
  EXPECT_EQ(search["hopeless_because"], "no");
}

}  // namespace
}  // namespace contextpool::cli::bench
