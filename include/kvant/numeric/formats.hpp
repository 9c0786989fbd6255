// SPDX-License-Identifier: Apache-2.0
// The list of number formats. Adding one is adding a struct and its name in `AllFormats`: the runtime tag, the text
// name, the command line's list, the exhaustive tests and the documentation follow from it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <type_traits>

#include "kvant/numeric/codebook.hpp"
#include "kvant/numeric/format.hpp"
#include "kvant/numeric/integer.hpp"
#include "kvant/numeric/minifloat.hpp"

namespace kvant {

/// binary32: 32 bits, bias 127, max 3.4028235e38, Inf, NaN, subnormals down to 2^-149.
struct fp32 : Minifloat<8, 23, 127, Specials::ieee> {
  static constexpr std::string_view kName = "fp32";
};
/// binary16: 1-5-10, bias 15, max 65504, Inf, NaN, subnormals down to 2^-24.
struct fp16 : Minifloat<5, 10, 15, Specials::ieee> {
  static constexpr std::string_view kName = "fp16";
};
/// bfloat16: 1-8-7, bias 127, max 3.39e38, Inf, NaN, subnormals down to 2^-133.
struct bf16 : Minifloat<8, 7, 127, Specials::ieee> {
  static constexpr std::string_view kName = "bf16";
};
/// OCP FP8 E4M3: 1-4-3, bias 7, max 448, no Inf, two NaN codes, subnormals down to 2^-9.
struct fp8_e4m3fn : Minifloat<4, 3, 7, Specials::fn> {
  static constexpr std::string_view kName = "fp8_e4m3fn";
};
/// OCP FP8 E5M2: 1-5-2, bias 15, max 57344, Inf, NaN, subnormals down to 2^-16.
struct fp8_e5m2 : Minifloat<5, 2, 15, Specials::ieee> {
  static constexpr std::string_view kName = "fp8_e5m2";
};
/// OCP FP4 E2M1: 1-2-1, bias 1, {0, .5, 1, 1.5, 2, 3, 4, 6}, no Inf, no NaN.
struct fp4_e2m1 : Minifloat<2, 1, 1, Specials::finite> {
  static constexpr std::string_view kName = "fp4_e2m1";
};

struct int8 : SignedInteger<8> {
  static constexpr std::string_view kName = "int8";
};
struct int7 : SignedInteger<7> {
  static constexpr std::string_view kName = "int7";
};
struct int6 : SignedInteger<6> {
  static constexpr std::string_view kName = "int6";
};
struct int5 : SignedInteger<5> {
  static constexpr std::string_view kName = "int5";
};
struct int4 : SignedInteger<4> {
  static constexpr std::string_view kName = "int4";
};
struct int3 : SignedInteger<3> {
  static constexpr std::string_view kName = "int3";
};
struct int2 : SignedInteger<2> {
  static constexpr std::string_view kName = "int2";
};
/// {-1, +1}.
struct int1 : SignBit {
  static constexpr std::string_view kName = "int1";
};
struct uint8 : UnsignedInteger<8> {
  static constexpr std::string_view kName = "uint8";
};
struct uint7 : UnsignedInteger<7> {
  static constexpr std::string_view kName = "uint7";
};
struct uint6 : UnsignedInteger<6> {
  static constexpr std::string_view kName = "uint6";
};
struct uint5 : UnsignedInteger<5> {
  static constexpr std::string_view kName = "uint5";
};
struct uint4 : UnsignedInteger<4> {
  static constexpr std::string_view kName = "uint4";
};
struct uint3 : UnsignedInteger<3> {
  static constexpr std::string_view kName = "uint3";
};
struct uint2 : UnsignedInteger<2> {
  static constexpr std::string_view kName = "uint2";
};
struct uint1 : UnsignedInteger<1> {
  static constexpr std::string_view kName = "uint1";
};
/// {-1, 0, +1}, stored in two bits of two's complement; code 2 never appears.
struct ternary : Integer<2, -1, 1> {
  static constexpr std::string_view kName = "ternary";
};

/// The 16 levels of NF4: quantiles of N(0, 1) normalized to [-1, 1], with an exact zero (Dettmers et al. 2023,
/// "QLoRA", appendix E).
struct Nf4Levels {
  static constexpr std::array<float, 16> kLevels{-1.0f,
                                                 -0.6961928009986877f,
                                                 -0.5250730514526367f,
                                                 -0.39491748809814453f,
                                                 -0.28444138169288635f,
                                                 -0.18477343022823334f,
                                                 -0.09105003625154495f,
                                                 0.0f,
                                                 0.07958029955625534f,
                                                 0.16093020141124725f,
                                                 0.24611230194568634f,
                                                 0.33791524171829224f,
                                                 0.44070982933044434f,
                                                 0.5626170039176941f,
                                                 0.7229568362236023f,
                                                 1.0f};
};
/// 4-bit NormalFloat: 16 levels in [-1, 1], zero at index 7, no Inf, no NaN.
struct nf4 : Codebook<Nf4Levels> {
  static constexpr std::string_view kName = "nf4";
};

template <Format... F>
struct FormatList {
  static constexpr std::size_t kSize = sizeof...(F);
};

/// Every format, in the order of listings. The position is the runtime tag `FormatId`.
using AllFormats = FormatList<fp32, fp16, bf16, fp8_e4m3fn, fp8_e5m2, fp4_e2m1, int8, int7, int6, int5, int4, int3,
                              int2, int1, uint8, uint7, uint6, uint5, uint4, uint3, uint2, uint1, ternary, nf4>;

/// A format at run time: its position in `AllFormats`.
enum class FormatId : std::uint8_t {};

/// The erased view of a format.
struct FormatInfo {
  std::string_view name;
  unsigned bits;
  FormatKind kind;
  bool is_signed;
  bool has_inf;
  bool has_nan;
  float max;  ///< largest finite value
  /// Integers: least and largest value; 0 otherwise.
  int low, high;
  /// Minifloats: stored mantissa bits and least exponent of normal numbers; 0 otherwise.
  int mantissa_bits, min_exponent;
  /// Codebooks and int1: order keys, one fewer than levels; the index of x is the number of them below order_key(x).
  const std::int32_t* thresholds;
  unsigned threshold_count;
  std::uint32_t (*encode)(float x, RoundingMode mode);
  float (*decode)(std::uint32_t code);
};

namespace detail {

template <Format F>
constexpr FormatInfo make_format_info() noexcept {
  FormatInfo info{};
  info.name = F::kName;
  info.bits = F::kBits;
  info.kind = F::kKind;
  info.has_inf = F::kHasInf;
  info.has_nan = F::kHasNaN;
  info.max = F::kMax;
  info.encode = [](float x, RoundingMode mode) -> std::uint32_t { return F::encode(x, mode); };
  info.decode = [](std::uint32_t code) { return F::decode(static_cast<typename F::Code>(code)); };
  if constexpr (F::kKind == FormatKind::integer) {
    info.low = F::kLow;
    info.high = F::kHigh;
    info.is_signed = F::kLow < 0;
  } else {
    info.is_signed = true;
  }
  if constexpr (F::kKind == FormatKind::minifloat) {
    info.mantissa_bits = F::kMantissaBits;
    info.min_exponent = F::kMinExponent;
  }
  if constexpr (requires { F::kThresholds; }) {
    info.thresholds = F::kThresholds.data();
    info.threshold_count = static_cast<unsigned>(F::kThresholds.size());
  }
  return info;
}

template <Format... F>
constexpr std::array<FormatInfo, sizeof...(F)> make_format_table(FormatList<F...>) noexcept {
  return {make_format_info<F>()...};
}

template <class F, class... G>
constexpr FormatId index_of(FormatList<G...>) noexcept {
  std::size_t index = 0;
  const bool found = ((std::is_same_v<F, G> || (++index, false)) || ...);
  return static_cast<FormatId>(found ? index : 0xff);
}

}  // namespace detail

inline constexpr auto kFormats = detail::make_format_table(AllFormats{});

[[nodiscard]] constexpr const FormatInfo& format_info(FormatId id) noexcept {
  return kFormats[static_cast<std::size_t>(id)];
}

/// The tag of a format type: `format_id<int4>`.
template <Format F>
inline constexpr FormatId format_id = detail::index_of<F>(AllFormats{});

/// The format of that name, if there is one.
[[nodiscard]] constexpr std::optional<FormatId> format_from_name(std::string_view name) noexcept {
  for (std::size_t i = 0; i < kFormats.size(); ++i)
    if (kFormats[i].name == name) return static_cast<FormatId>(i);
  return std::nullopt;
}

}  // namespace kvant
