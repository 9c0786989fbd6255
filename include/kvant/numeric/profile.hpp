// SPDX-License-Identifier: Apache-2.0
// The same format as other projects encode it. References disagree about ties, signs of zero, special values and what
// an integer does beyond its range, so every comparison says which of them it follows. docs/numerics.md has the table.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "kvant/core/rng.hpp"
#include "kvant/numeric/formats.hpp"
#include "kvant/numeric/rounding.hpp"

namespace kvant {

enum class Profile : std::uint8_t {
  ieee,      ///< kvant's own, and ml_dtypes': ties to even, -0 kept
  onnx,      ///< ONNX 1.22's test data
  ocp,       ///< OCP MX: E8M0 scales rounded down
  ggml,      ///< ggml's row encoders and its UE4M3
  ct,        ///< compressed-tensors (PyTorch)
  modelopt,  ///< NVIDIA Model-Optimizer
};

inline constexpr std::array<std::string_view, 6> kProfileNames{"ieee", "onnx", "ocp", "ggml", "ct", "modelopt"};

[[nodiscard]] constexpr std::string_view profile_name(Profile p) noexcept {
  return kProfileNames[static_cast<std::size_t>(p)];
}
[[nodiscard]] constexpr std::optional<Profile> profile_from_name(std::string_view name) noexcept {
  for (std::size_t i = 0; i < kProfileNames.size(); ++i)
    if (kProfileNames[i] == name) return static_cast<Profile>(i);
  return std::nullopt;
}

/// How numbers become codes of a format. Where no rounding is given, it is the profile's:
///   E8M0      up; ocp, ggml: toward zero; ct: up from 1.75 times a power of two, else down
///   integers  nearest even; ggml: nearest away (roundf)
///   UE4M3     nearest even; ggml: nearest away
///   E2M1      nearest even; ggml: nearest, ties toward zero
///   IQ4_NL    the lower level at a tie; ggml: the upper one
///   others    nearest even, codebooks the lower level
struct CastRule {
  Profile profile = Profile::ieee;
  Overflow overflow = Overflow::saturate;
  std::optional<Rounding> rounding{};
};

namespace detail {

[[nodiscard]] constexpr Rounding profile_rounding(FormatId format, Profile profile) noexcept {
  const bool ggml = profile == Profile::ggml;
  if (format == format_id<e8m0>) return profile == Profile::ocp || ggml ? Rounding::toward_zero : Rounding::up;
  const bool away = ggml && (format_info(format).kind == FormatKind::integer || format == format_id<ue4m3>);
  return away ? Rounding::nearest_away : Rounding::nearest_even;
}

/// ml_dtypes rounds all that lies between the two least powers of two, 2^-127 and 2^-126, to the upper one.
[[nodiscard]] constexpr bool is_just_above_least_e8m0(float x) noexcept {
  return order_key(x) > order_key(0x1p-127f) && order_key(x) < order_key(0x1p-126f);
}

/// ggml's E2M1: the nearest magnitude, the smaller one at a tie; a zero has no sign, and NaN is zero.
[[nodiscard]] constexpr std::uint32_t ggml_e2m1(float x) noexcept {
  constexpr std::array<float, 7> kMiddles{0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f};
  std::uint32_t code = 0;
  while (!is_nan(x) && code < kMiddles.size() && order_key(magnitude(x)) > order_key(kMiddles[code])) ++code;
  return code != 0 && is_negative(x) ? code | 8u : code;
}

/// ggml's UE4M3: halves go up, subnormals end at 7 * 2^-9, and of the top binade there is 448 alone. Zero, NaN and
/// numbers below zero are 0.
[[nodiscard]] constexpr std::uint32_t ggml_ue4m3(float x) noexcept {
  if (is_nan(x) || is_negative(x)) return 0;
  if (order_key(x) == order_key(0x1.fffffep-11f)) return 1;  // almost half a step; ggml's sum with 0.5 rounds to 1
  const std::uint32_t code = ue4m3::encode(x, {Rounding::nearest_away, Overflow::saturate, 0});
  if (code >= 0x78) return 0x7e;
  return code == 8 && order_key(x) < order_key(0x1p-6f) ? 7 : code;
}

/// ggml's IQ4_NL: the upper one of two levels at the same distance.
[[nodiscard]] constexpr std::uint32_t ggml_iq4_nl(float x) noexcept {
  const std::uint32_t lower = iq4_nl::encode(x);
  if (lower == 15 || is_nan(x)) return lower;
  const float middle = (iq4_nl::kLevels[lower] + iq4_nl::kLevels[lower + 1]) / 2;
  return order_key(x) == order_key(middle) ? lower + 1 : lower;
}

/// ONNX's Cast to an integer keeps the low bits of the rounded number; NaN and Inf are 0.
[[nodiscard]] constexpr std::uint32_t wrapped_integer(const FormatInfo& f, float x, RoundingMode mode) noexcept {
  constexpr std::int32_t kFar = INT32_MAX;
  // From 2^31 on a float is a multiple of 256, whose low bits are 0.
  if (is_nan(x) || order_key(magnitude(x)) >= order_key(0x1p31f * f.step())) return 0;
  const std::int32_t value = to_integer(x, -kFar, kFar, mode, f.fraction_bits);
  return static_cast<std::uint32_t>(value) & ((1u << f.bits) - 1u);
}

/// compressed-tensors' power of two: a quarter is added to the fraction before it is cut off.
[[nodiscard]] constexpr std::uint32_t ct_e8m0(float x, Overflow overflow) noexcept {
  const std::uint32_t down = e8m0::encode(x, {Rounding::toward_zero, overflow, 0});
  if (!is_finite(x) || (float_bits(x) & 0x600000u) != 0x600000u || down >= e8m0::kMaxCode) return down;
  return down + 1;
}

/// The direction that a rule means: its own, or that of its profile.
[[nodiscard]] constexpr Rounding rounding_of(FormatId format, const CastRule& rule) noexcept {
  return rule.rounding ? *rule.rounding : profile_rounding(format, rule.profile);
}

}  // namespace detail

/// The code of x. `random` decides where the rounding is stochastic.
[[nodiscard]] constexpr std::uint32_t cast(FormatId format, float x, const CastRule& rule,
                                           std::uint32_t random = 0) noexcept {
  const FormatInfo& f = format_info(format);
  const Rounding rounding = detail::rounding_of(format, rule);
  const RoundingMode mode{rounding, rule.overflow, random};
  switch (rule.profile) {
    case Profile::ocp:
      break;
    case Profile::ieee:
      if (format == format_id<e8m0> && rounding == Rounding::nearest_even && detail::is_just_above_least_e8m0(x))
        return 1;
      break;
    case Profile::onnx:
      if (f.kind == FormatKind::integer && f.thresholds == nullptr && rule.overflow == Overflow::ieee)
        return detail::wrapped_integer(f, x, mode);
      if (format == format_id<e8m0> && is_inf(x)) return e8m0::kNaN;
      break;
    case Profile::ggml:
      if (rule.rounding) break;
      if (format == format_id<fp4_e2m1>) return detail::ggml_e2m1(x);
      if (format == format_id<ue4m3>) return detail::ggml_ue4m3(x);
      if (format == format_id<iq4_nl>) return detail::ggml_iq4_nl(x);
      break;
    case Profile::ct:
      if (format == format_id<e8m0> && !rule.rounding) return detail::ct_e8m0(x, rule.overflow);
      [[fallthrough]];
    case Profile::modelopt:
      if (format == format_id<fp4_e2m1> && order_key(x) == 0) return 0;
      break;
  }
  return f.encode(x, mode);
}

/// The value of a code. ggml reads E8M0's NaN as Inf, and UE4M3's as 0.
[[nodiscard]] constexpr float decode(FormatId format, std::uint32_t code, Profile profile) noexcept {
  if (profile == Profile::ggml && format == format_id<e8m0> && code == 0xff) return std::bit_cast<float>(0x7f800000u);
  if (profile == Profile::ggml && format == format_id<ue4m3> && code == 0x7f) return 0.0f;
  return format_info(format).decode(code);
}

/// Whether x is beyond the format's range even after the rounding of cast(). NaN is not; for codebooks the range ends
/// at the outermost levels.
[[nodiscard]] constexpr bool saturates(FormatId format, float x, const CastRule& rule,
                                       std::uint32_t random = 0) noexcept {
  const FormatInfo& f = format_info(format);
  if (is_nan(x)) return false;
  if (is_inf(x)) return true;
  if (!rule.rounding && rule.profile == Profile::ct && format == format_id<e8m0>)
    return order_key(x) >= order_key(0x1.cp127f);
  if (!rule.rounding && rule.profile == Profile::ggml && format == format_id<fp4_e2m1>)
    return order_key(magnitude(x)) > order_key(7.0f);  // a tie goes toward zero
  const Rounding rounding = detail::rounding_of(format, rule);
  const RoundingMode mode{rounding, Overflow::ieee, random};
  if (f.thresholds != nullptr)
    return order_key(x) < order_key(f.decode(f.encode(std::bit_cast<float>(0xff800000u)))) ||
           order_key(x) > order_key(f.decode(f.encode(std::bit_cast<float>(0x7f800000u))));
  if (f.kind == FormatKind::integer) {
    const std::int32_t value = to_integer(x, INT32_MIN, INT32_MAX, mode, f.fraction_bits);
    return value < f.low || value > f.high;
  }
  if (f.kind == FormatKind::exponent) return !is_negative(x) && order_key(x) != 0 && f.encode(x, mode) == e8m0::kNaN;
  if (!f.is_signed && is_negative(x)) return order_key(x) != 0;
  // A binade lower the same fraction is rounded the same way, within the range.
  const float half = magnitude(x) / 2;
  if (order_key(half) > order_key(f.max)) return true;
  const float rounded = f.decode(f.encode(is_negative(x) ? -half : half, {rounding, Overflow::saturate, random}));
  return order_key(magnitude(rounded)) > order_key(f.max / 2);
}

/// 32 random bits for element `index` of a stream: stochastic rounding that does not depend on the order of work.
[[nodiscard]] constexpr std::uint32_t random_bits(std::uint64_t seed, std::uint64_t index) noexcept {
  return static_cast<std::uint32_t>(mix64(mix64(seed) + index) >> 32);
}

}  // namespace kvant
