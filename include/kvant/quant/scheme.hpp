// SPDX-License-Identifier: Apache-2.0
// A scheme says how a weight is stored: format, granularity, symmetry, and how its scales and offsets are. Its text
// form is `FORMAT[-GRANULARITY][-sym|-asym|-full|-fzero][-scale:TYPE][-dq]`, e.g. `int4-g128`, `fp8_e4m3fn-channel`,
// `int4-g32-asym-scale:fp32`, `uint4-g64-fzero`, `nf4-g64-dq`, `bf16`. Block formats (`kBlockFormats`) are names for
// whole schemes: `mxfp4`, `nvfp4`, `q4_k`, `is4`.
#pragma once

#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "kvant/core/error.hpp"
#include "kvant/numeric/formats.hpp"
#include "kvant/quant/granularity.hpp"
#include "kvant/quant/number_stack.hpp"
#include "kvant/quant/scheme_text.hpp"
#include "kvant/quant/symmetry.hpp"

namespace kvant {

/// value = scale * (level - zero point) - offset, with a scale for each group, an integer zero point where the scheme
/// is asymmetric, and a float offset where it has any.
struct Scheme {
  FormatId format = format_id<fp32>;
  Granularity granularity{};
  Symmetry symmetry = Symmetry::symmetric;
  NumberStack scales{};
  std::optional<NumberStack> offsets{};

  /// fp32, fp16 and bf16 are stored as they are, without scales.
  [[nodiscard]] constexpr bool is_cast() const noexcept { return granularity.kind() == Granularity::Kind::none; }
  [[nodiscard]] constexpr const FormatInfo& info() const noexcept { return format_info(format); }
  /// Whether something is stored once for the whole matrix, so that its rows cannot be quantized one after the other.
  [[nodiscard]] constexpr bool spans_matrix() const noexcept {
    return granularity.kind() == Granularity::Kind::tensor || scales.spans_matrix() ||
           (offsets && offsets->spans_matrix());
  }
  /// Whether the inner scales are integers that are chosen and stored together with a zero point out of few: is4, is3,
  /// is2. See integer_scale_rule.hpp.
  [[nodiscard]] constexpr bool has_integer_scales() const noexcept {
    return symmetry == Symmetry::asymmetric && scales.is_nested_in_rows();
  }
  /// Whether a group's numbers may be chosen anew while others stand: no number that is still to be chosen is shared.
  [[nodiscard]] constexpr bool has_free_groups() const noexcept {
    const bool in_a_row =
        granularity.kind() == Granularity::Kind::group || granularity.kind() == Granularity::Kind::channel;
    return in_a_row && (!scales.outer || scales.has_matrix_number()) && (!offsets || !offsets->outer);
  }
  friend constexpr bool operator==(const Scheme&, const Scheme&) = default;
};

/// A name for a whole scheme.
struct BlockFormat {
  std::string_view name;
  Scheme scheme;
};

/// Columns of a row that share an outer scale in is4, is3 and is2.
inline constexpr std::size_t kSuperScaleColumns = 2048;
/// Scales that share a step under -dq, in row-major order.
inline constexpr std::size_t kScalesPerStep = 256;

namespace detail {

constexpr NumberStack in_rows(FormatId inner, std::size_t cols) noexcept {
  return {inner, OuterLevel{format_id<fp16>, {1, cols, 0}}, ScaleOp::product};
}
/// `-dq`: int8 steps of one fp32 for each 256 scales, from one fp32 mean.
inline constexpr NumberStack kDoubleQuantized{format_id<int8>, OuterLevel{format_id<fp32>, {0, 0, kScalesPerStep}},
                                              ScaleOp::affine};
/// OCP MX: one power of two for each 32 elements.
constexpr Scheme mx(FormatId format) noexcept {
  return {.format = format, .granularity = PerGroup{32}, .scales = {format_id<e8m0>}};
}
/// value = S * s * (level - z): see integer_scale_rule.hpp.
constexpr Scheme integer_scaled(FormatId format, std::size_t group) noexcept {
  return {.format = format,
          .granularity = PerGroup{group},
          .symmetry = Symmetry::asymmetric,
          .scales = in_rows(format_id<uint4>, kSuperScaleColumns)};
}
/// ggml's blocks of 256 weights in groups, whose scales (and minima, here offsets) are small integers under one fp16.
constexpr Scheme super_block(FormatId format, std::size_t group, FormatId scale, bool has_minima) noexcept {
  const NumberStack stack = in_rows(scale, 256);
  return {.format = format,
          .granularity = PerGroup{group},
          .symmetry = has_minima ? Symmetry::symmetric : Symmetry::full,
          .scales = stack,
          .offsets = has_minima ? std::optional(stack) : std::nullopt};
}
/// ggml's blocks of 32 with one fp16 scale and one fp16 minimum.
constexpr Scheme with_minimum(FormatId format) noexcept {
  return {.format = format, .granularity = PerGroup{32}, .offsets = NumberStack{}};
}

}  // namespace detail

/// OCP MX, NVIDIA's NVFP4 (E4M3 per 16 under one fp32), ggml's blocks with minima or super-blocks, and kvant's own
/// integer-scaled formats.
inline constexpr std::array kBlockFormats{
    BlockFormat{"mxfp8_e4m3fn", detail::mx(format_id<fp8_e4m3fn>)},
    BlockFormat{"mxfp8_e5m2", detail::mx(format_id<fp8_e5m2>)},
    BlockFormat{"mxfp6_e3m2", detail::mx(format_id<fp6_e3m2>)},
    BlockFormat{"mxfp6_e2m3", detail::mx(format_id<fp6_e2m3>)},
    BlockFormat{"mxfp4", detail::mx(format_id<fp4_e2m1>)},
    BlockFormat{"mxint8", detail::mx(format_id<int8_q6>)},
    BlockFormat{"nvfp4",
                {.format = format_id<fp4_e2m1>,
                 .granularity = PerGroup{16},
                 .scales = {format_id<fp8_e4m3fn>, OuterLevel{format_id<fp32>}, ScaleOp::quotient}}},
    BlockFormat{"q4_1", detail::with_minimum(format_id<uint4>)},
    BlockFormat{"q5_1", detail::with_minimum(format_id<uint5>)},
    BlockFormat{"q2_k", detail::super_block(format_id<uint2>, 16, format_id<uint4>, true)},
    BlockFormat{"q3_k", detail::super_block(format_id<int3>, 16, format_id<int6>, false)},
    BlockFormat{"q4_k", detail::super_block(format_id<uint4>, 32, format_id<uint6>, true)},
    BlockFormat{"q5_k", detail::super_block(format_id<uint5>, 32, format_id<uint6>, true)},
    BlockFormat{"q6_k", detail::super_block(format_id<int6>, 16, format_id<int8>, false)},
    BlockFormat{"is4", detail::integer_scaled(format_id<uint4>, 32)},
    BlockFormat{"is3", detail::integer_scaled(format_id<uint3>, 16)},
    BlockFormat{"is2", detail::integer_scaled(format_id<even2>, 16)},
};

namespace detail {

inline tl::unexpected<Error> bad_scheme(std::string_view text, const std::string& why) {
  return fail(ErrorCode::bad_scheme, "scheme " + quoted(text) + ": " + why);
}

}  // namespace detail

/// The block format that a scheme is; null where it is none.
[[nodiscard]] constexpr const BlockFormat* block_format(const Scheme& s) noexcept {
  for (const BlockFormat& b : kBlockFormats)
    if (b.scheme == s) return &b;
  return nullptr;
}

namespace detail {

[[nodiscard]] constexpr bool has_zero(const FormatInfo& format) noexcept {
  for (std::uint32_t code = 0; code < (1u << format.bits); ++code)
    if (order_key(format.decode(code)) == 0) return true;
  return false;
}

/// Whether a number of a stack by itself is a float of enough bits, which may be a power of two.
[[nodiscard]] constexpr bool is_plain_float(const NumberStack& stack, unsigned bits) noexcept {
  const FormatInfo& type = format_info(stack.inner);
  return !stack.outer && type.kind == FormatKind::minifloat && type.bits >= bits;
}

/// Whether the stacks and the format go together.
inline Status check_numbers(const Scheme& s, std::string_view text) {
  if (block_format(s) != nullptr) return {};
  if (s.offsets) {
    if (s.info().kind != FormatKind::integer || s.info().is_signed || s.symmetry != Symmetry::symmetric)
      return bad_scheme(text, "-fzero needs uint1 … uint8");
    if (s.granularity.kind() != Granularity::Kind::group && s.granularity.kind() != Granularity::Kind::channel)
      return bad_scheme(text, "-fzero needs a granularity of channel or gN");
    if (!is_plain_float(s.scales, 16) || s.offsets != s.scales)
      return bad_scheme(text, "-fzero goes with scales of fp16, bf16 or fp32");
  }
  if (s.scales == kDoubleQuantized) return {};
  if (s.scales.outer) return bad_scheme(text, "no block format is made of these parts");
  if (s.scales.inner == format_id<e8m0>) {
    if (s.symmetry != Symmetry::symmetric)
      return bad_scheme(text, "a scale that is a power of two goes with a symmetric format");
    if (!has_zero(s.info())) return bad_scheme(text, "a scale that cannot be 0 needs a format with a 0");
    return {};
  }
  if (!is_plain_float(s.scales, 8))
    return bad_scheme(text, "a scale is stored as fp16, bf16, fp32, an 8-bit float or e8m0");
  if (s.symmetry == Symmetry::full && !format_info(s.scales.inner).is_signed)
    return bad_scheme(text, "-full makes scales of either sign, which this type has not");
  return {};
}

}  // namespace detail

/// Whether the parts of a scheme fit together; the reason where they do not.
[[nodiscard]] inline Status check_scheme(const Scheme& s, std::string_view text) {
  const FormatInfo& info = s.info();
  if (info.is_auxiliary() && !s.has_integer_scales())
    return detail::bad_scheme(text, std::string(info.name) + " has no numbers below zero, so it is none for weights");
  if (info.bits > 8) {
    if (!s.is_cast())
      return detail::bad_scheme(text, std::string(info.name) + " takes no granularity: it has no scale");
    if (s.symmetry != Symmetry::symmetric || s.scales != NumberStack{} || s.offsets)
      return detail::bad_scheme(text, std::string(info.name) + " takes no further parts");
    return {};
  }
  if (s.is_cast() || s.granularity.kind() == Granularity::Kind::token)
    return detail::bad_scheme(text, "needs a granularity: tensor, channel, gN (as g128) or bRxC (as b128x128)");
  const bool sized =
      s.granularity.kind() == Granularity::Kind::group || s.granularity.kind() == Granularity::Kind::block;
  if (sized && (s.granularity.cols_parameter() == 0 ||
                (s.granularity.kind() == Granularity::Kind::block && s.granularity.rows_parameter() == 0)))
    return detail::bad_scheme(text, "a group or block has at least one row and column");
  if (s.symmetry == Symmetry::asymmetric && !s.has_integer_scales() &&
      (info.fraction_bits != 0 || info.kind != FormatKind::integer || info.has_signs_only()))
    return detail::bad_scheme(text, "-asym needs int2 … int8 or uint1 … uint8");
  if (s.symmetry == Symmetry::full &&
      (info.kind != FormatKind::integer || info.fraction_bits != 0 || -info.low != info.high + 1))
    return detail::bad_scheme(text, "-full needs int2 … int8");
  return detail::check_numbers(s, text);
}

namespace detail {

/// The format and the parts behind it.
inline Result<Scheme> parse_parts(std::string_view text, std::string_view name, std::string_view rest) {
  for (const BlockFormat& b : kBlockFormats) {
    if (b.name != name) continue;
    if (!rest.empty()) return bad_scheme(text, std::string(name) + " takes no further parts, as it names them all");
    return b.scheme;
  }
  Scheme scheme;
  const auto format = format_from_name(name);
  if (!format) return bad_scheme(text, quoted(name) + " is no format");
  scheme.format = *format;
  int stage = 0;  // parts stand in order: granularity, symmetry, scale, dq
  while (!rest.empty()) {
    const std::string_view part = take_until(rest, '-');
    if (const auto g = parse_granularity(part); g && stage < 1) {
      scheme.granularity = *g;
      stage = 1;
    } else if ((part == "sym" || part == "asym" || part == "full" || part == "fzero") && stage < 2) {
      if (part == "asym") scheme.symmetry = Symmetry::asymmetric;
      if (part == "full") scheme.symmetry = Symmetry::full;
      if (part == "fzero") scheme.offsets = NumberStack{};
      stage = 2;
    } else if (part.substr(0, 6) == "scale:" && stage < 3) {
      const auto scale = format_from_name(part.substr(6));
      if (!scale) return bad_scheme(text, quoted(part.substr(6)) + " is no format for a scale");
      scheme.scales.inner = *scale;
      if (scheme.offsets) scheme.offsets->inner = *scale;
      stage = 3;
    } else if (part == "dq" && stage < 4) {
      if (scheme.scales != NumberStack{}) return bad_scheme(text, "-dq says how scales are stored; it takes no -scale");
      scheme.scales = kDoubleQuantized;
      stage = 4;
    } else if (part.find_first_not_of("0123456789") == std::string_view::npos && stage < 1) {
      return bad_scheme(text, quoted(part) + " is no granularity; did you mean " + std::string(name) + "-g" +
                                  std::string(part) + "?");
    } else {
      return bad_scheme(text, quoted(part) +
                                  " is no granularity, symmetry, scale type or dq, or stands out of order; "
                                  "they go FORMAT-GRANULARITY-asym-scale:TYPE-dq, as int4-g128-asym");
    }
  }
  return scheme;
}

}  // namespace detail

namespace detail {

/// A weight's scheme, the first part of `text`, which messages name; unchecked.
inline Result<Scheme> parse_weight(std::string_view text, std::string_view weight) {
  if (text.ends_with('-') || text.ends_with('/') || weight.ends_with('-'))
    return bad_scheme(text, "ends in a separator");
  const std::string_view name = take_until(weight, '-');
  return parse_parts(text, name, weight);
}

}  // namespace detail

/// What make_scheme() takes beyond format and granularity.
struct SchemeParts {
  Symmetry symmetry = Symmetry::symmetric;
  FormatId scale = format_id<fp16>;
  bool float_zero = false;    ///< `-fzero`
  bool double_quant = false;  ///< `-dq`
};

/// `make_scheme<int4>(PerGroup{128}, {.symmetry = Symmetry::asymmetric})`: a scheme from its parts, which quantize()
/// and check_scheme() refuse where they do not fit together.
template <Format F>
[[nodiscard]] constexpr Scheme make_scheme(Granularity granularity, const SchemeParts& parts = {}) noexcept {
  const NumberStack stack{parts.scale};
  return {.format = format_id<F>,
          .granularity = granularity,
          .symmetry = parts.symmetry,
          .scales = parts.double_quant ? detail::kDoubleQuantized : stack,
          .offsets = parts.float_zero ? std::optional(stack) : std::nullopt};
}

/// Parses the text form exactly; `bad_scheme` says which part is wrong. That of a layer, which may say what is done to
/// inputs, takes parse_layer_scheme().
[[nodiscard]] inline Result<Scheme> parse_scheme(std::string_view text) {
  if (text.find('/') != std::string_view::npos)
    return detail::bad_scheme(text, "what is done to inputs is no part of a weight's scheme");
  auto scheme = detail::parse_weight(text, text);
  if (!scheme) return scheme;
  if (const Status fits = check_scheme(*scheme, text); !fits) return propagate(fits);
  return scheme;
}

/// The text form, without defaults: parse_scheme(to_text(s)) == s.
[[nodiscard]] inline std::string to_text(const Scheme& s) {
  std::string text;
  if (const BlockFormat* block = block_format(s)) {
    text = block->name;
  } else {
    text = is_listed(s.format) ? "" : "custom:";  // which does not parse: a text alone does not bring it back
    text += s.info().name;
    if (!s.is_cast()) text += "-" + detail::granularity_text(s.granularity);
    if (s.symmetry == Symmetry::asymmetric) text += "-asym";
    if (s.symmetry == Symmetry::full) text += "-full";
    if (s.offsets) text += "-fzero";
    if (s.scales == detail::kDoubleQuantized)
      text += "-dq";
    else if (s.scales.inner != format_id<fp16>)
      text += "-scale:" + std::string(format_info(s.scales.inner).name);
  }
  return text;
}

}  // namespace kvant
