// SPDX-License-Identifier: Apache-2.0
// What the format specifications say, as an oracle in double precision: values from bit fields by ldexp, encoding by
// looking for the neighbours in the sorted list of values. Shares no code with the library, and is slow on purpose.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace reference {

enum class Family { ieee, fn, fnuz, finite, unsigned_fn, exponent, integer, sign, table };
enum class Direction { nearest_even, nearest_away, toward_zero, up, down };

struct NumberFormat {
  std::string_view name;
  Family family;
  int exponent_bits, mantissa_bits, bias;  // floats
  int bits, low, high;                     // integers: the range of values
  double max;                              // largest finite magnitude as the specification prints it
  bool has_inf, has_nan;
  int fraction = 0;  // integers: bits behind the point
};

// OCP FP8 and MX specifications, IEEE 754, ONNX integer ranges; nf4 from Dettmers et al. 2023, appendix E.
inline constexpr std::array kNumberFormats{
    NumberFormat{"fp32", Family::ieee, 8, 23, 127, 32, 0, 0, 0x1.fffffep127, true, true},
    NumberFormat{"fp16", Family::ieee, 5, 10, 15, 16, 0, 0, 65504, true, true},
    NumberFormat{"bf16", Family::ieee, 8, 7, 127, 16, 0, 0, 0x1.fep127, true, true},
    NumberFormat{"fp8_e4m3fn", Family::fn, 4, 3, 7, 8, 0, 0, 448, false, true},
    NumberFormat{"fp8_e5m2", Family::ieee, 5, 2, 15, 8, 0, 0, 57344, true, true},
    NumberFormat{"fp8_e4m3", Family::ieee, 4, 3, 7, 8, 0, 0, 240, true, true},
    NumberFormat{"fp8_e3m4", Family::ieee, 3, 4, 3, 8, 0, 0, 15.5, true, true},
    NumberFormat{"fp8_e4m3fnuz", Family::fnuz, 4, 3, 8, 8, 0, 0, 240, false, true},
    NumberFormat{"fp8_e5m2fnuz", Family::fnuz, 5, 2, 16, 8, 0, 0, 57344, false, true},
    NumberFormat{"fp8_e4m3b11fnuz", Family::fnuz, 4, 3, 11, 8, 0, 0, 30, false, true},
    NumberFormat{"fp6_e3m2", Family::finite, 3, 2, 3, 6, 0, 0, 28, false, false},
    NumberFormat{"fp6_e2m3", Family::finite, 2, 3, 1, 6, 0, 0, 7.5, false, false},
    NumberFormat{"e8m0", Family::exponent, 8, 0, 127, 8, 0, 0, 0x1p127, false, true},
    NumberFormat{"ue4m3", Family::unsigned_fn, 4, 3, 7, 8, 0, 0, 448, false, true},
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
    NumberFormat{"int8_q6", Family::integer, 0, 0, 0, 8, -128, 127, 1.984375, false, false, 6},
    NumberFormat{"nf4", Family::table, 0, 0, 0, 4, 0, 0, 1, false, false},
    NumberFormat{"fp4_bnb", Family::table, 0, 0, 0, 4, 0, 0, 1, false, false},
    NumberFormat{"iq4_nl", Family::table, 0, 0, 0, 4, 0, 0, 127, false, false},
    NumberFormat{"even2", Family::table, 0, 0, 0, 2, 0, 0, 6, false, false},
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

/// bitsandbytes' FP4 by code: a sign bit over eight magnitudes in an order of its own (functional.py, get_4bit_type).
inline constexpr std::array<double, 16> kFp4Bnb{
    0.0,  0.0625 / 12,  8.0 / 12,  1.0,  4.0 / 12,  6.0 / 12,  2.0 / 12,  3.0 / 12,
    -0.0, -0.0625 / 12, -8.0 / 12, -1.0, -4.0 / 12, -6.0 / 12, -2.0 / 12, -3.0 / 12,
};
/// ggml-common.h, kvalues_iq4nl.
inline constexpr std::array<double, 16> kIq4Nl{-127, -104, -83, -65, -49, -35, -22, -10,
                                               1,    13,   25,  38,  53,  69,  89,  113};
inline constexpr std::array<double, 4> kEven2{0, 2, 4, 6};

/// The value of every code of a codebook.
inline std::vector<double> table_of(const NumberFormat& f) {
  if (f.name == "fp4_bnb") return {kFp4Bnb.begin(), kFp4Bnb.end()};
  if (f.name == "iq4_nl") return {kIq4Nl.begin(), kIq4Nl.end()};
  if (f.name == "even2") return {kEven2.begin(), kEven2.end()};
  return {kNf4.begin(), kNf4.end()};
}

/// What a minifloat's name says of one that is in no specification: fpN_eXmY, and nothing (all codes are numbers), fn
/// or fnuz behind it; the bias is half the exponents.
inline std::optional<NumberFormat> format_of_name(const std::string& name) {
  int bits = 0, exponent_bits = 0, mantissa_bits = 0, length = 0;
  if (std::sscanf(name.c_str(), "fp%d_e%dm%d%n", &bits, &exponent_bits, &mantissa_bits, &length) != 3) return {};
  const std::string rest = name.substr(static_cast<std::size_t>(length));
  if (bits != 1 + exponent_bits + mantissa_bits || bits > 8 || exponent_bits < 1 || mantissa_bits < 1) return {};
  if (!rest.empty() && rest != "fn" && rest != "fnuz") return {};
  const Family family = rest.empty() ? Family::finite : rest == "fn" ? Family::fn : Family::fnuz;
  const int bias = (1 << (exponent_bits - 1)) - (family == Family::fnuz ? 0 : 1);
  const int last = (1 << (bits - 1)) - (family == Family::fn ? 2 : 1);
  const double fraction = (1 << mantissa_bits) + last % (1 << mantissa_bits);
  const double max = std::ldexp(fraction, (last >> mantissa_bits) - bias - mantissa_bits);
  return NumberFormat{{}, family, exponent_bits, mantissa_bits, bias, bits, 0, 0, max, false, family != Family::finite};
}

/// The row of that name; one made of the name where there is none.
inline const NumberFormat* find_format(std::string_view name) {
  for (const NumberFormat& f : kNumberFormats)
    if (f.name == name) return &f;
  static std::map<std::string, NumberFormat> named;
  const auto made = format_of_name(std::string(name));
  if (!made) return nullptr;
  const auto place = named.try_emplace(std::string(name), *made).first;
  place->second.name = place->first;
  return &place->second;
}

inline bool is_float_family(Family f) {
  return f != Family::integer && f != Family::sign && f != Family::table && f != Family::exponent;
}

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
  if (f.family == Family::table) return table_of(f)[code] + 0.0;  // no codebook has a -0
  if (f.family == Family::exponent) return code == 255 ? kNaN : std::ldexp(1.0, static_cast<int>(code) - 127);
  if (f.family == Family::sign) return code == 1 ? 1.0 : -1.0;
  if (f.family == Family::integer) {
    if (f.low >= 0) return static_cast<double>(code);
    const double wrap = std::ldexp(1.0, f.bits);
    const double v =
        static_cast<double>(code) >= wrap / 2 ? static_cast<double>(code) - wrap : static_cast<double>(code);
    return std::ldexp(v, -f.fraction);
  }
  const std::uint32_t sign_bit = 1u << (f.exponent_bits + f.mantissa_bits);
  const std::uint32_t magnitude = code & (sign_bit - 1u);
  const bool negative = (code & sign_bit) != 0;
  const std::uint32_t top_exponent = ((1u << f.exponent_bits) - 1u) << f.mantissa_bits;
  if (f.family == Family::ieee && magnitude >= top_exponent) {
    if (magnitude != top_exponent) return kNaN;
    return negative ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
  }
  if ((f.family == Family::fn || f.family == Family::unsigned_fn) && magnitude == sign_bit - 1u) return kNaN;
  if (f.family == Family::fnuz && code == sign_bit) return kNaN;
  if (f.family == Family::unsigned_fn) return field_value(f, magnitude);
  return negative ? -field_value(f, magnitude) : field_value(f, magnitude);
}

/// v to an integer.
inline double round_to_integer(double v, Direction direction) {
  const double below = std::floor(v);
  const double fraction = v - below;
  switch (direction) {
    case Direction::nearest_even:
      return fraction > 0.5 || (fraction == 0.5 && std::fmod(below, 2.0) != 0.0) ? below + 1 : below;
    case Direction::nearest_away:
      return std::round(v);
    case Direction::toward_zero:
      return std::trunc(v);
    case Direction::up:
      return std::ceil(v);
    case Direction::down:
      return below;
  }
  return v;
}

/// Encodes by search among the values of a format of at most 16 bits. Saturated or as the format itself does; overflow
/// is judged after rounding.
class Encoder {
 public:
  explicit Encoder(const NumberFormat& f) : f_(f) {
    if (f.family == Family::table) table_ = table_of(f);
    if (!is_float_family(f.family) || f.bits > 16) return;
    const std::uint32_t sign_bit = 1u << (f.exponent_bits + f.mantissa_bits);
    std::uint32_t finite = sign_bit;
    if (f.family == Family::ieee) finite = ((1u << f.exponent_bits) - 1u) << f.mantissa_bits;
    if (f.family == Family::fn || f.family == Family::unsigned_fn) finite = sign_bit - 1u;
    for (std::uint32_t code = 0; code <= finite; ++code) magnitudes_.push_back(field_value(f, code));
  }

  [[nodiscard]] std::uint32_t operator()(float x, Direction direction = Direction::nearest_even,
                                         bool saturate = true) const {
    if (f_.family == Family::table) return encode_table(x);
    if (f_.family == Family::sign) return std::isnan(x) || x >= 0 ? 1 : 0;
    if (f_.family == Family::integer) return encode_integer(x, direction);
    if (f_.family == Family::exponent) return encode_exponent(x, direction, saturate);
    if (f_.family == Family::unsigned_fn && !std::isnan(x) && std::signbit(x)) return 0;
    if (f_.bits == 32) return encode_binary32(x, saturate);
    return encode_float(x, direction, saturate);
  }

  /// Values of the magnitude codes in order; the last is the first one beyond the finite range.
  [[nodiscard]] const std::vector<double>& magnitudes() const { return magnitudes_; }

 private:
  [[nodiscard]] std::uint32_t encode_integer(float x, Direction direction) const {
    if (std::isnan(x)) return 0;
    double v = round_to_integer(std::ldexp(static_cast<double>(x), f_.fraction), direction);
    v = std::max(static_cast<double>(f_.low), std::min(static_cast<double>(f_.high), v));
    return static_cast<std::uint32_t>(v < 0 ? v + std::ldexp(1.0, f_.bits) : v);
  }

  [[nodiscard]] std::uint32_t encode_float(float x, Direction direction, bool saturate) const {
    const std::uint32_t sign_bit = 1u << (f_.exponent_bits + f_.mantissa_bits);
    const std::uint32_t sign = std::signbit(x) ? sign_bit : 0;
    const auto finite_codes = static_cast<std::uint32_t>(magnitudes_.size() - 1);
    std::uint32_t not_a_number = sign_bit;                            // fnuz
    if (f_.family == Family::finite) not_a_number = sign_bit - sign;  // ml_dtypes: a zero of the other sign
    if (f_.family == Family::ieee) not_a_number = sign | finite_codes | (1u << (f_.mantissa_bits - 1));
    if (f_.family == Family::fn) not_a_number = sign | (sign_bit - 1u);
    if (f_.family == Family::unsigned_fn) not_a_number = sign_bit - 1u;
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
      // IEEE 754, 7.4: rounding toward zero never leaves the finite numbers, unless the input is none.
      const bool inward = !std::isinf(x) && (direction == Direction::toward_zero ||
                                             direction == (sign != 0 ? Direction::up : Direction::down));
      if (saturate || f_.family == Family::finite || inward)
        code = finite_codes - 1;
      else if (f_.family != Family::ieee)
        return not_a_number;
    }
    if (f_.family == Family::fnuz && code == 0) return 0;
    return sign | code;
  }

  /// Nothing is rounded: what is special is all there is to decide.
  [[nodiscard]] static std::uint32_t encode_binary32(float x, bool saturate) {
    const auto bits = std::bit_cast<std::uint32_t>(x);
    const std::uint32_t sign = bits & 0x80000000u;
    if (std::isnan(x)) return sign | 0x7fc00000u;
    return std::isinf(x) && saturate ? sign | 0x7f7fffffu : bits;
  }

  /// Powers of two by their logarithm; what lies between 0 and the least is the least.
  [[nodiscard]] static std::uint32_t encode_exponent(float x, Direction direction, bool saturate) {
    if (std::isnan(x) || x < 0) return 255;
    if (std::isinf(x)) return saturate ? 254 : 255;
    if (x == 0) return saturate ? 0 : 255;
    const auto v = static_cast<double>(x);
    int exponent = 0;
    static_cast<void>(std::frexp(v, &exponent));
    const double low = std::ldexp(1.0, exponent - 1);
    const int code = exponent - 1 + 127;
    if (code < 0) return 0;
    const double middle = low * 1.5;
    const bool nearest = direction == Direction::nearest_even || direction == Direction::nearest_away;
    const bool up = nearest ? v >= middle : direction == Direction::up && v > low;
    const int rounded = code + (up ? 1 : 0);
    if (rounded <= 254) return static_cast<std::uint32_t>(rounded);
    return saturate ? 254 : 255;
  }

  /// The code of the nearest level, of the lower one of two at the same distance; NaN as 0.
  [[nodiscard]] std::uint32_t encode_table(float x) const {
    const double v = std::isnan(x) ? 0.0 : static_cast<double>(x);
    std::uint32_t best = 0;
    for (std::uint32_t i = 1; i < table_.size(); ++i) {
      const double a = static_cast<double>(static_cast<float>(table_[best]));
      const double b = static_cast<double>(static_cast<float>(table_[i]));
      if (a == b) continue;  // the first code of two with one value
      const double middle = std::min(a, b) + std::fabs(b - a) / 2;
      if (b > a ? v > middle : v <= middle) best = i;
    }
    return best;
  }

  NumberFormat f_;
  std::vector<double> magnitudes_;
  std::vector<double> table_;
};

}  // namespace reference
