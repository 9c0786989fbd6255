// SPDX-License-Identifier: Apache-2.0
// Rounding and dividing on bits.
//
// What decides a code must not depend on the processor's rounding mode, on flush-to-zero, on denormals-are-zero, or on
// the flags of the program that includes this header. So nothing here uses floating-point arithmetic.
#pragma once

#include <bit>
#include <cstdint>

#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__) || \
    defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__)
#error "kvant gives the same bytes everywhere and cannot be compiled with -ffast-math or its parts"
#endif
#if defined(__FLT_EVAL_METHOD__) && (__FLT_EVAL_METHOD__ == 1 || __FLT_EVAL_METHOD__ == 2)
#error "kvant gives the same bytes everywhere and needs float arithmetic in float: on x86 compile with -mfpmath=sse"
#endif

namespace kvant {

/// a == b, said so that consumers may compile with -Wfloat-equal.
template <class T>
[[nodiscard]] constexpr bool equals(T a, T b) noexcept {
  return a <= b && a >= b;
}

/// Direction of rounding. `stochastic` rounds away from zero with a probability equal to the fraction
/// cut off.
enum class Rounding : std::uint8_t { nearest_even, nearest_away, toward_zero, up, down, stochastic };

/// What a value beyond the largest finite code becomes: that code, or what the format itself has (Inf, else NaN, else
/// the largest finite code).
enum class Overflow : std::uint8_t { saturate, ieee };

/// Whether `direction` takes a number that lies between two others to the one nearer to zero, whatever its fraction.
[[nodiscard]] constexpr bool rounds_toward_zero(Rounding direction, bool negative) noexcept {
  return direction == Rounding::toward_zero || direction == (negative ? Rounding::up : Rounding::down);
}

/// How to round: direction, overflow, and 32 random bits that only `stochastic` looks at.
struct RoundingMode {
  Rounding rounding = Rounding::nearest_even;
  Overflow overflow = Overflow::saturate;
  std::uint32_t random = 0;
};

/// A finite number taken apart: (-1)^negative * significand * 2^exponent.
struct Unpacked {
  bool negative;
  std::uint64_t significand;
  int exponent;
};

[[nodiscard]] constexpr std::uint32_t float_bits(float x) noexcept { return std::bit_cast<std::uint32_t>(x); }
[[nodiscard]] constexpr bool is_nan(float x) noexcept { return (float_bits(x) & 0x7fffffffu) > 0x7f800000u; }
[[nodiscard]] constexpr bool is_inf(float x) noexcept { return (float_bits(x) & 0x7fffffffu) == 0x7f800000u; }
[[nodiscard]] constexpr bool is_finite(float x) noexcept { return (float_bits(x) & 0x7f800000u) != 0x7f800000u; }
[[nodiscard]] constexpr bool is_negative(float x) noexcept { return (float_bits(x) >> 31) != 0; }
[[nodiscard]] constexpr float magnitude(float x) noexcept { return std::bit_cast<float>(float_bits(x) & 0x7fffffffu); }

/// Integers ordered as the numbers are: -Inf … -0 == +0 … +Inf. Comparing them is safe under denormals-are-zero.
[[nodiscard]] constexpr std::int32_t order_key(float x) noexcept {
  const auto m = static_cast<std::int32_t>(float_bits(x) & 0x7fffffffu);
  return is_negative(x) ? -m : m;
}

/// A finite float taken apart, subnormals included.
[[nodiscard]] constexpr Unpacked unpack(float x) noexcept {
  const std::uint32_t bits = float_bits(x);
  const auto biased = static_cast<int>((bits >> 23) & 0xffu);
  const std::uint64_t fraction = bits & 0x7fffffu;
  return {is_negative(x), biased == 0 ? fraction : fraction | 0x800000u, (biased == 0 ? 1 : biased) - 150};
}

/// significand / 2^drop as an integer. `drop` may be negative (an exact shift left that the caller knows to fit).
[[nodiscard]] constexpr std::uint64_t round_shift(std::uint64_t significand, int drop, bool negative,
                                                  RoundingMode mode) noexcept {
  if (drop <= 0) return significand << -drop;
  // Beyond 64 places all that is left is a remainder below one half, which one bit says as well.
  if (drop > 63)
    return round_shift(drop > 64 ? significand != 0 : significand >> 1 | (significand & 1), 63, negative, mode);
  const std::uint64_t kept = significand >> drop;
  const std::uint64_t rest = significand & ((std::uint64_t{1} << drop) - 1);
  const std::uint64_t half = std::uint64_t{1} << (drop - 1);
  bool up = false;
  switch (mode.rounding) {
    case Rounding::nearest_even:
      up = rest > half || (rest == half && (kept & 1) != 0);
      break;
    case Rounding::nearest_away:
      up = rest >= half;
      break;
    case Rounding::toward_zero:
      break;
    case Rounding::up:
      up = rest != 0 && !negative;
      break;
    case Rounding::down:
      up = rest != 0 && negative;
      break;
    case Rounding::stochastic:
      up = (drop <= 32 ? rest << (32 - drop) : rest >> (drop - 32)) > mode.random;
      break;
  }
  return kept + (up ? 1 : 0);
}

/// Rounds `u` to a binary float with `MantissaBits` stored bits and least normal exponent `MinExponent`, and gives its
/// magnitude as exponent and mantissa fields side by side, with no upper limit on the exponent: a carry out of the
/// mantissa walks into the exponent, as IEEE 754 means it to.
template <int MantissaBits, int MinExponent>
[[nodiscard]] constexpr std::uint64_t round_to_fields(Unpacked u, RoundingMode mode) noexcept {
  if (u.significand == 0) return 0;
  const int exponent = u.exponent + 63 - std::countl_zero(u.significand);
  const int scaled = exponent > MinExponent ? exponent : MinExponent;
  const std::uint64_t rounded = round_shift(u.significand, scaled - MantissaBits - u.exponent, u.negative, mode);
  return (static_cast<std::uint64_t>(scaled - MinExponent) << MantissaBits) + rounded;
}

/// x / y as IEEE 754 binary32, rounded to nearest even.
[[nodiscard]] constexpr float divide(float x, float y) noexcept {
  constexpr float kNaN = std::bit_cast<float>(0x7fc00000u);
  const std::uint32_t sign = (float_bits(x) ^ float_bits(y)) & 0x80000000u;
  const bool x_zero = (float_bits(x) & 0x7fffffffu) == 0;
  const bool y_zero = (float_bits(y) & 0x7fffffffu) == 0;
  if (is_nan(x) || is_nan(y) || (is_inf(x) && is_inf(y)) || (x_zero && y_zero)) return kNaN;
  if (is_inf(x) || y_zero) return std::bit_cast<float>(sign | 0x7f800000u);
  if (is_inf(y) || x_zero) return std::bit_cast<float>(sign);
  const Unpacked a = unpack(x);
  const Unpacked b = unpack(y);
  // 24-bit significands: with the dividend shifted up to bit 62 the quotient has at least 38 bits, so the remainder
  // matters only as "not zero", which the lowest bit keeps.
  const int shift = std::countl_zero(a.significand) - 1;
  const std::uint64_t dividend = a.significand << shift;
  const std::uint64_t quotient = dividend / b.significand;
  const std::uint64_t sticky = quotient * b.significand != dividend ? 1 : 0;
  const std::uint64_t fields = round_to_fields<23, -126>(
      {sign != 0, (quotient << 1) | sticky, a.exponent - shift - b.exponent - 1}, RoundingMode{});
  return std::bit_cast<float>(sign | static_cast<std::uint32_t>(fields < 0x7f800000u ? fields : 0x7f800000u));
}

/// x * 2^fraction_bits as an integer, saturated to [low, high]; NaN is 0.
[[nodiscard]] constexpr std::int32_t to_integer(float x, std::int32_t low, std::int32_t high, RoundingMode mode = {},
                                                int fraction_bits = 0) noexcept {
  if (is_nan(x)) return 0 < low ? low : 0;
  const auto exponent = static_cast<int>((float_bits(x) >> 23) & 0xffu) + fraction_bits;
  if (exponent >= 127 + 31) return is_negative(x) ? low : high;
  const Unpacked u = unpack(x);
  const auto m = static_cast<std::int64_t>(round_shift(u.significand, -u.exponent - fraction_bits, u.negative, mode));
  const std::int64_t value = u.negative ? -m : m;
  return static_cast<std::int32_t>(value < low ? low : value > high ? high : value);
}

}  // namespace kvant
