// SPDX-License-Identifier: Apache-2.0
// How far a quantized matrix is from the original, in the measures that people compare.
#pragma once

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>

#include "kvant/core/contract.hpp"
#include "kvant/numeric/rounding.hpp"

namespace kvant {

/// Error of a reconstruction y of x over the n elements that are finite in both; sums in double.
struct Distortion {
  double mse = 0;             ///< sum (x-y)^2 / n
  double sqnr_db = 0;         ///< 10 log10(sum x^2 / sum (x-y)^2); +Inf where there is no error, -Inf where x is 0
  double relative_error = 0;  ///< ||x-y|| / ||x||, 2-norms; 0 where there is no error, +Inf where x is 0
  double max_abs_error = 0;   ///< max |x-y|
  double cosine = 1;          ///< x.y / (||x|| ||y||); 1 where both are zero, 0 where one is
};

/// Collects a Distortion piece by piece, so that no one has to hold both matrices.
class DistortionMeter {
 public:
  void add(std::span<const float> original, std::span<const float> reconstructed) {
    expects(original.size() == reconstructed.size(), "as many reconstructed elements as original ones");
    for (std::size_t i = 0; i < original.size(); ++i) {
      if (!is_finite(original[i]) || !is_finite(reconstructed[i])) continue;
      ++count_;
      const double x = static_cast<double>(original[i]);
      const double y = static_cast<double>(reconstructed[i]);
      const double e = x - y;
      xx_ += x * x;
      yy_ += y * y;
      xy_ += x * y;
      ee_ += e * e;
      if (std::fabs(e) > max_) max_ = std::fabs(e);
    }
  }

  void add(const DistortionMeter& other) noexcept {
    xx_ += other.xx_;
    yy_ += other.yy_;
    xy_ += other.xy_;
    ee_ += other.ee_;
    if (other.max_ > max_) max_ = other.max_;
    count_ += other.count_;
  }

  [[nodiscard]] Distortion result() const noexcept {
    Distortion d;
    if (count_ == 0) return {0, std::numeric_limits<double>::infinity(), 0, 0, 1};
    d.mse = ee_ / static_cast<double>(count_);
    d.sqnr_db = equals(ee_, 0.0) ? std::numeric_limits<double>::infinity() : 10 * std::log10(xx_ / ee_);
    d.relative_error = equals(ee_, 0.0) ? 0 : std::sqrt(ee_ / xx_);
    d.max_abs_error = max_;
    const double norms = std::sqrt(xx_) * std::sqrt(yy_);
    d.cosine = norms > 0 ? xy_ / norms : (equals(xx_, yy_) ? 1 : 0);
    return d;
  }

 private:
  double xx_ = 0, yy_ = 0, xy_ = 0, ee_ = 0, max_ = 0;
  std::size_t count_ = 0;
};

}  // namespace kvant
