// SPDX-License-Identifier: Apache-2.0
// The integer engine: two's complement and unsigned integers of 1 to 8 bits.
#pragma once

#include <array>
#include <cstdint>

#include "kvant/numeric/rounding.hpp"

namespace kvant {

enum class FormatKind : std::uint8_t { integer, minifloat, codebook, exponent };

/// Integers of `Bits` bits in [Low, High], times 2^-FractionBits; codes are the integer's low bits (two's complement).
/// Rounds to nearest even, saturates; NaN is 0; no Inf.
template <unsigned Bits, int Low, int High, int FractionBits = 0>
struct Integer {
  static_assert(Bits >= 1 && Bits <= 8 && Low <= 0 && High >= 0 && High - Low < 1 << Bits,
                "an integer format has 1 to 8 bits that hold its range, and a zero");
  static_assert(FractionBits >= 0 && FractionBits < 32, "a fixed point within the integer or before it");
  using Code = std::uint8_t;
  static constexpr FormatKind kKind = FormatKind::integer;
  static constexpr unsigned kBits = Bits;
  static constexpr int kLow = Low;
  static constexpr int kHigh = High;
  static constexpr int kFractionBits = FractionBits;
  static constexpr bool kHasInf = false;
  static constexpr bool kHasNaN = false;
  static constexpr float kStep = 1.0f / static_cast<float>(std::uint32_t{1} << FractionBits);
  static constexpr float kMax = static_cast<float>(High) * kStep;

  [[nodiscard]] static constexpr Code encode(float x, RoundingMode mode = {}) noexcept {
    return static_cast<Code>(static_cast<unsigned>(to_integer(x, Low, High, mode, FractionBits)) & ((1u << Bits) - 1u));
  }
  /// The integer, that is, the number in units of 2^-FractionBits.
  [[nodiscard]] static constexpr int value(Code code) noexcept {
    if constexpr (Low >= 0) return code;
    return static_cast<int>(code) - ((code >> (Bits - 1)) != 0 ? 1 << Bits : 0);
  }
  [[nodiscard]] static constexpr float decode(Code code) noexcept { return static_cast<float>(value(code)) * kStep; }
};

template <unsigned Bits>
using SignedInteger = Integer<Bits, -(1 << (Bits - 1)), (1 << (Bits - 1)) - 1>;

template <unsigned Bits>
using UnsignedInteger = Integer<Bits, 0, (1 << Bits) - 1>;

/// One bit, {-1, +1}: code 1 is +1. Zero of either sign and NaN are +1.
struct SignBit {
  using Code = std::uint8_t;
  static constexpr FormatKind kKind = FormatKind::integer;
  static constexpr unsigned kBits = 1;
  static constexpr int kLow = -1;
  static constexpr int kHigh = 1;
  static constexpr int kFractionBits = 0;
  static constexpr bool kHasInf = false;
  static constexpr bool kHasNaN = false;
  static constexpr float kMax = 1.0f;
  static constexpr int kStoredStep = 2, kStoredOffset = -1;  ///< a value is 2 * code - 1
  /// As a codebook of two levels: the index of x is the number of thresholds below order_key(x).
  static constexpr std::array<std::int32_t, 1> kThresholds{-1};

  [[nodiscard]] static constexpr Code encode(float x, RoundingMode = {}) noexcept {
    return is_nan(x) || order_key(x) >= 0 ? 1 : 0;
  }
  [[nodiscard]] static constexpr int value(Code code) noexcept { return code != 0 ? 1 : -1; }
  [[nodiscard]] static constexpr float decode(Code code) noexcept { return static_cast<float>(value(code)); }
};

}  // namespace kvant
