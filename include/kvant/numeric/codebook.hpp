// SPDX-License-Identifier: Apache-2.0
// The codebook engine: up to 256 levels in ascending order, the nearest of them wins, a tie goes to the lower index.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "kvant/numeric/integer.hpp"
#include "kvant/numeric/rounding.hpp"

namespace kvant {

/// The place among levels of a number with that order key: how many of the ascending thresholds between levels are
/// below it.
[[nodiscard]] constexpr std::uint32_t thresholds_below(const std::int32_t* thresholds, std::size_t count,
                                                       std::int32_t key) noexcept {
  std::uint32_t index = 0;
  while (index < count && key > thresholds[index]) ++index;
  return index;
}

/// The largest float that is not above the midpoint of a and b (a < b). The sum is exact in double for levels within
/// 2^29 of each other, which a test checks for every codebook.
[[nodiscard]] constexpr float midpoint_threshold(float a, float b) noexcept {
  const double middle = (static_cast<double>(a) + static_cast<double>(b)) / 2;
  float t = static_cast<float>(middle);
  if (static_cast<double>(t) > middle) {
    const std::uint32_t bits = float_bits(t);
    t = bits == 0 ? std::bit_cast<float>(0x80000001u) : std::bit_cast<float>(is_negative(t) ? bits + 1 : bits - 1);
  }
  return t;
}

/// A format whose values are `Levels::kLevels`, ascending; a code is the index of its level, or what `Levels::kCodes`
/// says there. NaN becomes the level nearest to zero, and so does a code that no level has; no Inf.
template <class Levels>
struct Codebook {
  using Book = Levels;
  using Code = std::uint8_t;
  static constexpr FormatKind kKind = FormatKind::codebook;
  static constexpr auto kLevels = Levels::kLevels;
  static constexpr std::size_t kCount = kLevels.size();
  static_assert(kCount >= 2 && kCount <= 256, "a codebook has 2 to 256 levels");
  static_assert(
      [] {
        for (std::size_t i = 0; i + 1 < kCount; ++i)
          if (order_key(kLevels[i]) >= order_key(kLevels[i + 1])) return false;
        return true;
      }(),
      "a codebook's levels ascend");
  static constexpr unsigned kBits = std::bit_width(kCount - 1);
  static constexpr bool kHasInf = false;
  static constexpr bool kHasNaN = false;
  static constexpr float kMax = order_key(magnitude(kLevels.front())) > order_key(kLevels.back())
                                    ? magnitude(kLevels.front())
                                    : kLevels.back();

  [[nodiscard]] static constexpr Code encode(float x, RoundingMode = {}) noexcept {
    const std::size_t index = nearest(is_nan(x) ? 0 : order_key(x));
    if constexpr (kHasOwnCodes) return Levels::kCodes[index];
    return static_cast<Code>(index);
  }
  [[nodiscard]] static constexpr float decode(Code code) noexcept {
    if constexpr (kHasOwnCodes) {
      for (std::size_t i = 0; i < kCount; ++i)
        if (Levels::kCodes[i] == code) return kLevels[i];
    } else if (code < kCount) {
      return kLevels[code];
    }
    return kLevels[nearest(0)];
  }

  /// Order keys: the index of x is the number of thresholds below order_key(x).
  static constexpr std::array<std::int32_t, kCount - 1> kThresholds = [] {
    std::array<std::int32_t, kCount - 1> t{};
    for (std::size_t i = 0; i + 1 < kCount; ++i) t[i] = order_key(midpoint_threshold(kLevels[i], kLevels[i + 1]));
    return t;
  }();

 private:
  static constexpr bool kHasOwnCodes = requires { Levels::kCodes; };

  [[nodiscard]] static constexpr std::size_t nearest(std::int32_t key) noexcept {
    return thresholds_below(kThresholds.data(), kThresholds.size(), key);
  }
};

}  // namespace kvant
