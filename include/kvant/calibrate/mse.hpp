// SPDX-License-Identifier: Apache-2.0
// Clips where the squared error is least: what clipping costs against what a finer step gains.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "kvant/calibrate/extremes.hpp"
#include "kvant/calibrate/histogram.hpp"
#include "kvant/calibrate/observer.hpp"
#include "kvant/calibrate/uniform_search.hpp"
#include "kvant/core/contract.hpp"
#include "kvant/core/fp_environment.hpp"
#include "kvant/quant/choose.hpp"
#include "kvant/quant/grid.hpp"

namespace kvant {

enum class MseProfile : std::uint8_t { exhaustive, nvidia };

[[nodiscard]] constexpr std::array<std::string_view, 2> option_names(MseProfile) noexcept {
  return {"exhaustive", "nvidia"};
}

struct MseConfig {
  MseProfile profile = MseProfile::exhaustive;
  std::uint32_t bins = 2048;      ///< of the first batch, even
  std::uint32_t start_bin = 128;  ///< nvidia: the narrowest candidate
  std::uint32_t stride = 1;       ///< nvidia: bins from one candidate to the next

  [[nodiscard]] Status check() const {
    if (stride == 0) return detail::bad_option("mse", "stride", "at least 1");
    return detail::check_bins("mse", bins, 8192);
  }
  friend bool operator==(const MseConfig&, const MseConfig&) = default;

  template <class Self, class Visitor>
  static void visit(Self& config, Visitor&& visitor) {
    visitor("profile", config.profile, "which search: exhaustive (every edge) or nvidia (Model-Optimizer)");
    visitor("bins", config.bins, "bins of the first batch's histogram, even");
    visitor("start_bin", config.start_bin, "nvidia: the narrowest candidate, in bins");
    visitor("stride", config.stride, "nvidia: bins from one candidate to the next");
  }
};

namespace detail {

/// The nearest float that is finite: the last bin may end beyond the largest one.
[[nodiscard]] inline float to_float(double x) noexcept {
  constexpr double kMost = static_cast<double>(std::numeric_limits<float>::max());
  return static_cast<float>(std::clamp(x, -kMost, kMost));
}

/// The filled bins of a histogram, as one value each, the outermost first: clipping shows there.
class BinCentres {
 public:
  explicit BinCentres(const Histogram& histogram) {
    for (std::size_t low = 0, high = histogram.size(); low < high;) {
      add(histogram, --high);
      if (low < high) add(histogram, low++);
    }
  }

  /// sum n (centre - quantized centre)^2; any value not below `limit` once the sum has reached it.
  [[nodiscard]] double error(const Grid& grid, GroupParameters p, double limit) const noexcept {
    constexpr std::size_t kPiece = 64;
    std::array<std::uint8_t, kPiece> codes{};
    std::array<float, kPiece> values{};
    double sum = 0.0;
    for (std::size_t i = 0; i < centres_.size() && sum < limit; i += kPiece) {
      const std::size_t n = std::min(kPiece, centres_.size() - i);
      grid.encode(std::span(centres_).subspan(i, n), p, std::span(codes).first(n));
      grid.decode(std::span(codes).first(n), p, std::span(values).first(n));
      for (std::size_t j = 0; j < n; ++j) {
        const double e = static_cast<double>(centres_[i + j]) - static_cast<double>(values[j]);
        sum = std::fma(counts_[i + j] * e, e, sum);
      }
    }
    return sum;
  }

 private:
  void add(const Histogram& histogram, std::size_t i) {
    if (histogram.counts()[i] == 0) return;
    centres_.push_back(to_float(histogram.centre(i)));
    counts_.push_back(static_cast<double>(histogram.counts()[i]));
  }

  std::vector<float> centres_;
  std::vector<double> counts_;
};

/// The scheme of a format and symmetry with scales in fp32; symmetric where the format has no such symmetry. Nothing
/// for formats without scales.
[[nodiscard]] inline std::optional<Scheme> scheme_for_range(const FormatInfo& format, Symmetry symmetry) {
  if (format.bits > 8) return std::nullopt;
  Scheme scheme;
  scheme.format = format_from_info(format);
  scheme.granularity = PerTensor{};
  scheme.symmetry = symmetry;
  scheme.scales.inner = format_id<fp32>;
  if (!check_scheme(scheme, format.name)) scheme.symmetry = Symmetry::symmetric;
  return scheme;
}

}  // namespace detail

/// The range of least squared error.
///
/// - `exhaustive`, asymmetric integers: torch's HistogramObserver objective (values uniform within a bin, 2^bits equal
///   cells), least over every pair of edges around zero, where torch walks greedily (uniform_search.hpp).
/// - `exhaustive`, everything else: [-t, t] for every |edge| t of the histogram of x, and the largest |x|; error: every
///   bin's centre against the format's own codes under the scale of `parameters_for_range`, sum n (x - q(x))^2. Of
///   equal ones the widest.
/// - `nvidia` (Model-Optimizer, calib/histogram.py): t = centre(i) of the histogram of |x|, i = start_bin, start_bin +
///   stride …; scale t / (the format's largest value); the same error; the first of the least. Codes in float32,
///   sums in double; Model-Optimizer quantizes t up to 2^-24 to zeros, here it is like any other.
///
/// Both ends are moved into the range that was seen; formats beyond 8 bits have no scale and clip nothing. Depends on
/// the first batch, whose range (zero included) makes the bins; merges: see Histogram. At most 32 KiB at 2048 bins
/// (nvidia: 64); an asymmetric search takes 2^bits times as much while it runs.
class Mse {
 public:
  using Config = MseConfig;
  static constexpr std::string_view kName = "mse";
  static constexpr std::string_view kSummary = "clips where the squared error is least";

  /// Contract: `config.check()` passes.
  explicit Mse(const Config& config = {})
      : config_(config), histogram_(config.bins, config.profile == MseProfile::exhaustive ? 2 : 4) {
    expects(config_.check().has_value(), "mse's options are in their ranges");
  }

  [[nodiscard]] const Config& config() const noexcept { return config_; }

  void observe(std::span<const float> values) {
    const DefaultFpEnvironment standard;
    ObservedExtremes batch;
    batch.observe(values);
    extremes_.merge(batch);
    if (config_.profile == MseProfile::nvidia)
      detail::count_magnitudes(histogram_, values, batch, 0.0f);
    else
      detail::count_from_zero(histogram_, values, batch);
  }

  [[nodiscard]] Status merge(const Mse& other) {
    if (!(config_ == other.config_)) return detail::different_configs(kName);
    const DefaultFpEnvironment standard;
    extremes_.merge(other.extremes_);
    histogram_.merge(other.histogram_);
    return {};
  }

  [[nodiscard]] Range range(const FormatInfo& format, Symmetry symmetry) const {
    const DefaultFpEnvironment standard;
    std::optional<Scheme> scheme = detail::scheme_for_range(format, symmetry);
    if (!scheme || !histogram_.started()) return extremes_.range();
    if (config_.profile == MseProfile::nvidia) {
      scheme->symmetry = Symmetry::symmetric;
      return strided(Grid(*scheme));
    }
    return scheme->symmetry == Symmetry::asymmetric ? pair(format) : symmetric(Grid(*scheme));
  }

  [[nodiscard]] std::uint64_t count() const noexcept { return extremes_.count(); }
  [[nodiscard]] std::uint64_t nonfinite() const noexcept { return extremes_.nonfinite(); }
  [[nodiscard]] std::size_t bytes() const noexcept { return sizeof(*this) + histogram_.bytes(); }

 private:
  [[nodiscard]] Range strided(const Grid& grid) const {
    const detail::BinCentres centres(histogram_);
    double least = std::numeric_limits<double>::infinity();
    double best = histogram_.high();
    const std::size_t last = histogram_.size() - 1;
    for (std::size_t i = std::min<std::size_t>(config_.start_bin, last); i <= last; i += config_.stride) {
      const float limit = detail::to_float(histogram_.centre(i));
      const GroupParameters p = grid.round_scale(divide(limit, grid.format().max));
      const double error = centres.error(grid, p, least);
      if (!(error < least)) continue;
      least = error;
      best = static_cast<double>(limit);
    }
    return extremes_.clip(-best, best);
  }

  [[nodiscard]] Range symmetric(const Grid& grid) const {
    const detail::BinCentres centres(histogram_);
    std::vector<float> limits{extremes_.peak()};
    for (std::size_t i = 0; i <= histogram_.size(); ++i)
      limits.push_back(static_cast<float>(std::min(std::fabs(histogram_.edge(i)), static_cast<double>(limits[0]))));
    std::sort(limits.begin(), limits.end(), [](float a, float b) { return order_key(a) > order_key(b); });
    double least = std::numeric_limits<double>::infinity();
    Range best = extremes_.range();
    for (std::size_t i = 0; i < limits.size(); ++i) {
      if (i > 0 && equals(limits[i], limits[i - 1])) continue;
      const Range candidate = extremes_.clip(-static_cast<double>(limits[i]), static_cast<double>(limits[i]));
      const double error = centres.error(grid, parameters_for_range(grid, candidate), least);
      if (!(error < least)) continue;
      least = error;
      best = candidate;
    }
    return best;
  }

  [[nodiscard]] Range pair(const FormatInfo& format) const {
    const detail::UniformSearch search(histogram_.counts(), static_cast<std::size_t>(format.high - format.low + 1));
    std::size_t last_begin = 0;
    std::size_t first_end = histogram_.size();
    while (last_begin + 1 < histogram_.size() && histogram_.edge(last_begin + 1) <= 0.0) ++last_begin;
    while (first_end > 1 && histogram_.edge(first_end - 1) >= 0.0) --first_end;
    const auto best = search.best(last_begin, first_end);
    return extremes_.clip(histogram_.edge(best.begin), histogram_.edge(best.end));
  }

  Config config_;
  ObservedExtremes extremes_;
  Histogram histogram_;
};
static_assert(Observer<Mse>);

}  // namespace kvant
