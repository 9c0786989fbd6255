// SPDX-License-Identifier: Apache-2.0
// What is done to a layer's inputs before the product: the part of a layer's scheme behind the slash.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "kvant/numeric/formats.hpp"
#include "kvant/quant/granularity.hpp"
#include "kvant/quant/scheme_text.hpp"
#include "kvant/quant/symmetry.hpp"

namespace kvant {

/// Rows of inputs are rounded to codes under plain scales, as compressed-tensors does it, and count as what the codes
/// stand for.
struct ActivationScheme {
  FormatId format = format_id<int8>;
  Granularity granularity = PerToken{};  ///< one scale for each row, for each group of a row, or for all inputs
  Symmetry symmetry = Symmetry::symmetric;
  FormatId scale_type = format_id<fp32>;
  /// Scale and zero point of all inputs come with the layer; of NVFP4 the tensor-wide scale does.
  bool is_static = false;

  friend constexpr bool operator==(const ActivationScheme&, const ActivationScheme&) = default;
};

/// The parameters that a layer brings for its inputs, where its scheme is static. Of NVFP4 `scale` divides the scales
/// of groups, as compressed-tensors' input_global_scale.
struct InputParameters {
  float scale = 1.0f;
  std::int32_t zero = 0;

  friend constexpr bool operator==(const InputParameters&, const InputParameters&) = default;
};

/// What becomes of a layer's inputs.
struct LayerInputs {
  std::optional<ActivationScheme> activation{};  ///< nothing: they are taken as they are
  InputParameters parameters{};                  ///< where that is static

  friend constexpr bool operator==(const LayerInputs&, const LayerInputs&) = default;
};

/// Names for whole schemes of activations.
struct BlockActivation {
  std::string_view name;
  ActivationScheme scheme;
};
inline constexpr std::array kBlockActivations{
    BlockActivation{"mxfp8_e4m3fn", {format_id<fp8_e4m3fn>, PerGroup{32}, Symmetry::symmetric, format_id<e8m0>, false}},
    BlockActivation{"mxfp4", {format_id<fp4_e2m1>, PerGroup{32}, Symmetry::symmetric, format_id<e8m0>, false}},
    BlockActivation{"nvfp4", {format_id<fp4_e2m1>, PerGroup{16}, Symmetry::symmetric, format_id<fp8_e4m3fn>, true}},
};

namespace detail {

inline constexpr const char* kActivationHint =
    "activations may be intN or fp8_e4m3fn '-token', '-gN' or '-tensor-static' (int8-token, int8-token-asym), or "
    "mxfp4, mxfp8_e4m3fn, nvfp4";

}  // namespace detail

/// Whether the parts fit together.
[[nodiscard]] constexpr bool is_valid(const ActivationScheme& s) noexcept {
  for (const BlockActivation& b : kBlockActivations)
    if (b.scheme == s) return true;
  const FormatInfo& info = format_info(s.format);
  const bool integer = info.kind == FormatKind::integer && info.is_signed && info.fraction_bits == 0 &&
                       info.bits <= 8 && -info.low == info.high + 1;
  if ((!integer && s.format != format_id<fp8_e4m3fn>) || s.scale_type != format_id<fp32>) return false;
  if (s.symmetry != Symmetry::symmetric && (!integer || s.symmetry != Symmetry::asymmetric)) return false;
  const Granularity::Kind kind = s.granularity.kind();
  if (kind == Granularity::Kind::tensor) return s.is_static;
  if (s.is_static) return false;
  return kind == Granularity::Kind::token || (kind == Granularity::Kind::group && s.granularity.cols_parameter() != 0);
}

/// Parses the text form exactly; nothing where it is none.
[[nodiscard]] inline std::optional<ActivationScheme> parse_activation(std::string_view text) {
  for (const BlockActivation& b : kBlockActivations)
    if (b.name == text) return b.scheme;
  if (text.ends_with('-')) return std::nullopt;
  const auto format = format_from_name(detail::take_until(text, '-'));
  const auto granularity = detail::parse_granularity(detail::take_until(text, '-'));
  if (!format || !granularity) return std::nullopt;
  ActivationScheme s{*format, *granularity};
  if (text == "asym" || text.starts_with("asym-")) {
    s.symmetry = Symmetry::asymmetric;
    detail::take_until(text, '-');
  }
  s.is_static = text == "static";
  return (text.empty() || s.is_static) && is_valid(s) ? std::optional(s) : std::nullopt;
}

/// The text form: parse_activation(to_text(s)) == s.
[[nodiscard]] inline std::string to_text(const ActivationScheme& s) {
  for (const BlockActivation& b : kBlockActivations)
    if (b.scheme == s) return std::string(b.name);
  std::string text = std::string(format_info(s.format).name) + "-" + detail::granularity_text(s.granularity);
  if (s.symmetry == Symmetry::asymmetric) text += "-asym";
  if (s.is_static) text += "-static";
  return text;
}

}  // namespace kvant
