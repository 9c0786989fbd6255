// SPDX-License-Identifier: Apache-2.0
// Round to nearest: every weight takes the nearest code under its group's scale.
#pragma once

#include <string_view>
#include <utility>
#include <vector>

#include "kvant/passes/pass.hpp"

namespace kvant {

struct RtnConfig {
  bool search = true;  ///< search each group's scale for the least squared error; false takes the plain one
  PowerRule power_rule = PowerRule::floor;  ///< plain scales of MX formats

  /// Names every field once, for the command line, recipes, help and JSON.
  template <class Self, class Visitor>
  static void visit(Self& config, Visitor&& visitor) {
    visitor("search", config.search, "search each group's scale for the least squared error");
    visitor("power_rule", config.power_rule, "plain scales of MX formats: floor, up, nearest or ct");
  }
};

/// Rounding to nearest, plain or with a scale search. Needs no data; where the squares of inputs are known, an error in
/// a column counts for as much in the search.
struct Rtn {
  using Config = RtnConfig;
  static constexpr std::string_view kName = "rtn";
  static constexpr std::string_view kSummary = "round to nearest, with a search for each group's scale";
  static constexpr bool kRowwise = true;
  static constexpr Needs kNeeds = Needs::nothing;

  Config config;

  [[nodiscard]] Result<QLinear> operator()(const LayerInput& layer, const LayerScheme& scheme,
                                           const Context& context) const {
    const std::vector<float> column_weights =
        layer.inputs != nullptr ? layer.inputs->mean_square() : std::vector<float>{};
    QuantizeOptions options;
    options.search = config.search;
    options.nonfinite = layer.nonfinite;
    options.power_rule = config.power_rule;
    options.shared_amax = layer.shared_amax;
    options.column_weights = column_weights;
    auto q = quantize(layer.weight, scheme.weight, options, context);
    if (!q) return propagate(q);
    return QLinear{std::move(*q), {layer.bias.begin(), layer.bias.end()}, {scheme.activation, {}}};
  }
};

}  // namespace kvant
