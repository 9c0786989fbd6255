// SPDX-License-Identifier: Apache-2.0
// Where other projects' codes differ from those of a format's own rules (docs/numerics.md), written from what their
// sources compute, in double precision or as they do it. Shares no code with the library.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

#include "number_formats.hpp"

namespace reference {

enum class Project { ieee, onnx, ocp, ggml, ct, modelopt };
inline constexpr std::array kProjects{Project::ieee, Project::onnx, Project::ocp,
                                      Project::ggml, Project::ct,   Project::modelopt};

/// The direction where none is asked for.
inline Direction default_direction(const NumberFormat& f, Project p) {
  if (f.family == Family::exponent)
    return p == Project::ocp || p == Project::ggml ? Direction::toward_zero : Direction::up;
  if (f.family == Family::integer && p == Project::ggml) return Direction::nearest_away;  // roundf
  return Direction::nearest_even;
}

/// x as a project has it, where the format's own code under that direction is `code`.
using Deviation = std::uint32_t (*)(const NumberFormat& f, float x, Direction direction, std::uint32_t code);

/// ml_dtypes: all between the two least powers of two becomes the upper one.
inline std::uint32_t ml_dtypes_e8m0(const NumberFormat&, float x, Direction, std::uint32_t code) {
  return x > 0x1p-127f && x < 0x1p-126f ? 1 : code;
}

/// ONNX's Cast: the rounded number modulo 2^bits; what is no number is 0.
inline std::uint32_t onnx_wrapped(const NumberFormat& f, float x, Direction direction, std::uint32_t) {
  const double v = round_to_integer(std::ldexp(static_cast<double>(x), f.fraction), direction);
  if (!(std::fabs(v) < 0x1p62)) return 0;  // as a float, a multiple of 2^38 where it is a number
  return static_cast<std::uint32_t>(static_cast<std::int64_t>(v)) & ((1u << f.bits) - 1u);
}

inline std::uint32_t onnx_e8m0(const NumberFormat&, float x, Direction, std::uint32_t code) {
  return std::isinf(x) ? 255 : code;
}

/// ggml-quants.c, best_index_mxfp4: the first of its list that nothing is nearer than.
inline std::uint32_t ggml_e2m1(const NumberFormat&, float x, Direction, std::uint32_t) {
  constexpr std::array kValues{0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0};
  const double v = std::clamp(static_cast<double>(x), -6.0, 6.0);  // beyond them, distances would differ by nothing
  std::uint32_t best = 0;
  for (std::uint32_t i = 1; i < kValues.size(); ++i)
    if (std::fabs(kValues[i] - v) < std::fabs(kValues[best] - v)) best = i;
  return best;
}

/// ggml-impl.h, ggml_fp32_to_ue4m3: three bits behind the leading one and the fourth to round; subnormal numbers by a
/// product and a sum in float.
inline std::uint32_t ggml_ue4m3(const NumberFormat&, float x, Direction, std::uint32_t) {
  if (!(x > 0.0f)) return 0;
  if (x < 0x1p-6f) return static_cast<std::uint32_t>(std::min(7, static_cast<int>(x * 512.0f + 0.5f)));
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(std::min(x, 448.0f));
  const std::uint32_t code = (bits >> 20) - ((127 - 7) << 3) + (bits >> 19 & 1);
  return code >= 0x78 ? 0x7e : code;
}

/// ggml-quants.c, best_index_int8: of two levels at the same distance the upper one.
inline std::uint32_t ggml_iq4_nl(const NumberFormat&, float x, Direction, std::uint32_t code) {
  if (std::isnan(x)) return code;
  std::uint32_t best = 0;
  const double v = std::clamp(static_cast<double>(x), kIq4Nl.front(), kIq4Nl.back());
  for (std::uint32_t i = 1; i < kIq4Nl.size(); ++i)
    if (std::fabs(kIq4Nl[i] - v) <= std::fabs(kIq4Nl[best] - v)) best = i;
  return best;
}

/// compressed-tensors, mxfp_utils.py: a quarter of the leading bit is added, and the exponent field taken.
inline std::uint32_t ct_e8m0(const NumberFormat&, float x, Direction, std::uint32_t code) {
  if (!(x > 0.0f) || std::isinf(x)) return code;
  return std::min(254u, (std::bit_cast<std::uint32_t>(x) + (1u << 21)) >> 23);
}

inline std::uint32_t unsigned_zero(const NumberFormat&, float x, Direction, std::uint32_t code) {
  return x == 0.0f ? 0 : code;
}

/// How p deviates from the rules of f; null where it does not. `asked`: the direction is not p's own.
inline Deviation deviation(const NumberFormat& f, Project p, Direction direction, bool asked, bool saturate) {
  const bool e8m0 = f.family == Family::exponent;
  const bool e2m1 = f.name == "fp4_e2m1";
  switch (p) {
    case Project::ieee:
      return e8m0 && direction == Direction::nearest_even ? ml_dtypes_e8m0 : nullptr;
    case Project::onnx:
      return f.family == Family::integer && !saturate ? onnx_wrapped : e8m0 ? onnx_e8m0 : nullptr;
    case Project::ocp:
      return nullptr;
    case Project::ggml:
      if (asked) return nullptr;
      return e2m1 ? ggml_e2m1 : f.name == "ue4m3" ? ggml_ue4m3 : f.name == "iq4_nl" ? ggml_iq4_nl : nullptr;
    case Project::ct:
      return e2m1 ? unsigned_zero : e8m0 && !asked ? ct_e8m0 : nullptr;
    case Project::modelopt:
      return e2m1 ? unsigned_zero : nullptr;
  }
  return nullptr;
}

/// The value of a code. ggml reads E8M0's NaN as Inf, and UE4M3's as 0.
inline double decode(const NumberFormat& f, Project p, std::uint32_t code) {
  if (p == Project::ggml && f.family == Family::exponent && code == 0xff)
    return std::numeric_limits<double>::infinity();
  if (p == Project::ggml && f.name == "ue4m3" && code == 0x7f) return 0.0;
  return decode(f, code);
}

}  // namespace reference
