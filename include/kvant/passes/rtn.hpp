// SPDX-License-Identifier: Apache-2.0
// Round to nearest: every weight takes the nearest code under its group's scale.
#pragma once

#include <string_view>

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

/// Rounding to nearest, plain or with a scale search. Needs no data.
struct Rtn {
  using Config = RtnConfig;
  static constexpr std::string_view kName = "rtn";
  static constexpr std::string_view kSummary = "round to nearest, with a search for each group's scale";
  static constexpr bool kRowwise = true;

  Config config;

  [[nodiscard]] Result<QLinear> operator()(const LayerInput& layer, const Scheme& scheme,
                                           const Context& context) const {
    QuantizeOptions options;
    options.search = config.search;
    options.nonfinite = layer.nonfinite;
    options.power_rule = config.power_rule;
    options.shared_amax = layer.shared_amax;
    options.column_weights = layer.column_weights;
    auto q = quantize(layer.weight, scheme, options, context);
    if (!q) return propagate(q);
    return QLinear{std::move(*q), {}};
  }
};

}  // namespace kvant
