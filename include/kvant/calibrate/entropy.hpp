// SPDX-License-Identifier: Apache-2.0
// Clips where the quantized distribution diverges least (Kullback-Leibler) from the observed one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kvant/calibrate/divergence.hpp"
#include "kvant/calibrate/extremes.hpp"
#include "kvant/calibrate/histogram.hpp"
#include "kvant/calibrate/observer.hpp"
#include "kvant/core/contract.hpp"
#include "kvant/core/fp_environment.hpp"

namespace kvant {

enum class EntropyProfile : std::uint8_t { nvidia, ort };

[[nodiscard]] constexpr std::array<std::string_view, 2> option_names(EntropyProfile) noexcept {
  return {"nvidia", "ort"};
}

struct EntropyConfig {
  EntropyProfile profile = EntropyProfile::nvidia;
  std::uint32_t bins = 0;         ///< of the first batch, even; 0: 2048 (nvidia) or 128 (ort)
  std::uint32_t levels = 0;       ///< 0: the format's values that are not negative (nvidia) or 128 (ort)
  std::uint32_t start_bin = 128;  ///< nvidia: the narrowest candidate, in bins
  std::uint32_t stride = 1;       ///< nvidia: bins from one candidate to the next

  [[nodiscard]] std::uint32_t first_bins() const noexcept {
    if (bins != 0) return bins;
    return profile == EntropyProfile::nvidia ? 2048 : 128;
  }
  [[nodiscard]] Status check() const {
    if (stride == 0 || start_bin == 0) return detail::bad_option("entropy", "stride and start_bin", "at least 1");
    if (levels > 65536) return detail::bad_option("entropy", "levels", "at most 65536");
    return detail::check_bins("entropy", first_bins());
  }
  friend bool operator==(const EntropyConfig&, const EntropyConfig&) = default;

  template <class Self, class Visitor>
  static void visit(Self& config, Visitor&& visitor) {
    visitor("profile", config.profile, "whose rules: nvidia (Model-Optimizer) or ort (onnxruntime)");
    visitor("bins", config.bins, "bins of the first batch's histogram, even; 0: 2048 (nvidia) or 128 (ort)");
    visitor("levels", config.levels, "levels to collapse to; 0: the format's (nvidia) or 128 (ort)");
    visitor("start_bin", config.start_bin, "nvidia: the narrowest candidate, in bins");
    visitor("stride", config.stride, "nvidia: bins from one candidate to the next");
  }
};

namespace detail {

/// How many values of a format are not negative: 128 for int8, 8 for int4 and fp4_e2m1, 256 for uint8. Contract: at
/// most 8 bits.
[[nodiscard]] inline std::size_t levels_from_zero(const FormatInfo& format) noexcept {
  std::size_t levels = 0;
  for (std::uint32_t code = 0; code < std::uint32_t{1} << format.bits; ++code) {
    const float value = format.decode(code);
    levels += is_finite(value) && !is_negative(value) ? 1u : 0u;
  }
  return levels;
}

}  // namespace detail

/// The threshold of least Kullback-Leibler divergence between a histogram and its quantized form; the definitions are
/// in divergence.hpp.
///
/// - `nvidia` (Model-Optimizer): 2048 bins of |x| over [0, largest], candidates from 128 bins on, collapsed to as many
///   levels as the format has values that are not negative (128 for int8); [-edge, edge] of the last of the least.
/// - `ort` (onnxruntime): bins of x over [-largest, largest], collapsed to 128 levels whatever the format. Its
///   default of 128 bins leaves one candidate as long as no batch reaches beyond the first: then it is min_max. Give it
///   more bins.
///
/// Both ends are then moved into the range that was seen; formats beyond 8 bits have no scale and clip nothing. Depends
/// on the first batch, whose range makes the bins; merges: see Histogram. At most 64 KiB at 2048 bins.
class Entropy {
 public:
  using Config = EntropyConfig;
  static constexpr std::string_view kName = "entropy";
  static constexpr std::string_view kSummary = "clips where the quantized distribution diverges least";

  /// Contract: `config.check()` passes.
  explicit Entropy(const Config& config = {}) : config_(config), histogram_(config.first_bins()) {
    expects(config_.check().has_value(), "entropy's options are in their ranges");
  }

  [[nodiscard]] const Config& config() const noexcept { return config_; }

  void observe(std::span<const float> values) {
    const DefaultFpEnvironment standard;
    ObservedExtremes batch;
    batch.observe(values);
    extremes_.merge(batch);
    if (config_.profile == EntropyProfile::ort)
      detail::count_symmetric(histogram_, values, batch);
    else
      detail::count_magnitudes(histogram_, values, batch, 0.0f);
  }

  [[nodiscard]] Status merge(const Entropy& other) {
    if (!(config_ == other.config_)) return detail::different_configs(kName);
    const DefaultFpEnvironment standard;
    extremes_.merge(other.extremes_);
    histogram_.merge(other.histogram_);
    return {};
  }

  [[nodiscard]] Range range(const FormatInfo& format, Symmetry) const {
    const DefaultFpEnvironment standard;
    if (!histogram_.started() || format.bits > 8) return extremes_.range();
    if (config_.profile == EntropyProfile::ort) {
      const std::size_t levels = config_.levels != 0 ? config_.levels : 128;
      const auto bins = detail::SymmetricDivergence(histogram_.counts(), levels).best();
      return extremes_.clip(histogram_.edge(bins.begin), histogram_.edge(bins.end));
    }
    const std::size_t levels = config_.levels != 0 ? config_.levels : detail::levels_from_zero(format);
    const detail::MagnitudeDivergence divergence(histogram_.counts(), levels);
    const double limit = histogram_.edge(divergence.best(config_.start_bin, config_.stride));
    return extremes_.clip(-limit, limit);
  }

  [[nodiscard]] std::uint64_t count() const noexcept { return extremes_.count(); }
  [[nodiscard]] std::uint64_t nonfinite() const noexcept { return extremes_.nonfinite(); }
  [[nodiscard]] std::size_t bytes() const noexcept { return sizeof(*this) + histogram_.bytes(); }

 private:
  Config config_;
  ObservedExtremes extremes_;
  Histogram histogram_;
};
static_assert(Observer<Entropy>);

}  // namespace kvant
