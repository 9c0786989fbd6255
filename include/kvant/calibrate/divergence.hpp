// SPDX-License-Identifier: Apache-2.0
// Searches of a histogram for the clipped range whose quantized distribution diverges least from the observed one, in
// the two forms that are in use.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "kvant/core/log.hpp"
#include "kvant/numeric/rounding.hpp"

namespace kvant::detail {

/// Model-Optimizer's search (calib/histogram.py, _compute_amax_entropy) over a histogram of |x|.
///
/// With bin 0 set to bin 1, the candidates are the first i bins, i = start, start + stride … all. P is their counts,
/// with everything beyond added to the last. Q spreads each level's counts evenly over its bins that are not empty;
/// level k of L is the bins b with floor(b * L / i) = k. Divergence: sum P log2(P / Q), both normalized; +Inf where Q
/// is 0 and P is not, and where the candidate holds nothing (0 / 0 there). The last of the least wins.
class MagnitudeDivergence {
 public:
  MagnitudeDivergence(std::span<const std::uint64_t> counts, std::size_t levels) : levels_(levels) {
    for (const std::uint64_t n : counts) counts_.push_back(static_cast<double>(n));
    if (counts_.size() > 1) counts_[0] = counts_[1];
    for (const double n : counts_) {
      logs_.push_back(portable_log2(n));
      total_ += n;
    }
  }

  /// How many bins to keep.
  [[nodiscard]] std::size_t best(std::size_t start, std::size_t stride) const noexcept {
    const std::size_t all = counts_.size();
    double least = std::numeric_limits<double>::infinity();
    std::size_t best = all;
    double inside = 0.0;
    std::size_t summed = 0;
    for (std::size_t i = start < all ? start : all; i <= all; i += stride) {
      while (summed < i) inside += counts_[summed++];
      const double divergence = of(i, inside);
      if (divergence > least) continue;
      least = divergence;
      best = i;
    }
    return best;
  }

 private:
  /// Sums are of whole numbers, exact; a level of one bin, or of equal ones, adds exactly 0.
  [[nodiscard]] double of(std::size_t i, double inside) const noexcept {
    const double tail = total_ - inside;
    if (equals(inside, 0.0) || (tail > 0.0 && equals(counts_[i - 1], 0.0)))
      return std::numeric_limits<double>::infinity();
    double sum = 0.0;
    std::size_t end = 0;
    for (std::size_t level = 0; level < levels_ && end < i; ++level) {
      const std::size_t begin = end;
      end = ((level + 1) * i + levels_ - 1) / levels_;
      double mass = 0.0;
      double filled = 0.0;
      for (std::size_t b = begin; b < end; ++b) {
        mass += counts_[b];
        filled += counts_[b] > 0.0 ? 1.0 : 0.0;
      }
      if (equals(filled, 0.0)) continue;
      const double log_level = portable_log2(mass / filled);
      for (std::size_t b = begin; b < end; ++b) {
        const bool with_tail = b + 1 == i && tail > 0.0;
        const double p = with_tail ? counts_[b] + tail : counts_[b];
        if (p > 0.0) sum = std::fma(p, (with_tail ? portable_log2(p) : logs_[b]) - log_level, sum);
      }
    }
    return sum / total_ + portable_log2(inside / total_);
  }

  std::size_t levels_;
  std::vector<double> counts_;
  std::vector<double> logs_;
  double total_ = 0.0;
};

/// onnxruntime's search (calibrate.py, get_entropy_threshold) over a histogram of x with an even number n of bins.
///
/// The candidates are the bins n/2 - i … n/2 + i (as far as there are any), i = levels/2 … n/2. P is their counts, with
/// everything beyond added to the first and last. Q: runs of floor(size / levels) bins, each bin the mean over the
/// run's bins in which P is not empty, cut to a whole number; bins after the last run stay empty. Both are smoothed:
/// empty bins get 0.0001, taken evenly from the others. The first of the least wins. onnxruntime sums in float, here in
/// double.
class SymmetricDivergence {
 public:
  struct Bins {
    std::size_t begin;
    std::size_t end;
  };

  SymmetricDivergence(std::span<const std::uint64_t> counts, std::size_t levels)
      : counts_(counts), levels_(levels < counts.size() ? levels : counts.size()) {}

  /// The bins to keep.
  [[nodiscard]] Bins best() const {
    const std::size_t half = counts_.size() / 2;
    Bins best{0, counts_.size()};
    double least = std::numeric_limits<double>::infinity();
    for (std::size_t i = levels_ / 2; i <= half; ++i) {
      const Bins candidate{half - i, half + i + 1 < counts_.size() ? half + i + 1 : counts_.size()};
      const double divergence = of(candidate);
      if (!(divergence < least)) continue;
      least = divergence;
      best = candidate;
    }
    return best;
  }

 private:
  [[nodiscard]] double of(Bins bins) const {
    const std::span<const std::uint64_t> inside = counts_.subspan(bins.begin, bins.end - bins.begin);
    std::vector<std::uint64_t> p(inside.begin(), inside.end());
    for (std::size_t b = 0; b < bins.begin; ++b) p.front() += counts_[b];
    for (std::size_t b = bins.end; b < counts_.size(); ++b) p.back() += counts_[b];

    std::vector<std::uint64_t> q(p.size(), 0);
    const std::size_t run = p.size() / levels_;
    for (std::size_t level = 0; level < levels_; ++level) {
      const std::size_t end = (level + 1) * run;
      std::uint64_t mass = 0;
      std::uint64_t filled = 0;
      for (std::size_t b = level * run; b < (level + 1 == levels_ ? p.size() : end); ++b) mass += inside[b];
      for (std::size_t b = level * run; b < end; ++b) filled += p[b] != 0 ? 1u : 0u;
      for (std::size_t b = level * run; b < end && filled != 0; ++b) q[b] = mass / filled;
    }
    return divergence(p, q);
  }

  /// What a smoothed distribution has in a bin with a count and in one without; nothing sound where `some` is not
  /// positive.
  struct Smoothed {
    double some;  ///< to add to a count
    double none;
    double sum;
    explicit Smoothed(std::span<const std::uint64_t> counts) : some(0.0), none(0.0001), sum(0.0) {
      std::size_t empty = 0;
      for (const std::uint64_t n : counts) {
        empty += n == 0 ? 1u : 0u;
        sum += static_cast<double>(n);
      }
      some = -none * static_cast<double>(empty) / static_cast<double>(counts.size() - empty);
    }
    [[nodiscard]] double at(std::uint64_t n) const noexcept { return n == 0 ? none : static_cast<double>(n) + some; }
  };

  [[nodiscard]] static double divergence(std::span<const std::uint64_t> p, std::span<const std::uint64_t> q) noexcept {
    const Smoothed a(p);
    const Smoothed b(q);
    if (!(a.some > -1.0 && b.some > -1.0)) return std::numeric_limits<double>::infinity();
    double sum = 0.0;
    for (std::size_t i = 0; i < p.size(); ++i) {
      const double x = a.at(p[i]) / a.sum;  // smoothing keeps the sum
      const double y = b.at(q[i]) / b.sum;
      sum = std::fma(x, portable_log2(x / y), sum);
    }
    return sum;
  }

  std::span<const std::uint64_t> counts_;
  std::size_t levels_;
};

}  // namespace kvant::detail
