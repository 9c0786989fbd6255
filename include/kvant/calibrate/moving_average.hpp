// SPDX-License-Identifier: Apache-2.0
// Averages of the extremes of batches, so that one unusual batch does not decide.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kvant/calibrate/extremes.hpp"
#include "kvant/calibrate/observer.hpp"
#include "kvant/core/contract.hpp"
#include "kvant/core/fp_environment.hpp"

namespace kvant {

struct MovingAverageConfig {
  double constant = 0.01;  ///< weight of the newest batch

  [[nodiscard]] Status check() const {
    if (!(constant > 0.0 && constant <= 1.0))
      return detail::bad_option("moving_average", "constant", "above 0 and at most 1");
    return {};
  }
  friend bool operator==(const MovingAverageConfig&, const MovingAverageConfig&) = default;

  template <class Self, class Visitor>
  static void visit(Self& config, Visitor&& visitor) {
    visitor("constant", config.constant, "weight of the newest batch, above 0 and at most 1");
  }
};

/// Moving averages of each batch's least and largest value: average = constant * batch + (1 - constant) * average, the
/// first batch as it is; a batch is one call of observe with at least one finite value. As torch's
/// MovingAverageMinMaxObserver and llm-compressor's minmax, which average in float; here in double.
///
/// Depends on the order of the batches. A merge averages both, weighted by their numbers of batches: commutative, and
/// associative but for the rounding of doubles. 56 bytes.
class MovingAverage {
 public:
  using Config = MovingAverageConfig;
  static constexpr std::string_view kName = "moving_average";
  static constexpr std::string_view kSummary = "moving averages of each batch's least and largest value";

  /// Contract: `config.check()` passes.
  explicit MovingAverage(const Config& config = {}) : config_(config) {
    expects(config_.check().has_value(), "the averaging constant is above 0 and at most 1");
  }

  [[nodiscard]] const Config& config() const noexcept { return config_; }

  void observe(std::span<const float> values) noexcept {
    const DefaultFpEnvironment standard;
    ObservedExtremes batch;
    batch.observe(values);
    extremes_.merge(batch);
    if (batch.count() == 0) return;
    const auto next = [&](double average, float newest) {
      const double value = static_cast<double>(newest);
      return batches_ == 0 ? value : std::fma(config_.constant, value, (1.0 - config_.constant) * average);
    };
    low_ = next(low_, batch.range().low);
    high_ = next(high_, batch.range().high);
    ++batches_;
  }

  [[nodiscard]] Status merge(const MovingAverage& other) {
    if (!(config_ == other.config_)) return detail::different_configs(kName);
    const DefaultFpEnvironment standard;
    extremes_.merge(other.extremes_);
    low_ = weighted(low_, batches_, other.low_, other.batches_);
    high_ = weighted(high_, batches_, other.high_, other.batches_);
    batches_ += other.batches_;
    return {};
  }

  [[nodiscard]] Range range(const FormatInfo&, Symmetry) const noexcept {
    const DefaultFpEnvironment standard;
    return extremes_.clip(low_, high_);
  }
  [[nodiscard]] std::uint64_t count() const noexcept { return extremes_.count(); }
  [[nodiscard]] std::uint64_t nonfinite() const noexcept { return extremes_.nonfinite(); }
  [[nodiscard]] std::size_t bytes() const noexcept { return sizeof(*this); }

 private:
  /// The mean of `n` times a and `m` times b, the same for both orders of the two.
  [[nodiscard]] static double weighted(double a, std::uint64_t n, double b, std::uint64_t m) noexcept {
    if (n == 0 || m == 0) return n == 0 ? b : a;
    if (n < m || (n == m && a < b)) return weighted(b, m, a, n);
    const double share = static_cast<double>(m) / (static_cast<double>(n) + static_cast<double>(m));
    return std::fma(share, b, (1.0 - share) * a);
  }

  Config config_;
  ObservedExtremes extremes_;
  double low_ = 0.0;
  double high_ = 0.0;
  std::uint64_t batches_ = 0;
};
static_assert(Observer<MovingAverage>);

}  // namespace kvant
