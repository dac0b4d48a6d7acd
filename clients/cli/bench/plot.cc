#include "clients/cli/bench/plot.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "clients/cli/bench/axis.h"

namespace contextpool::cli::bench {
namespace {

constexpr int kWidth = 800;
constexpr int kHeight = 480;
// The rectangle between the axes.
constexpr double kLeft = 72;
constexpr double kRight = 770;
constexpr double kTop = 96;
constexpr double kBottom = 420;

// Colours that hold on white and on black, and for most of the colour-blind.
constexpr char kStyle[] = R"(<style>
text { font-family: Helvetica, Arial, sans-serif; font-size: 12px; fill: #24292f; }
.title { font-size: 17px; font-weight: bold; }
.small { font-size: 11px; }
.paper { fill: #ffffff; }
.grid { stroke: #d8dee4; stroke-width: 1; }
.axis { stroke: #57606a; stroke-width: 1.2; }
.objective { stroke: #8250df; stroke-width: 1.5; stroke-dasharray: 6 4; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; }
.p50 { stroke: #218bff; } .dot50 { fill: #218bff; }
.p95 { stroke: #d4870b; } .dot95 { fill: #d4870b; }
.p99 { stroke: #e5484d; } .dot99 { fill: #e5484d; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.paper { fill: #0d1117; }
.grid { stroke: #30363d; }
.axis { stroke: #8b949e; }
.objective { stroke: #a371f7; }
}
</style>
)";

constexpr std::array<absl::string_view, 3> kNames = {"50", "95", "99"};

std::string Escaped(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}});
}

// Without digits that say nothing: 0.5, 20, 1000.
std::string Number(double value) { return absl::StrFormat("%.8g", value); }

class Drawing {
 public:
  explicit Drawing(const Plot& plot) : plot_(plot) {
    double highest_x = 0;
    double lowest_y = plot.objective_ms.value_or(plot.points.front().latency_ms.front());
    double highest_y = lowest_y;
    for (const PlotPoint& point : plot.points) {
      highest_x = std::max(highest_x, point.calls_per_s);
      lowest_y = std::min(lowest_y, point.latency_ms.front());
      highest_y = std::max(highest_y, point.latency_ms.back());
    }
    constexpr double kLeastMs = 1e-6;
    x_ = LinearAxis(std::max(highest_x, kLeastMs));
    y_ = LogAxis(std::max(lowest_y, kLeastMs), std::max(highest_y, kLeastMs));
  }

  std::string Render() {
    absl::StrAppendFormat(&svg_,
                          "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" "
                          "width=\"%d\" height=\"%d\" role=\"img\">\n",
                          kWidth, kHeight, kWidth, kHeight);
    absl::StrAppend(&svg_, "<title>", Escaped(plot_.title), "</title>\n", kStyle);
    absl::StrAppendFormat(&svg_, "<rect class=\"paper\" width=\"%d\" height=\"%d\"/>\n", kWidth,
                          kHeight);
    Text(kLeft, 30, "title", plot_.title);
    Text(kLeft, 50, "small", plot_.subtitle);
    DrawAxes();
    DrawObjective();
    for (size_t i = 0; i < kNames.size(); ++i) DrawLine(i);
    DrawLabels();
    DrawLegend();
    return absl::StrCat(svg_, "</svg>\n");
  }

 private:
  double X(double calls_per_s) const { return kLeft + calls_per_s / x_.high * (kRight - kLeft); }
  double Y(double ms) const {
    const double share = std::log(std::max(ms, y_.low) / y_.low) / std::log(y_.high / y_.low);
    return kBottom - share * (kBottom - kTop);
  }

  void Text(double x, double y, absl::string_view kind, absl::string_view text,
            absl::string_view attributes = "") {
    absl::StrAppendFormat(&svg_, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\"%s>%s</text>\n", x, y,
                          kind, attributes, Escaped(text));
  }

  void Line(double x1, double y1, double x2, double y2, absl::string_view kind) {
    absl::StrAppendFormat(&svg_,
                          "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n",
                          x1, y1, x2, y2, kind);
  }

  void DrawAxes() {
    for (const double tick : x_.ticks) {
      Line(X(tick), kTop, X(tick), kBottom, "grid");
      Text(X(tick), kBottom + 18, "tick", Number(tick), " text-anchor=\"middle\"");
    }
    for (const double tick : y_.ticks) {
      Line(kLeft, Y(tick), kRight, Y(tick), "grid");
      Text(kLeft - 8, Y(tick) + 4, "tick", Number(tick), " text-anchor=\"end\"");
    }
    Line(kLeft, kBottom, kRight, kBottom, "axis");
    Line(kLeft, kTop, kLeft, kBottom, "axis");
    Text((kLeft + kRight) / 2, kBottom + 42, "name", plot_.x_name, " text-anchor=\"middle\"");
    const double middle = (kTop + kBottom) / 2;
    Text(20, middle, "name", "latency of OK calls, ms",
         absl::StrFormat(" text-anchor=\"middle\" transform=\"rotate(-90 20 %.1f)\"", middle));
  }

  void DrawObjective() {
    if (!plot_.objective_ms) return;
    const double y = Y(*plot_.objective_ms);
    Line(kLeft, y, kRight, y, "objective");
    Text(kRight - 4, y - 5, "small", absl::StrCat("objective ", Number(*plot_.objective_ms), " ms"),
         " text-anchor=\"end\"");
  }

  // A shape for each line, for those who do not see the colours.
  void Marker(double x, double y, size_t i) {
    if (i == 0) {
      absl::StrAppendFormat(&svg_, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" class=\"dot50\"/>\n", x,
                            y);
    } else if (i == 1) {
      absl::StrAppendFormat(
          &svg_, "<rect x=\"%.1f\" y=\"%.1f\" width=\"8\" height=\"8\" class=\"dot95\"/>\n", x - 4,
          y - 4);
    } else {
      absl::StrAppendFormat(&svg_, "<path d=\"M%.1f %.1fl5 9h-10z\" class=\"dot99\"/>\n", x, y - 6);
    }
  }

  void DrawLine(size_t i) {
    std::string places;
    for (const PlotPoint& point : plot_.points) {
      absl::StrAppendFormat(&places, "%s%.1f,%.1f", places.empty() ? "" : " ", X(point.calls_per_s),
                            Y(point.latency_ms[i]));
    }
    absl::StrAppendFormat(&svg_, "<polyline points=\"%s\" class=\"line p%s\"/>\n", places,
                          kNames[i]);
    for (const PlotPoint& point : plot_.points) {
      Marker(X(point.calls_per_s), Y(point.latency_ms[i]), i);
    }
  }

  // Over the upper line, where there is room.
  void DrawLabels() {
    std::vector<std::pair<double, double>> taken;
    for (const PlotPoint& point : plot_.points) {
      const double x = X(point.calls_per_s);
      const double y = std::max(Y(point.latency_ms.back()) - 10, kTop - 2);
      const bool free = std::none_of(taken.begin(), taken.end(), [&](const auto& other) {
        return std::abs(other.first - x) < 34 && std::abs(other.second - y) < 13;
      });
      if (!free) continue;
      taken.emplace_back(x, y);
      Text(x, y, "small", point.label, " text-anchor=\"middle\"");
    }
  }

  void DrawLegend() {
    constexpr double kY = 72;
    double x = kLeft;
    for (size_t i = 0; i < kNames.size(); ++i, x += 76) {
      Line(x, kY, x + 26, kY, absl::StrCat("line p", kNames[i]));
      Marker(x + 13, kY, i);
      Text(x + 32, kY + 4, "key", absl::StrCat("p", kNames[i]));
    }
    Text(x + 8, kY + 4, "small", plot_.label_legend);
  }

  const Plot& plot_;
  Axis x_;
  Axis y_;
  std::string svg_;
};

}  // namespace

Plot PlotOf(const Findings& findings) {
  std::vector<PointResult> points = findings.points;
  std::stable_sort(points.begin(), points.end(), [](const PointResult& a, const PointResult& b) {
    return std::pair(a.point.rate_per_s, a.point.concurrency) <
           std::pair(b.point.rate_per_s, b.point.concurrency);
  });
  const LoadOptions& options = findings.options;
  Plot plot;
  plot.title = absl::StrCat("Latency and throughput of ", findings.server.model);
  plot.subtitle = absl::StrCat(options.task == LoadTask::kEmbed ? "embed" : "classify", ", ",
                               options.batch, options.batch == 1 ? " input" : " inputs",
                               " a call, ", absl::StrFormat("%.1f", TokensPerInput(points)),
                               " tokens an input, ", findings.server.dtype, " on ",
                               findings.server.device, ", ", findings.started_at.substr(0, 10));
  const bool open_loop = options.concurrency.empty();
  plot.x_name = open_loop ? "calls per second offered" : "OK calls per second";
  if (!open_loop) plot.label_legend = "numbers in the plot: calls in flight";
  for (const PointResult& result : points) {
    const Tally total = result.Total();
    if (!result.has_figures() || total.ok.count() == 0) continue;
    PlotPoint& point = plot.points.emplace_back();
    point.calls_per_s =
        result.point.rate_per_s.value_or(PerSecond(total.in_window.ok_calls, result));
    constexpr double kShares[] = {0.5, 0.95, 0.99};
    std::transform(std::begin(kShares), std::end(kShares), point.latency_ms.begin(),
                   [&](double share) { return Milliseconds(total.ok.Percentile(share)); });
    if (!open_loop) point.label = Number(result.point.concurrency);
  }
  if (findings.search) plot.objective_ms = Milliseconds(findings.search->objective.p99);
  return plot;
}

std::string Draw(const Plot& plot) { return Drawing(plot).Render(); }

}  // namespace contextpool::cli::bench
