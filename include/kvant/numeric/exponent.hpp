// SPDX-License-Identifier: Apache-2.0
// The exponent engine: powers of two and nothing else, which is how MX formats store the scale of a block.
#pragma once

#include <bit>
#include <cstdint>

#include "kvant/numeric/integer.hpp"
#include "kvant/numeric/rounding.hpp"

namespace kvant {

/// OCP E8M0: code c is 2^(c - 127) for c in 0 … 254, from 2^-127 to 2^127; 255 is NaN. No sign, no zero, no Inf.
/// Without mantissa bits neither of two neighbours is even: a tie goes up under both ways of rounding to nearest. What
/// lies between 0 and 2^-127 becomes 2^-127, in every direction of rounding. Numbers below zero and NaN become
/// NaN; so do zero and Inf where nothing is saturated, as in ml_dtypes.
struct Exponent8 {
  using Code = std::uint8_t;
  static constexpr FormatKind kKind = FormatKind::exponent;
  static constexpr unsigned kBits = 8;
  static constexpr int kBias = 127;
  static constexpr Code kNaN = 0xff;
  static constexpr Code kMaxCode = 0xfe;
  static constexpr bool kHasInf = false;
  static constexpr bool kHasNaN = true;
  static constexpr bool kIsSigned = false;
  static constexpr float kMax = 0x1p127f;

  [[nodiscard]] static constexpr Code encode(float x, RoundingMode mode = {}) noexcept {
    if (is_nan(x) || (is_negative(x) && order_key(x) != 0)) return kNaN;
    const bool saturate = mode.overflow == Overflow::saturate;
    if (is_inf(x)) return saturate ? kMaxCode : kNaN;
    if (order_key(x) == 0) return saturate ? 0 : kNaN;
    // Between neighbouring powers of two a float's fraction runs from 0 to 1 evenly: dropping its bits rounds the
    // value.
    const Unpacked u = unpack(x);
    const int top = 63 - std::countl_zero(u.significand);
    const int exponent = u.exponent + top + kBias;
    if (exponent < 0) return 0;
    const std::uint64_t fraction = u.significand - (std::uint64_t{1} << top);
    const std::uint64_t joined = (static_cast<std::uint64_t>(exponent) << top) | fraction;
    if (mode.rounding == Rounding::nearest_even) mode.rounding = Rounding::nearest_away;
    const std::uint64_t code = round_shift(joined, top, false, mode);
    if (code <= kMaxCode) return static_cast<Code>(code);
    return saturate || rounds_toward_zero(mode.rounding, false) ? kMaxCode : kNaN;
  }
  [[nodiscard]] static constexpr float decode(Code code) noexcept {
    if (code == kNaN) return std::bit_cast<float>(0x7fc00000u);
    return std::bit_cast<float>(code == 0 ? 0x00400000u : std::uint32_t{code} << 23);
  }
};

}  // namespace kvant
