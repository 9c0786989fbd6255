// SPDX-License-Identifier: Apache-2.0
// A logarithm that is the same on every machine, for sums that decide codes: the C library's differ in their last bits.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

namespace kvant {

/// log2(x), from bits, additions, one division and std::fma: the same bits everywhere, in any build, where the thread
/// rounds to nearest (DefaultFpEnvironment).
///
/// x = m * 2^k with m in [sqrt(1/2), sqrt(2)); log2(x) = k + 2 / ln(2) * atanh(f), f = (m - 1) / (m + 1), and
/// atanh(f) = f + f^3 / 3 + … + f^21 / 21. |f| < 0.1716, so what is cut off is below 2^-55 of the sum; with five
/// roundings the relative error is below 1e-15. Powers of two are exact. Zero of either sign is -Inf, +Inf is +Inf, a
/// negative number and NaN are NaN.
[[nodiscard]] inline double portable_log2(double x) noexcept {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  constexpr std::uint64_t kInfBits = 0x7ff0000000000000u;
  constexpr std::uint64_t kFraction = 0x000fffffffffffffu;
  std::uint64_t bits = std::bit_cast<std::uint64_t>(x);
  if (bits << 1 == 0) return -kInf;
  if (bits >= kInfBits) return bits == kInfBits ? kInf : std::numeric_limits<double>::quiet_NaN();
  std::int64_t exponent = static_cast<std::int64_t>(bits >> 52) - 1023;
  if (bits >> 52 == 0) {  // subnormal: shift the leading one to where a normal number has it
    const int shift = std::countl_zero(bits) - 11;
    bits <<= shift;
    exponent = -1022 - shift;
  }
  double m = std::bit_cast<double>((bits & kFraction) | 0x3ff0000000000000u);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    ++exponent;
  }
  const double f = (m - 1.0) / (m + 1.0);
  const double s = f * f;
  double series = 1.0 / 21;
  for (int n = 19; n >= 3; n -= 2) series = std::fma(series, s, 1.0 / n);
  const double atanh = std::fma(f * s, series, f);
  constexpr double kTwoOverLn2 = 2.8853900817779268;
  return std::fma(atanh, kTwoOverLn2, static_cast<double>(exponent));
}

}  // namespace kvant
