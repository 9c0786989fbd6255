// SPDX-License-Identifier: Apache-2.0
// What the format specifications say, as an oracle in double precision: values from bit fields by ldexp, encoding by
// looking for the neighbours in the sorted list of values. Shares no code with the library, and is slow on purpose.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

namespace reference {

enum class Family { ieee, fn, fnuz, finite, integer, sign, table };
enum class Direction { nearest_even, nearest_away, toward_zero, up, down };

struct NumberFormat {
  std::string_view name;
  Family family;
  int exponent_bits, mantissa_bits, bias;  // floats
  int bits, low, high;                     // integers: the range of values
  double max;                              // largest finite magnitude as the specification prints it
  bool has_inf, has_nan;
};

// OCP FP8 and MX specifications, IEEE 754, ONNX integer ranges; nf4 from Dettmers et al. 2023, appendix E.
inline constexpr std::array kNumberFormats{
    NumberFormat{"fp32", Family::ieee, 8, 23, 127, 32, 0, 0, 0x1.fffffep127, true, true},
    NumberFormat{"fp16", Family::ieee, 5, 10, 15, 16, 0, 0, 65504, true, true},
    NumberFormat{"bf16", Family::ieee, 8, 7, 127, 16, 0, 0, 0x1.fep127, true, true},
    NumberFormat{"fp8_e4m3fn", Family::fn, 4, 3, 7, 8, 0, 0, 448, false, true},
    NumberFormat{"fp8_e5m2", Family::ieee, 5, 2, 15, 8, 0, 0, 57344, true, true},
    NumberFormat{"fp4_e2m1", Family::finite, 2, 1, 1, 4, 0, 0, 6, false, false},
    NumberFormat{"int8", Family::integer, 0, 0, 0, 8, -128, 127, 127, false, false},
    NumberFormat{"int7", Family::integer, 0, 0, 0, 7, -64, 63, 63, false, false},
    NumberFormat{"int6", Family::integer, 0, 0, 0, 6, -32, 31, 31, false, false},
    NumberFormat{"int5", Family::integer, 0, 0, 0, 5, -16, 15, 15, false, false},
    NumberFormat{"int4", Family::integer, 0, 0, 0, 4, -8, 7, 7, false, false},
    NumberFormat{"int3", Family::integer, 0, 0, 0, 3, -4, 3, 3, false, false},
    NumberFormat{"int2", Family::integer, 0, 0, 0, 2, -2, 1, 1, false, false},
    NumberFormat{"int1", Family::sign, 0, 0, 0, 1, -1, 1, 1, false, false},
    NumberFormat{"uint8", Family::integer, 0, 0, 0, 8, 0, 255, 255, false, false},
    NumberFormat{"uint7", Family::integer, 0, 0, 0, 7, 0, 127, 127, false, false},
    NumberFormat{"uint6", Family::integer, 0, 0, 0, 6, 0, 63, 63, false, false},
    NumberFormat{"uint5", Family::integer, 0, 0, 0, 5, 0, 31, 31, false, false},
    NumberFormat{"uint4", Family::integer, 0, 0, 0, 4, 0, 15, 15, false, false},
    NumberFormat{"uint3", Family::integer, 0, 0, 0, 3, 0, 7, 7, false, false},
    NumberFormat{"uint2", Family::integer, 0, 0, 0, 2, 0, 3, 3, false, false},
    NumberFormat{"uint1", Family::integer, 0, 0, 0, 1, 0, 1, 1, false, false},
    NumberFormat{"ternary", Family::integer, 0, 0, 0, 2, -1, 1, 1, false, false},
    NumberFormat{"nf4", Family::table, 0, 0, 0, 4, 0, 0, 1, false, false},
};

/// The published list of NF4, as decimal text of the reference implementation.
inline constexpr std::array<double, 16> kNf4{
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
};

inline const NumberFormat* find_format(std::string_view name) {
  for (const NumberFormat& f : kNumberFormats)
    if (f.name == name) return &f;
  return nullptr;
}

inline bool is_float_family(Family f) { return f != Family::integer && f != Family::sign && f != Family::table; }

/// Magnitude that exponent and mantissa fields stand for, with no special codes and no limit on the exponent.
inline double field_value(const NumberFormat& f, std::uint32_t magnitude_code) {
  const int m = static_cast<int>(magnitude_code & ((1u << f.mantissa_bits) - 1u));
  const int e = static_cast<int>(magnitude_code >> f.mantissa_bits);
  if (e == 0) return std::ldexp(static_cast<double>(m), 1 - f.bias - f.mantissa_bits);
  return std::ldexp(static_cast<double>((1 << f.mantissa_bits) + m), e - f.bias - f.mantissa_bits);
}

/// The value of a code; NaN and Inf included.
inline double decode(const NumberFormat& f, std::uint32_t code) {
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  if (f.family == Family::table) return kNf4[code];
  if (f.family == Family::sign) return code == 1 ? 1.0 : -1.0;
  if (f.family == Family::integer) {
    if (f.low >= 0) return static_cast<double>(code);
    const double wrap = std::ldexp(1.0, f.bits);
    return static_cast<double>(code) >= wrap / 2 ? static_cast<double>(code) - wrap : static_cast<double>(code);
  }
  const std::uint32_t sign_bit = 1u << (f.exponent_bits + f.mantissa_bits);
  const std::uint32_t magnitude = code & (sign_bit - 1u);
  const bool negative = (code & sign_bit) != 0;
  const std::uint32_t top_exponent = ((1u << f.exponent_bits) - 1u) << f.mantissa_bits;
  if (f.family == Family::ieee && magnitude >= top_exponent) {
    if (magnitude != top_exponent) return kNaN;
    return negative ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
  }
  if (f.family == Family::fn && magnitude == sign_bit - 1u) return kNaN;
  if (f.family == Family::fnuz && code == sign_bit) return kNaN;
  return negative ? -field_value(f, magnitude) : field_value(f, magnitude);
}

/// Encodes by search among the values of a format of at most 16 bits. Saturated or as the format itself does; overflow
/// is judged after rounding.
class Encoder {
 public:
  explicit Encoder(const NumberFormat& f) : f_(f) {
    if (!is_float_family(f.family) || f.bits > 16) return;
    const std::uint32_t sign_bit = 1u << (f.exponent_bits + f.mantissa_bits);
    std::uint32_t finite = sign_bit;
    if (f.family == Family::ieee) finite = ((1u << f.exponent_bits) - 1u) << f.mantissa_bits;
    if (f.family == Family::fn) finite = sign_bit - 1u;
    for (std::uint32_t code = 0; code <= finite; ++code) magnitudes_.push_back(field_value(f, code));
  }

  [[nodiscard]] std::uint32_t operator()(float x, Direction direction = Direction::nearest_even,
                                         bool saturate = true) const {
    if (f_.family == Family::table) return encode_table(x);
    if (f_.family == Family::sign) return std::isnan(x) || x >= 0 ? 1 : 0;
    if (f_.family == Family::integer) return encode_integer(x, direction);
    return encode_float(x, direction, saturate);
  }

  /// Values of the magnitude codes in order; the last is the first one beyond the finite range.
  [[nodiscard]] const std::vector<double>& magnitudes() const { return magnitudes_; }

 private:
  [[nodiscard]] std::uint32_t encode_integer(float x, Direction direction) const {
    if (std::isnan(x)) return 0;
    double v = static_cast<double>(x);
    switch (direction) {
      case Direction::nearest_even: {
        const double below = std::floor(v);
        const double fraction = v - below;
        const bool odd = std::fmod(below, 2.0) != 0.0;
        v = fraction > 0.5 || (fraction == 0.5 && odd) ? below + 1 : below;
        break;
      }
      case Direction::nearest_away:
        v = std::round(v);
        break;
      case Direction::toward_zero:
        v = std::trunc(v);
        break;
      case Direction::up:
        v = std::ceil(v);
        break;
      case Direction::down:
        v = std::floor(v);
        break;
    }
    v = std::max(static_cast<double>(f_.low), std::min(static_cast<double>(f_.high), v));
    return static_cast<std::uint32_t>(v < 0 ? v + std::ldexp(1.0, f_.bits) : v);
  }

  [[nodiscard]] std::uint32_t encode_float(float x, Direction direction, bool saturate) const {
    const std::uint32_t sign_bit = 1u << (f_.exponent_bits + f_.mantissa_bits);
    const std::uint32_t sign = std::signbit(x) ? sign_bit : 0;
    const auto finite_codes = static_cast<std::uint32_t>(magnitudes_.size() - 1);
    std::uint32_t not_a_number = sign_bit;  // fnuz: its NaN; finite: -0
    if (f_.family == Family::ieee) not_a_number = sign | finite_codes | (1u << (f_.mantissa_bits - 1));
    if (f_.family == Family::fn) not_a_number = sign | (sign_bit - 1u);
    if (std::isnan(x)) return not_a_number;

    const double m = std::fabs(static_cast<double>(x));
    const auto above = std::upper_bound(magnitudes_.begin(), magnitudes_.end(), m);
    std::uint32_t code = finite_codes;
    if (above != magnitudes_.end()) {
      code = static_cast<std::uint32_t>(above - magnitudes_.begin()) - 1;
      const double low = magnitudes_[code];
      const double high = magnitudes_[code + 1];
      const double middle = low + (high - low) / 2;
      bool away = false;
      switch (direction) {
        case Direction::nearest_even:
          away = m > middle || (m == middle && code % 2 == 1);
          break;
        case Direction::nearest_away:
          away = m >= middle;
          break;
        case Direction::toward_zero:
          break;
        case Direction::up:
          away = m > low && sign == 0;
          break;
        case Direction::down:
          away = m > low && sign != 0;
          break;
      }
      if (away) ++code;
    }
    if (code >= finite_codes) {
      if (saturate || f_.family == Family::finite)
        code = finite_codes - 1;
      else if (f_.family != Family::ieee)
        return not_a_number;
    }
    if (f_.family == Family::fnuz && code == 0) return 0;
    return sign | code;
  }

  /// The nearest level, the lower of two at the same distance; NaN as 0.
  [[nodiscard]] static std::uint32_t encode_table(float x) {
    const double v = std::isnan(x) ? 0.0 : std::max(-2.0, std::min(2.0, static_cast<double>(x)));
    std::uint32_t best = 0;
    for (std::uint32_t i = 1; i < kNf4.size(); ++i) {
      const double a = static_cast<double>(static_cast<float>(kNf4[best]));
      const double b = static_cast<double>(static_cast<float>(kNf4[i]));
      if (v > a + (b - a) / 2) best = i;
    }
    return best;
  }

  NumberFormat f_;
  std::vector<double> magnitudes_;
};

}  // namespace reference
