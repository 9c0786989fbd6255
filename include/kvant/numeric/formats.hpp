// SPDX-License-Identifier: Apache-2.0
// The list of number formats. Adding one is adding a struct and its name in `AllFormats`: the runtime tag, the text
// name, the command line's list, the exhaustive tests and the documentation follow from it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "kvant/numeric/codebook.hpp"
#include "kvant/numeric/exponent.hpp"
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
/// FP8 E4M3 without OCP's exception: 1-4-3, bias 7, max 240, Inf, NaN, subnormals down to 2^-9.
struct fp8_e4m3 : Minifloat<4, 3, 7, Specials::ieee> {
  static constexpr std::string_view kName = "fp8_e4m3";
};
/// FP8 E3M4: 1-3-4, bias 3, max 15.5, Inf, NaN, subnormals down to 2^-6.
struct fp8_e3m4 : Minifloat<3, 4, 3, Specials::ieee> {
  static constexpr std::string_view kName = "fp8_e3m4";
};
/// FP8 E4M3FNUZ (Graphcore, AMD): 1-4-3, bias 8, max 240, no Inf, no -0, 0x80 is NaN, subnormals down to 2^-10.
struct fp8_e4m3fnuz : Minifloat<4, 3, 8, Specials::fnuz> {
  static constexpr std::string_view kName = "fp8_e4m3fnuz";
};
/// FP8 E5M2FNUZ: 1-5-2, bias 16, max 57344, no Inf, no -0, 0x80 is NaN, subnormals down to 2^-17.
struct fp8_e5m2fnuz : Minifloat<5, 2, 16, Specials::fnuz> {
  static constexpr std::string_view kName = "fp8_e5m2fnuz";
};
/// FP8 E4M3B11FNUZ: 1-4-3, bias 11, max 30, no Inf, no -0, 0x80 is NaN, subnormals down to 2^-13.
struct fp8_e4m3b11fnuz : Minifloat<4, 3, 11, Specials::fnuz> {
  static constexpr std::string_view kName = "fp8_e4m3b11fnuz";
};
/// OCP FP6 E3M2: 1-3-2, bias 3, max 28, no Inf, no NaN, subnormals down to 2^-4.
struct fp6_e3m2 : Minifloat<3, 2, 3, Specials::finite> {
  static constexpr std::string_view kName = "fp6_e3m2";
};
/// OCP FP6 E2M3: 1-2-3, bias 1, max 7.5, no Inf, no NaN, subnormals down to 2^-3.
struct fp6_e2m3 : Minifloat<2, 3, 1, Specials::finite> {
  static constexpr std::string_view kName = "fp6_e2m3";
};
/// OCP FP4 E2M1: 1-2-1, bias 1, {0, .5, 1, 1.5, 2, 3, 4, 6}, no Inf, no NaN.
struct fp4_e2m1 : Minifloat<2, 1, 1, Specials::finite> {
  static constexpr std::string_view kName = "fp4_e2m1";
};
/// OCP E8M0, scales only: 8 exponent bits, bias 127, powers of two from 2^-127 to 2^127, no sign, no zero, 0xff is NaN.
struct e8m0 : Exponent8 {
  static constexpr std::string_view kName = "e8m0";
};
/// UE4M3, scales only: E4M3FN whose sign bit is never set, max 448, 0x7f is NaN.
struct ue4m3 : UnsignedMinifloat<fp8_e4m3fn> {
  static constexpr std::string_view kName = "ue4m3";
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
/// The element of OCP MXINT8: two's complement with 6 bits behind the point, -2 … 1.984375.
struct int8_q6 : Integer<8, -128, 127, 6> {
  static constexpr std::string_view kName = "int8_q6";
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

/// bitsandbytes' FP4: a sign bit over {0, .0625, 8, 12, 4, 6, 2, 3} / 12, which is no E2M1. Code 8 is a second zero.
struct Fp4BnbLevels {
  static constexpr std::array<float, 15> kLevels{-1.0f,      -8.0f / 12,    -6.0f / 12, -4.0f / 12,   -3.0f / 12,
                                                 -2.0f / 12, -0.0625f / 12, 0.0f,       0.0625f / 12, 2.0f / 12,
                                                 3.0f / 12,  4.0f / 12,     6.0f / 12,  8.0f / 12,    1.0f};
  static constexpr std::array<std::uint8_t, 15> kCodes{11, 10, 13, 12, 15, 14, 9, 0, 1, 6, 7, 4, 5, 2, 3};
};
/// 15 levels in [-1, 1] under the code numbers of bitsandbytes, no Inf, no NaN.
struct fp4_bnb : Codebook<Fp4BnbLevels> {
  static constexpr std::string_view kName = "fp4_bnb";
};

/// The 16 levels of ggml's IQ4_NL, which has no zero.
struct Iq4NlLevels {
  static constexpr std::array<float, 16> kLevels{-127, -104, -83, -65, -49, -35, -22, -10,
                                                 1,    13,   25,  38,  53,  69,  89,  113};
};
/// 16 levels in [-127, 113], no zero, no Inf, no NaN.
struct iq4_nl : Codebook<Iq4NlLevels> {
  static constexpr std::string_view kName = "iq4_nl";
};

/// {0, 2, 4, 6}: the codes of `is2`, whose zero points may lie halfway between two of them.
struct Even2Levels {
  static constexpr std::array<float, 4> kLevels{0, 2, 4, 6};
};
struct even2 : Codebook<Even2Levels> {
  static constexpr std::string_view kName = "even2";
  static constexpr int kStoredStep = 2;  ///< a level is 2 * code
};

template <Format... F>
struct FormatList {
  static constexpr std::size_t kSize = sizeof...(F);
};

/// Every format, in the order of listings. The position is the number in `FormatId`.
using AllFormats =
    FormatList<fp32, fp16, bf16, fp8_e4m3fn, fp8_e5m2, fp8_e4m3, fp8_e3m4, fp8_e4m3fnuz, fp8_e5m2fnuz, fp8_e4m3b11fnuz,
               fp6_e3m2, fp6_e2m3, fp4_e2m1, e8m0, ue4m3, int8, int7, int6, int5, int4, int3, int2, int1, uint8, uint7,
               uint6, uint5, uint4, uint3, uint2, uint1, ternary, int8_q6, nf4, fp4_bnb, iq4_nl, even2>;

inline constexpr auto kFormats = detail::make_format_table(AllFormats{});

/// The tag of a format type: `format_id<int4>`, or that of a struct of your own.
template <Format F>
inline constexpr FormatId format_id = detail::id_of<F>(AllFormats{});

[[nodiscard]] constexpr const FormatInfo& format_info(FormatId id) noexcept {
  return id.custom != nullptr ? *id.custom : kFormats[id.index];
}

/// The format that has these properties, in the list or outside of it; then it names `format`, which has to live as
/// long.
[[nodiscard]] constexpr FormatId format_from_info(const FormatInfo& format) noexcept {
  for (std::size_t i = 0; i < kFormats.size(); ++i)
    if (&kFormats[i] == &format) return {static_cast<std::uint8_t>(i), nullptr};
  return {FormatId::kCustom, &format};
}

/// The format of that name, if the list has it.
[[nodiscard]] constexpr std::optional<FormatId> format_from_name(std::string_view name) noexcept {
  for (std::size_t i = 0; i < kFormats.size(); ++i)
    if (kFormats[i].name == name) return FormatId{static_cast<std::uint8_t>(i), nullptr};
  return std::nullopt;
}

}  // namespace kvant
