// SPDX-License-Identifier: Apache-2.0
// Where the codes of a group lie about zero.
#pragma once

#include <cstdint>

namespace kvant {

enum class Symmetry : std::uint8_t {
  /// Positive scale, no zero point. Plain: max |x| / Grid::unit().
  symmetric,
  /// The scale may be negative, so that the largest magnitude meets the least code. Plain: peak / low, where peak is
  /// the element of largest magnitude (the positive one of two).
  full,
  /// Scale and integer zero point. Plain, for elements in [a, b], a <= 0 <= b: scale = b / steps - a / steps with
  /// steps = high - low; zero = low - a / (scale as stored), rounded to nearest even, kept within [low, high].
  asymmetric,
};

}  // namespace kvant
