// SPDX-License-Identifier: Apache-2.0
// What every observer counts: values, and the least and the largest of them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "kvant/core/fp_environment.hpp"
#include "kvant/numeric/rounding.hpp"
#include "kvant/quant/choose.hpp"

namespace kvant {

/// The least and the largest finite value of what was seen, and how many there were. -0 counts as +0. A part of every
/// other observer.
class ObservedExtremes {
 public:
  void observe(std::span<const float> values) noexcept {
    for (const float x : values) {
      if (!is_finite(x)) {
        ++nonfinite_;
        continue;
      }
      const float value = order_key(x) == 0 ? 0.0f : x;
      if (count_ == 0 || order_key(value) < order_key(range_.low)) range_.low = value;
      if (count_ == 0 || order_key(value) > order_key(range_.high)) range_.high = value;
      ++count_;
    }
  }

  void merge(const ObservedExtremes& other) noexcept {
    nonfinite_ += other.nonfinite_;
    if (other.count_ == 0) return;
    if (count_ == 0 || order_key(other.range_.low) < order_key(range_.low)) range_.low = other.range_.low;
    if (count_ == 0 || order_key(other.range_.high) > order_key(range_.high)) range_.high = other.range_.high;
    count_ += other.count_;
  }

  [[nodiscard]] Range range() const noexcept { return range_; }
  [[nodiscard]] std::uint64_t count() const noexcept { return count_; }
  [[nodiscard]] std::uint64_t nonfinite() const noexcept { return nonfinite_; }

  /// The largest magnitude.
  [[nodiscard]] float peak() const noexcept { return magnitude(detail::peak(range_)); }

  /// [low, high] with both ends moved into the range that was seen, and rounded here and now, since observers return it
  /// as it is.
  [[nodiscard]] Range clip(double low, double high) const noexcept {
    const auto inside = [this](double x) {
      return static_cast<float>(std::clamp(x, static_cast<double>(range_.low), static_cast<double>(range_.high)));
    };
    return computed(Range{inside(low), inside(high)});
  }

 private:
  Range range_;
  std::uint64_t count_ = 0;
  std::uint64_t nonfinite_ = 0;
};

}  // namespace kvant
