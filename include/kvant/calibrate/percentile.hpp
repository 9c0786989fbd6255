// SPDX-License-Identifier: Apache-2.0
// Clips a given share of the values: those of largest magnitude, or those at both ends.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kvant/calibrate/extremes.hpp"
#include "kvant/calibrate/histogram.hpp"
#include "kvant/calibrate/observer.hpp"
#include "kvant/core/contract.hpp"
#include "kvant/core/fp_environment.hpp"

namespace kvant {

enum class PercentileProfile : std::uint8_t { nvidia, ort };

[[nodiscard]] constexpr std::array<std::string_view, 2> option_names(PercentileProfile) noexcept {
  return {"nvidia", "ort"};
}

struct PercentileConfig {
  PercentileProfile profile = PercentileProfile::nvidia;
  double percentile = 0.0;    ///< of the values kept, above 0 and at most 100; 0: 99.99 (nvidia) or 99.999 (ort)
  std::uint32_t bins = 2048;  ///< of the first batch, even

  [[nodiscard]] double kept() const noexcept {
    if (!equals(percentile, 0.0)) return percentile;
    return profile == PercentileProfile::nvidia ? 99.99 : 99.999;
  }
  [[nodiscard]] Status check() const {
    if (!(percentile >= 0.0 && percentile <= 100.0))
      return detail::bad_option("percentile", "percentile", "above 0 and at most 100, or 0 for the profile's own");
    return detail::check_bins("percentile", bins);
  }
  friend bool operator==(const PercentileConfig&, const PercentileConfig&) = default;

  template <class Self, class Visitor>
  static void visit(Self& config, Visitor&& visitor) {
    visitor("profile", config.profile, "whose rules: nvidia (Model-Optimizer) or ort (onnxruntime)");
    visitor("percentile", config.percentile, "per cent of the values kept; 0: 99.99 (nvidia) or 99.999 (ort)");
    visitor("bins", config.bins, "bins of the first batch's histogram, even");
  }
};

/// A percentile of |x|, or of both tails, read from a histogram: with c(i) the share of the values in bins 0 … i, the
/// threshold is edge(i) for the first i with c(i) >= p (a bin's lower edge, as numpy.searchsorted on its sum gives).
///
/// - `nvidia` (Model-Optimizer, calib/histogram.py): |x| over [0, largest], p = 99.99 %; [-edge(i), edge(i)].
/// - `ort` (onnxruntime, calibrate.py): symmetric: |x| over [least, largest] of the first batch, p = 99.999 %;
///   asymmetric: x over [-largest, largest], (1 - p) / 2 cut at each end.
///
/// Both ends are then moved into the range that was seen. 100 % is that range (the references' answer there depends on
/// the rounding of their sum). Shares are counted in integers and compared with one product in double, where the
/// references add up quotients. Below the least |x| of its first batch onnxruntime drops values; here they count.
/// Depends on the first batch, whose range makes the bins; merges: see Histogram. At most 64 KiB (ort: 128) at 2048
/// bins.
class Percentile {
 public:
  using Config = PercentileConfig;
  static constexpr std::string_view kName = "percentile";
  static constexpr std::string_view kSummary = "clips a given share of the values of largest magnitude";

  /// Contract: `config.check()` passes.
  explicit Percentile(const Config& config = {}) : config_(config), magnitudes_(config.bins), values_(config.bins) {
    expects(config_.check().has_value(), "a percentile's options are in their ranges");
  }

  [[nodiscard]] const Config& config() const noexcept { return config_; }

  void observe(std::span<const float> values) {
    const DefaultFpEnvironment standard;
    ObservedExtremes batch;
    batch.observe(values);
    extremes_.merge(batch);
    if (config_.profile == PercentileProfile::ort) {
      detail::count_magnitudes(magnitudes_, values, batch, detail::least_magnitude(values));
      detail::count_symmetric(values_, values, batch);
    } else {
      detail::count_magnitudes(magnitudes_, values, batch, 0.0f);
    }
  }

  [[nodiscard]] Status merge(const Percentile& other) {
    if (!(config_ == other.config_)) return detail::different_configs(kName);
    const DefaultFpEnvironment standard;
    extremes_.merge(other.extremes_);
    magnitudes_.merge(other.magnitudes_);
    values_.merge(other.values_);
    return {};
  }

  [[nodiscard]] Range range(const FormatInfo&, Symmetry symmetry) const noexcept {
    const DefaultFpEnvironment standard;
    const double share = config_.kept() / 100;
    if (share >= 1.0 || !magnitudes_.started()) return extremes_.range();  // zeros alone have no bins
    if (config_.profile == PercentileProfile::ort && symmetry == Symmetry::asymmetric) {
      const double cut = (100 - config_.kept()) / 200;
      return extremes_.clip(threshold(values_, cut), threshold(values_, 1 - cut));
    }
    const double limit = threshold(magnitudes_, share);
    return extremes_.clip(-limit, limit);
  }

  [[nodiscard]] std::uint64_t count() const noexcept { return extremes_.count(); }
  [[nodiscard]] std::uint64_t nonfinite() const noexcept { return extremes_.nonfinite(); }
  [[nodiscard]] std::size_t bytes() const noexcept { return sizeof(*this) + magnitudes_.bytes() + values_.bytes(); }

 private:
  /// The lower edge of the first bin up to which at least `share` of the values are counted.
  [[nodiscard]] static double threshold(const Histogram& histogram, double share) noexcept {
    std::uint64_t total = 0;
    for (const std::uint64_t n : histogram.counts()) total += n;
    const double wanted = share * static_cast<double>(total);
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < histogram.size(); ++i) {
      sum += histogram.counts()[i];
      if (static_cast<double>(sum) >= wanted) return histogram.edge(i);
    }
    return histogram.high();
  }

  Config config_;
  ObservedExtremes extremes_;
  Histogram magnitudes_;
  Histogram values_;
};
static_assert(Observer<Percentile>);

}  // namespace kvant
