// SPDX-License-Identifier: Apache-2.0
// The minifloat engine: sign, exponent and mantissa fields of any width up to binary32, with the four conventions for
// special values that are in use.
#pragma once

#include <cstdint>
#include <type_traits>

#include "kvant/numeric/integer.hpp"
#include "kvant/numeric/rounding.hpp"

namespace kvant {

/// What the codes at the top of the range mean.
enum class Specials : std::uint8_t {
  ieee,    ///< largest exponent: Inf and NaN, as IEEE 754
  fn,      ///< finite and NaN: only all ones is NaN, no Inf (OCP E4M3)
  fnuz,    ///< finite, NaN, unsigned zero: 0x80 is the only NaN, no Inf, no -0
  finite,  ///< every code is a number (OCP FP4, FP6)
};

/// A float of 1 + ExponentBits + MantissaBits bits. Rounds to nearest even by default, subnormals included; overflow is
/// judged after rounding, and a direction that leads toward zero ends at the largest finite number (IEEE 754-2019,
/// 7.4). NaN becomes the format's NaN with the sign kept; in formats without one it becomes -0, and a NaN whose
/// sign is set +0, as in ml_dtypes.
template <int ExponentBits, int MantissaBits, int Bias, Specials S>
struct Minifloat {
  static_assert(ExponentBits >= 1 && ExponentBits <= 8 && MantissaBits >= 0 && MantissaBits <= 23,
                "a minifloat's fields fit into binary32");
  static_assert(S != Specials::ieee || MantissaBits >= 1, "IEEE specials need a mantissa bit to tell NaN from Inf");
  static constexpr unsigned kBits = 1 + ExponentBits + MantissaBits;
  using Code =
      std::conditional_t<kBits <= 8, std::uint8_t, std::conditional_t<kBits <= 16, std::uint16_t, std::uint32_t>>;
  static constexpr FormatKind kKind = FormatKind::minifloat;
  static constexpr int kMantissaBits = MantissaBits;
  static constexpr int kMinExponent = 1 - Bias;  ///< of normal numbers
  static constexpr bool kHasInf = S == Specials::ieee;
  static constexpr bool kHasNaN = S != Specials::finite;
  static constexpr Code kSign = static_cast<Code>(std::uint32_t{1} << (kBits - 1));
  static constexpr Code kInf = static_cast<Code>(((std::uint32_t{1} << ExponentBits) - 1) << MantissaBits);
  /// The magnitude code of the largest finite number.
  static constexpr Code kMaxCode =
      static_cast<Code>(S == Specials::ieee ? kInf - 1 : kSign - (S == Specials::fn ? 2 : 1));

  [[nodiscard]] static constexpr Code nan(bool negative) noexcept {
    if constexpr (S == Specials::ieee) {
      constexpr std::uint32_t kQuiet = std::uint32_t{1} << (MantissaBits - 1);
      return static_cast<Code>((negative ? kSign : 0) | kInf | kQuiet);
    } else if constexpr (S == Specials::fn) {
      return static_cast<Code>((negative ? kSign : 0) | (kSign - 1));
    } else if constexpr (S == Specials::fnuz) {
      return kSign;
    } else {
      return negative ? 0 : kSign;  // minus the zero that stands for NaN
    }
  }

  [[nodiscard]] static constexpr Code encode(float x, RoundingMode mode = {}) noexcept {
    const bool negative = is_negative(x);
    const std::uint32_t magnitude_bits = float_bits(x) & 0x7fffffffu;
    if (mode.rounding == Rounding::nearest_even && magnitude_bits >= kNormalBits &&
        magnitude_bits <= float_bits(kMax)) {
      // The usual case. A carry out of the mantissa walks into the exponent.
      const std::uint32_t odd = (magnitude_bits >> kDropped) & 1u;
      const std::uint32_t rounded = (magnitude_bits + ((std::uint32_t{1} << kDropped) - 1 + odd) / 2) >> kDropped;
      return static_cast<Code>((negative ? kSign : 0) | (rounded - (kRebias >> kDropped)));
    }
    if (is_nan(x)) return nan(negative);
    std::uint64_t fields = std::uint64_t{kMaxCode} + 1;
    if (!is_inf(x)) fields = round_to_fields<MantissaBits, 1 - Bias>(unpack(x), mode);
    if (fields > kMaxCode) {
      const bool inward = !is_inf(x) && rounds_toward_zero(mode.rounding, negative);
      if (mode.overflow == Overflow::saturate || S == Specials::finite || inward) {
        fields = kMaxCode;
      } else if constexpr (kHasInf) {
        fields = kInf;
      } else {
        return nan(negative);
      }
    }
    if (S == Specials::fnuz && fields == 0) return 0;
    return static_cast<Code>((negative ? kSign : 0) | fields);
  }

  [[nodiscard]] static constexpr float decode(Code code) noexcept {
    const std::uint32_t sign = (code & kSign) != 0 ? 0x80000000u : 0;
    const std::uint32_t fields = code & static_cast<Code>(kSign - 1);
    if constexpr (S == Specials::ieee) {
      // The NaN's payload moves to the top of the mantissa, as hardware conversions do.
      if (fields >= kInf) return std::bit_cast<float>(sign | 0x7f800000u | ((fields - kInf) << (23 - MantissaBits)));
    } else if constexpr (S == Specials::fn) {
      if (fields == kSign - 1u) return std::bit_cast<float>(sign | 0x7fc00000u);
    } else if constexpr (S == Specials::fnuz) {
      if (code == kSign) return std::bit_cast<float>(0x7fc00000u);
    }
    if (fields >> MantissaBits != 0) return std::bit_cast<float>(sign | ((fields << kDropped) + kRebias));
    const Unpacked u{sign != 0, fields, kMinExponent - MantissaBits};
    return std::bit_cast<float>(sign | static_cast<std::uint32_t>(round_to_fields<23, -126>(u, {})));
  }

  static constexpr float kMax = decode(kMaxCode);

 private:
  static_assert(kMinExponent >= -126 && kMinExponent <= 127, "normal numbers are normal in binary32");
  static constexpr std::uint32_t kNormalBits = static_cast<std::uint32_t>(kMinExponent + 127) << 23;
  static constexpr int kDropped = 23 - MantissaBits;  ///< mantissa bits that binary32 has and the format has not
  static constexpr std::uint32_t kRebias = static_cast<std::uint32_t>(127 - Bias) << 23;
};

/// The magnitudes of a minifloat with the sign bit left out of use: numbers below zero become 0, NaN the positive NaN,
/// and decoding ignores the sign bit.
template <class Signed>
struct UnsignedMinifloat {
  static constexpr unsigned kBits = Signed::kBits;
  using Code = typename Signed::Code;
  static constexpr FormatKind kKind = FormatKind::minifloat;
  static constexpr int kMantissaBits = Signed::kMantissaBits;
  static constexpr int kMinExponent = Signed::kMinExponent;
  static constexpr bool kHasInf = Signed::kHasInf;
  static constexpr bool kHasNaN = Signed::kHasNaN;
  static constexpr bool kIsSigned = false;
  static constexpr Code kMaxCode = Signed::kMaxCode;
  static constexpr float kMax = Signed::kMax;

  [[nodiscard]] static constexpr Code encode(float x, RoundingMode mode = {}) noexcept {
    if (is_nan(x)) return Signed::nan(false);
    return is_negative(x) ? Code{0} : Signed::encode(x, mode);
  }
  [[nodiscard]] static constexpr float decode(Code code) noexcept {
    return Signed::decode(static_cast<Code>(code & static_cast<Code>(Signed::kSign - 1)));
  }
};

}  // namespace kvant
