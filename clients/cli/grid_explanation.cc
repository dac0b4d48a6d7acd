#include "clients/cli/grid_explanation.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "clients/cli/table.h"

namespace contextpool::cli {
namespace {

// The last `cells` numbers: those of tokens before the grid come first.
std::vector<float> OverGrid(const google::protobuf::RepeatedField<float>& numbers, size_t cells) {
  std::vector<float> grid(numbers.end() - static_cast<ptrdiff_t>(cells), numbers.end());
  for (float& value : grid) {
    if (!std::isfinite(value) || value < 0) value = 0;
  }
  return grid;
}

void AddRow(const GridLayer& layer, Table& table) {
  std::vector<std::string> row = {absl::StrCat(layer.layer)};
  for (const std::vector<float>* values : {&layer.weights, &layer.support_sizes}) {
    const Spread spread = SpreadOf(*values);
    for (const float value : {spread.min, spread.mean, spread.max}) {
      row.push_back(absl::StrFormat("%.3g", value));
    }
  }
  table.AddRow(std::move(row));
}

}  // namespace

absl::StatusOr<std::vector<GridLayer>> GridLayers(const v1::Explanation& explanation) {
  const uint64_t cells = uint64_t{explanation.grid_width()} * explanation.grid_height();
  if (cells == 0 || explanation.layers().empty()) {
    return absl::InternalError("the server's explanation has no grid or no layer");
  }
  std::vector<GridLayer> layers;
  for (const v1::ContextPoolLayer& layer : explanation.layers()) {
    const auto weights = static_cast<uint64_t>(layer.weight_size());
    if (weights < cells || layer.support_size_size() != layer.weight_size()) {
      return absl::InternalError(absl::StrCat(
          "the server explains layer ", layer.layer(), " by ", layer.weight_size(), " weights and ",
          layer.support_size_size(), " support sizes, and the grid has ", cells, " cells"));
    }
    layers.push_back(
        {layer.layer(), OverGrid(layer.weight(), cells), OverGrid(layer.support_size(), cells)});
  }
  return layers;
}

Spread SpreadOf(std::span<const float> values) {
  const auto [min, max] = std::minmax_element(values.begin(), values.end());
  const double sum = std::accumulate(values.begin(), values.end(), 0.0);
  return {*min, static_cast<float>(sum / static_cast<double>(values.size())), *max};
}

std::string TabulateExplanation(const v1::Explanation& explanation, size_t indent) {
  const std::string start(indent, ' ');
  const auto layers = GridLayers(explanation);
  if (!layers.ok()) return absl::StrCat(start, std::string(layers.status().message()), "\n");
  Table table({{.title = "LAYER", .right = true},
               {.title = "WEIGHT min", .right = true},
               {.title = "mean", .right = true},
               {.title = "max", .right = true},
               {.title = "SUPPORT SIZE min", .right = true},
               {.title = "mean", .right = true},
               {.title = "max", .right = true}});
  for (const GridLayer& layer : *layers) AddRow(layer, table);
  return absl::StrCat(table.Render(indent), "\n", start, "grid of ", explanation.grid_width(),
                      " x ", explanation.grid_height(),
                      " tokens, support sizes in cells; --explain=out.png draws it\n");
}

}  // namespace contextpool::cli
