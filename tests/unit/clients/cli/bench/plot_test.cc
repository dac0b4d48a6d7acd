#include "clients/cli/bench/plot.h"

#include <regex>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "clients/cli/bench/axis.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace contextpool::cli::bench {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(LinearAxis, StartsAt0AndCoversTheHighest) {
  EXPECT_THAT(LinearAxis(190).ticks, ElementsAre(0, 20, 40, 60, 80, 100, 120, 140, 160, 180, 200));
  EXPECT_THAT(LinearAxis(1).ticks, testing::SizeIs(11));
  for (double highest = 0.013; highest < 1e6; highest *= 1.37) {
    const Axis axis = LinearAxis(highest);
    EXPECT_GE(axis.high, highest * (1 - 1e-8));
    EXPECT_LE(axis.high, 1.25 * highest);
    EXPECT_LE(axis.ticks.size(), 11u);
    EXPECT_GE(axis.ticks.size(), 5u);
  }
}

TEST(LogAxis, GoesFromTheTickBelowToTheTickAbove) {
  EXPECT_THAT(LogAxis(6.3, 39).ticks, ElementsAre(5, 10, 20, 50));
  EXPECT_THAT(LogAxis(0.5, 0.5).ticks, ElementsAre(0.5, 1));
  for (double lowest = 0.0021; lowest < 1e4; lowest *= 1.61) {
    for (const double ratio : {1.0, 1.5, 12.0, 3000.0}) {
      const Axis axis = LogAxis(lowest, lowest * ratio);
      EXPECT_LE(axis.low, lowest * (1 + 1e-8));
      EXPECT_GE(axis.low, lowest / 2.51);
      EXPECT_GE(axis.high, lowest * ratio * (1 - 1e-8));
      EXPECT_GT(axis.high, axis.low);
    }
  }
}

// Every tag is closed by its own name, and text holds no bare '<', '>' or '&'.
void ExpectWellFormed(const std::string& svg) {
  const std::regex tag(R"(<(/?)([a-z]+)((?: [a-zA-Z0-9:-]+="[^"<&]*")*)(/?)>)");
  std::vector<std::string> open;
  size_t end = 0;
  for (auto it = std::sregex_iterator(svg.begin(), svg.end(), tag); it != std::sregex_iterator();
       ++it) {
    const std::string between = svg.substr(end, it->position() - end);
    EXPECT_EQ(between.find_first_of("<>"), std::string::npos) << between;
    const std::regex bare_ampersand("&(?!amp;|lt;|gt;)");
    EXPECT_FALSE(std::regex_search(between, bare_ampersand)) << between;
    end = it->position() + it->length();
    if ((*it)[1] == "/") {
      ASSERT_FALSE(open.empty());
      EXPECT_EQ(open.back(), (*it)[2]);
      open.pop_back();
    } else if ((*it)[4] != "/") {
      open.push_back((*it)[2]);
    }
  }
  EXPECT_TRUE(open.empty());
  EXPECT_EQ(svg.substr(end), "\n");
}

// The x and y of every place on the lines.
std::vector<std::pair<double, double>> PlacesOf(const std::string& svg) {
  std::vector<std::pair<double, double>> places;
  const std::regex line("<polyline points=\"([^\"]*)\"");
  for (auto it = std::sregex_iterator(svg.begin(), svg.end(), line); it != std::sregex_iterator();
       ++it) {
    for (const absl::string_view place : absl::StrSplit((*it)[1].str(), ' ')) {
      const std::vector<std::string> numbers = absl::StrSplit(place, ',');
      double x = -1, y = -1;
      EXPECT_TRUE(numbers.size() == 2 && absl::SimpleAtod(numbers[0], &x) &&
                  absl::SimpleAtod(numbers[1], &y))
          << place;
      places.emplace_back(x, y);
    }
  }
  return places;
}

Plot ThreePoints() {
  Plot plot;
  plot.title = "R&D <model>";
  plot.subtitle = "embed";
  plot.x_name = "calls per second offered";
  plot.points = {{100, {5, 8, 9}, "1"}, {250, {6, 30, 41.5}, "2"}, {300, {90, 700, 1200}, "4"}};
  return plot;
}

TEST(Draw, IsWellFormedWhateverTheNames) {
  const std::string svg = Draw(ThreePoints());
  ExpectWellFormed(svg);
  EXPECT_THAT(svg, HasSubstr("R&amp;D &lt;model&gt;"));
  EXPECT_THAT(svg, HasSubstr(">calls per second offered<"));
  EXPECT_THAT(svg, HasSubstr("prefers-color-scheme: dark"));
  EXPECT_THAT(svg, Not(HasSubstr("objective 0")));
}

TEST(Draw, PutsEveryPointBetweenTheAxes) {
  std::vector<Plot> plots = {ThreePoints(), ThreePoints(), ThreePoints()};
  plots[1].points.resize(1);
  plots[2].objective_ms = 5000;
  for (const Plot& plot : plots) {
    const std::string svg = Draw(plot);
    ExpectWellFormed(svg);
    const auto places = PlacesOf(svg);
    EXPECT_EQ(places.size(), 3 * plot.points.size());
    for (const auto& [x, y] : places) {
      EXPECT_GE(x, 72);
      EXPECT_LE(x, 770);
      EXPECT_GE(y, 96);
      EXPECT_LE(y, 420);
    }
  }
}

TEST(Draw, HigherRatesAreFurtherRightAndSlowerCallsHigherUp) {
  const auto places = PlacesOf(Draw(ThreePoints()));
  ASSERT_EQ(places.size(), 9u);
  // The lines of p50, p95 and p99, of three points each.
  for (size_t i = 1; i < 3; ++i) {
    EXPECT_GT(places[i].first, places[i - 1].first);
    EXPECT_LT(places[i].second, places[i - 1].second);
    EXPECT_LT(places[3 * i].second, places[3 * (i - 1)].second);
  }
  // The axis ends at 300, and 1,200 ms lie between 1,000 and 2,000.
  EXPECT_EQ(places[2].first, 770);
  EXPECT_GT(places[8].second, 96);
}

TEST(Draw, MarksTheObjective) {
  Plot plot = ThreePoints();
  plot.objective_ms = 20;
  EXPECT_THAT(Draw(plot), HasSubstr("objective 20 ms"));
}

PointResult PointAt(std::optional<double> rate, uint32_t concurrency, Nanoseconds latency) {
  PointResult result;
  result.point.rate_per_s = rate;
  result.point.concurrency = concurrency;
  result.measured = std::chrono::seconds(1);
  Tally& tally = result.kinds.emplace_back();
  tally.calls = tally.in_window.ok_calls = 40;
  for (int i = 0; i < 40; ++i) tally.ok.Add(latency);
  return result;
}

TEST(PlotOf, LeavesOutWhatWasNotOfferedAndSortsByLoad) {
  Findings findings;
  findings.points = {PointAt(200, 0, std::chrono::milliseconds(4)),
                     PointAt(400, 0, std::chrono::milliseconds(9)),
                     PointAt(100, 0, std::chrono::milliseconds(2))};
  findings.points[1].not_offered = "late";
  const Plot plot = PlotOf(findings);
  ASSERT_EQ(plot.points.size(), 2u);
  EXPECT_EQ(plot.points[0].calls_per_s, 100);
  EXPECT_EQ(plot.points[1].calls_per_s, 200);
  EXPECT_THAT(plot.points[1].latency_ms, ElementsAre(4, 4, 4));
  EXPECT_EQ(plot.x_name, "calls per second offered");
}

TEST(PlotOf, AClosedLoopStandsWhereItsThroughputIs) {
  Findings findings;
  findings.options.concurrency = {8};
  findings.points = {PointAt(std::nullopt, 8, std::chrono::milliseconds(4))};
  const Plot plot = PlotOf(findings);
  ASSERT_EQ(plot.points.size(), 1u);
  EXPECT_EQ(plot.points[0].calls_per_s, 40);
  EXPECT_EQ(plot.points[0].label, "8");
}

}  // namespace
}  // namespace contextpool::cli::bench
