// SPDX-License-Identifier: Apache-2.0
// A histogram that grows with what it sees: bins of one width, more of them where a new batch reaches further, and
// wider ones where there would be too many.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "kvant/calibrate/extremes.hpp"
#include "kvant/core/contract.hpp"
#include "kvant/numeric/rounding.hpp"

namespace kvant {

/// Counts of values in bins of equal width. Bin i holds [edge(i), edge(i + 1)), the last one its upper end too (as
/// numpy.histogram).
///
/// `start(low, high)` divides the first batch's range into the given number of bins, edges origin + i * width in
/// double. `cover` extends that lattice at either end, width unchanged (as NVIDIA Model-Optimizer's
/// calib/histogram.py), to at most `growth` times the first number of bins; beyond that each two neighbours become one.
/// No count is ever lost or split, so coarser bins hold exactly the sums of finer ones. Memory: 8 bytes a bin.
///
/// Contract: edges and values are finite, and the thread rounds to nearest (DefaultFpEnvironment).
class Histogram {
 public:
  /// Contract: 2 <= bins, 1 <= growth, and their product is below 2^24.
  explicit Histogram(std::size_t bins, std::size_t growth = 4) : bins_(bins), most_(bins * growth) {
    expects(bins >= 2 && growth >= 1 && most_ < std::size_t{1} << 24, "a histogram has between 2 and 2^24 bins");
  }

  [[nodiscard]] bool started() const noexcept { return !counts_.empty(); }
  [[nodiscard]] std::size_t size() const noexcept { return counts_.size(); }
  [[nodiscard]] std::span<const std::uint64_t> counts() const noexcept { return counts_; }
  [[nodiscard]] double width() const noexcept { return width_; }
  [[nodiscard]] double low() const noexcept { return lattice(first_); }
  [[nodiscard]] double high() const noexcept { return high_; }
  /// The i-th edge, 0 <= i <= size(); the last one is where the last bin ends.
  [[nodiscard]] double edge(std::size_t i) const noexcept {
    return i == size() ? high_ : lattice(first_ + static_cast<std::int64_t>(i));
  }
  [[nodiscard]] double centre(std::size_t i) const noexcept { return (edge(i) + edge(i + 1)) / 2; }
  [[nodiscard]] std::size_t bytes() const noexcept { return counts_.capacity() * sizeof(std::uint64_t); }

  /// Divides [low, high] into the first bins. Contract: low < high, not started.
  void start(double low, double high) {
    expects(low < high && !started(), "a histogram starts once, with a range");
    origin_ = low;
    start(high, (high - low) / static_cast<double>(bins_), 0);
  }

  /// Divides [-limit, limit] into the first bins, with zero as origin, so that it stays an edge. Contract: limit > 0,
  /// an even number of bins, not started.
  void start_symmetric(double limit) {
    expects(limit > 0.0 && bins_ % 2 == 0 && !started(), "a histogram starts once, with a range");
    origin_ = 0.0;
    start(limit, 2 * limit / static_cast<double>(bins_), -static_cast<std::int64_t>(bins_ / 2));
  }

  /// Makes room for [low, high]. Contract: started.
  void cover(double low, double high) {
    while (!extend(bins_below(low), bins_above(high))) coarsen();
  }

  /// Makes room for [-limit, limit], as many bins at each end: 1 + floor((limit - high()) / width) of them (as
  /// onnxruntime's calibrate.py). Contract: started symmetric.
  void cover_symmetric(double limit) {
    while (limit > high_) {
      const double more = std::floor((limit - high_) / width_) + 1.0;
      if (extend(more, more)) return;
      coarsen();
    }
  }

  /// Counts `n` values x. Beyond either end they count in the last bin there. Contract: started, or x is zero: zeros
  /// that come before any other value wait for the first bins.
  void add(double x, std::uint64_t n = 1) {
    if (started())
      counts_[index(x)] += n;
    else
      zeros_ += n;
  }

  /// Adds the other's counts. Where both have the same bins (a common origin and width) the sum is that of one
  /// histogram that had seen both; only a value at the upper end counts below it as long as it is the end. Otherwise
  /// the wider bins stay, and each of the narrower ones goes as a whole into the bin that holds its centre. The same
  /// for both orders of the two, not for every grouping of three.
  void merge(const Histogram& other) {
    if (!other.started()) {
      add(0.0, other.zeros_);
      return;
    }
    if (!started() || wider(other, *this)) {
      Histogram sum = other;
      if (started()) sum.take(*this);
      sum.add(0.0, zeros_);
      *this = std::move(sum);
    } else {
      take(other);
    }
  }

 private:
  void start(double high, double width, std::int64_t first) {
    counts_.assign(bins_, 0);
    width_ = width;
    first_ = first;
    high_ = high;
    add(0.0, zeros_);
    zeros_ = 0;
  }

  [[nodiscard]] double lattice(std::int64_t i) const noexcept {
    return std::fma(static_cast<double>(i), width_, origin_);
  }

  /// Whether a's bins are the ones to keep.
  [[nodiscard]] static bool wider(const Histogram& a, const Histogram& b) noexcept {
    return !equals(a.width_, b.width_) ? a.width_ > b.width_ : a.origin_ < b.origin_;
  }

  void take(const Histogram& other) {
    cover(other.low(), other.high());
    const bool same = equals(width_, other.width_) && equals(origin_, other.origin_);
    for (std::size_t i = 0; i < other.size(); ++i) {
      if (other.counts_[i] == 0) continue;
      const std::int64_t at = other.first_ + static_cast<std::int64_t>(i) - first_;
      counts_[same ? static_cast<std::size_t>(at) : index(other.centre(i))] += other.counts_[i];
    }
  }

  /// How many more bins reach to x, or more than there may be.
  [[nodiscard]] double bins_below(double x) const noexcept {
    if (!(x < low())) return 0.0;
    double n = std::floor((low() - x) / width_);
    while (n < static_cast<double>(most_) && lattice(first_ - static_cast<std::int64_t>(n)) > x) ++n;
    return n;
  }
  [[nodiscard]] double bins_above(double x) const noexcept {
    if (!(x > high_)) return 0.0;
    double n = std::floor((x - high_) / width_);
    const std::int64_t end = first_ + static_cast<std::int64_t>(size());
    while (n < static_cast<double>(most_) && lattice(end + static_cast<std::int64_t>(n)) < x) ++n;
    return n;
  }

  /// Adds bins at both ends, unless there would be too many.
  bool extend(double below, double above) {
    if (equals(below, 0.0) && equals(above, 0.0)) return true;
    if (below + above + static_cast<double>(size()) > static_cast<double>(most_)) return false;
    const auto n = static_cast<std::size_t>(below);
    std::vector<std::uint64_t> wider(n + size() + static_cast<std::size_t>(above), 0);
    for (std::size_t i = 0; i < size(); ++i) wider[n + i] = counts_[i];
    counts_ = std::move(wider);
    first_ -= static_cast<std::int64_t>(n);
    if (!equals(above, 0.0)) high_ = lattice(first_ + static_cast<std::int64_t>(size()));
    return true;
  }

  /// Makes one bin of each two neighbours; the lattice of the wider ones has the same origin.
  void coarsen() {
    const std::int64_t first = first_ >> 1;
    const std::int64_t last = (first_ + static_cast<std::int64_t>(size()) - 1) >> 1;
    std::vector<std::uint64_t> sums(static_cast<std::size_t>(last - first + 1), 0);
    for (std::size_t i = 0; i < size(); ++i)
      sums[static_cast<std::size_t>(((first_ + static_cast<std::int64_t>(i)) >> 1) - first)] += counts_[i];
    counts_ = std::move(sums);
    first_ = first;
    width_ *= 2;
    high_ = lattice(last + 1);
  }

  /// The bin of x: the quotient, corrected by the edges themselves.
  [[nodiscard]] std::size_t index(double x) const noexcept {
    const auto last = static_cast<std::int64_t>(size()) - 1;
    const double quotient = (x - low()) / width_;
    if (!(quotient > 0.0)) return 0;
    if (quotient >= static_cast<double>(last))
      return static_cast<std::size_t>(x < lattice(first_ + last) ? last - 1 : last);
    auto i = static_cast<std::int64_t>(quotient);
    if (x < lattice(first_ + i))
      --i;
    else if (x >= lattice(first_ + i + 1))
      ++i;
    return static_cast<std::size_t>(i);
  }

  std::size_t bins_;
  std::size_t most_;
  double origin_ = 0.0;
  double width_ = 0.0;
  double high_ = 0.0;       ///< where the last bin ends
  std::int64_t first_ = 0;  ///< the first bin begins at origin + first * width
  std::vector<std::uint64_t> counts_;
  std::uint64_t zeros_ = 0;  ///< seen before the first bins were made
};

namespace detail {

/// Counts |x| of the batch's finite values, in bins that begin at `least`.
inline void count_magnitudes(Histogram& histogram, std::span<const float> values, const ObservedExtremes& batch,
                             float least) {
  const double high = static_cast<double>(batch.peak());
  if (histogram.started())
    histogram.cover(histogram.low(), high);
  else if (high > 0.0)
    histogram.start(static_cast<double>(least) < high ? static_cast<double>(least) : 0.0, high);
  for (const float x : values)
    if (is_finite(x)) histogram.add(static_cast<double>(magnitude(x)));
}

/// Counts the batch's finite values, in bins over [-limit, limit].
inline void count_symmetric(Histogram& histogram, std::span<const float> values, const ObservedExtremes& batch) {
  const double limit = static_cast<double>(batch.peak());
  if (histogram.started())
    histogram.cover_symmetric(limit);
  else if (limit > 0.0)
    histogram.start_symmetric(limit);
  for (const float x : values)
    if (is_finite(x)) histogram.add(static_cast<double>(x));
}

/// Counts the batch's finite values, in bins over their range with zero included.
inline void count_from_zero(Histogram& histogram, std::span<const float> values, const ObservedExtremes& batch) {
  const double low = std::fmin(static_cast<double>(batch.range().low), 0.0);
  const double high = std::fmax(static_cast<double>(batch.range().high), 0.0);
  if (histogram.started())
    histogram.cover(low, high);
  else if (low < high)
    histogram.start(low, high);
  for (const float x : values)
    if (is_finite(x)) histogram.add(static_cast<double>(x));
}

/// The least |x| of the finite values; 0 where there is none.
[[nodiscard]] inline float least_magnitude(std::span<const float> values) noexcept {
  float least = -1.0f;
  for (const float x : values)
    if (is_finite(x) && (least < 0.0f || order_key(magnitude(x)) < order_key(least))) least = magnitude(x);
  return least < 0.0f ? 0.0f : least;
}

}  // namespace detail

}  // namespace kvant
