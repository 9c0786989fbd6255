// SPDX-License-Identifier: Apache-2.0
// A scheme says how a weight is stored: format, granularity, symmetry, scale type, and what is done to activations.
// Its text form is `FORMAT[-GRANULARITY][-sym|-asym|-full][-scale:TYPE][-dq][/ACTIVATION]`, e.g. `int4-g128`,
// `int8-channel/int8-token`, `fp8_e4m3fn-channel`, `int4-g32-asym-scale:fp32`, `nf4-g64-dq`, `bf16`. Block formats
// (`kBlockFormats`) are names for whole schemes: `mxfp4`, `nvfp4`, `is4`.
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
#include "kvant/quant/activation_scheme.hpp"
#include "kvant/quant/granularity.hpp"
#include "kvant/quant/scheme_text.hpp"

namespace kvant {

/// How the scales of a matrix are stored, beyond one number of `scale_type` for each group.
enum class ScaleNesting : std::uint8_t {
  none,
  /// `-dq`: scale = mean + code * step; int8 codes, one fp32 step for each 256 scales in row-major order, one fp32 mean
  /// for the matrix.
  double_quant,
  /// NVFP4: `scale_type` times one fp32 for the matrix, which scales the largest to the top of that type.
  per_tensor,
  /// is4, is3, is2: a small integer times one number of `scale_type` for each row, or each 2048 columns of it; zero
  /// points come from a short list. See integer_scales.hpp.
  integer,
};

struct Scheme {
  FormatId format = format_id<fp32>;
  Granularity granularity{};
  Symmetry symmetry = Symmetry::symmetric;
  FormatId scale_type = format_id<fp16>;
  std::optional<ActivationScheme> activation{};
  ScaleNesting nesting = ScaleNesting::none;

  /// fp32, fp16 and bf16 are stored as they are, without scales.
  [[nodiscard]] constexpr bool is_cast() const noexcept { return granularity.kind() == Granularity::Kind::none; }
  [[nodiscard]] constexpr const FormatInfo& info() const noexcept { return format_info(format); }
  /// Whether something is stored once for the whole matrix, so that its rows cannot be quantized one after the other.
  [[nodiscard]] constexpr bool spans_matrix() const noexcept {
    return granularity.kind() == Granularity::Kind::tensor || nesting == ScaleNesting::double_quant ||
           nesting == ScaleNesting::per_tensor;
  }
  friend constexpr bool operator==(const Scheme&, const Scheme&) = default;
};

/// A name for a whole scheme.
struct BlockFormat {
  std::string_view name;
  Scheme scheme;
};

namespace detail {

constexpr Scheme block_scheme(FormatId format, std::size_t group, FormatId scale_type, ScaleNesting nesting,
                              Symmetry symmetry = Symmetry::symmetric) noexcept {
  return {format, PerGroup{group}, symmetry, scale_type, std::nullopt, nesting};
}

}  // namespace detail

/// OCP MX (2^n per 32), NVIDIA's NVFP4, and kvant's integer-scaled formats.
inline constexpr std::array kBlockFormats{
    BlockFormat{"mxfp8_e4m3fn", detail::block_scheme(format_id<fp8_e4m3fn>, 32, format_id<e8m0>, ScaleNesting::none)},
    BlockFormat{"mxfp8_e5m2", detail::block_scheme(format_id<fp8_e5m2>, 32, format_id<e8m0>, ScaleNesting::none)},
    BlockFormat{"mxfp6_e3m2", detail::block_scheme(format_id<fp6_e3m2>, 32, format_id<e8m0>, ScaleNesting::none)},
    BlockFormat{"mxfp6_e2m3", detail::block_scheme(format_id<fp6_e2m3>, 32, format_id<e8m0>, ScaleNesting::none)},
    BlockFormat{"mxfp4", detail::block_scheme(format_id<fp4_e2m1>, 32, format_id<e8m0>, ScaleNesting::none)},
    BlockFormat{"mxint8", detail::block_scheme(format_id<int8_q6>, 32, format_id<e8m0>, ScaleNesting::none)},
    BlockFormat{"nvfp4",
                detail::block_scheme(format_id<fp4_e2m1>, 16, format_id<fp8_e4m3fn>, ScaleNesting::per_tensor)},
    BlockFormat{"is4", detail::block_scheme(format_id<uint4>, 32, format_id<fp16>, ScaleNesting::integer,
                                            Symmetry::asymmetric)},
    BlockFormat{"is3", detail::block_scheme(format_id<uint3>, 16, format_id<fp16>, ScaleNesting::integer,
                                            Symmetry::asymmetric)},
    BlockFormat{"is2", detail::block_scheme(format_id<even2>, 16, format_id<fp16>, ScaleNesting::integer,
                                            Symmetry::asymmetric)},
};

namespace detail {

inline tl::unexpected<Error> bad_scheme(std::string_view text, const std::string& why) {
  return fail(ErrorCode::bad_scheme, "scheme " + quoted(text) + ": " + why);
}

}  // namespace detail

/// The block format that a scheme is, activations aside; null where it is none.
[[nodiscard]] constexpr const BlockFormat* block_format(Scheme s) noexcept {
  s.activation.reset();
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

/// Whether scale type, nesting and format go together.
inline Status check_scales(const Scheme& s, std::string_view text) {
  if (s.nesting == ScaleNesting::double_quant && s.scale_type != format_id<fp16>)
    return bad_scheme(text, "-dq says how scales are stored; it takes no -scale");
  if ((s.nesting == ScaleNesting::integer || s.nesting == ScaleNesting::per_tensor) && block_format(s) == nullptr)
    return bad_scheme(text, "no block format is made of these parts");
  if (s.scale_type == format_id<e8m0>) {
    if (s.symmetry != Symmetry::symmetric)
      return bad_scheme(text, "a scale that is a power of two goes with a symmetric format");
    if (!has_zero(s.info())) return bad_scheme(text, "a scale that cannot be 0 needs a format with a 0");
    return {};
  }
  const FormatInfo& scale = format_info(s.scale_type);
  if (scale.kind != FormatKind::minifloat || scale.bits < 8)
    return bad_scheme(text, "a scale is stored as fp16, bf16, fp32, an 8-bit float or e8m0");
  if (s.symmetry == Symmetry::full && !scale.is_signed)
    return bad_scheme(text, "-full makes scales of either sign, which this type has not");
  return {};
}

}  // namespace detail

/// Whether the parts of a scheme fit together; the reason where they do not.
[[nodiscard]] inline Status check_scheme(const Scheme& s, std::string_view text) {
  const FormatInfo& info = s.info();
  if (info.is_auxiliary() && s.nesting != ScaleNesting::integer)
    return detail::bad_scheme(text, std::string(info.name) + " has no numbers below zero, so it is none for weights");
  if (info.bits > 8) {
    if (!s.is_cast())
      return detail::bad_scheme(text, std::string(info.name) + " takes no granularity: it has no scale");
    if (s.symmetry != Symmetry::symmetric || s.scale_type != format_id<fp16> || s.activation ||
        s.nesting != ScaleNesting::none)
      return detail::bad_scheme(text, std::string(info.name) + " takes no further parts");
    return {};
  }
  if (s.activation && !is_valid(*s.activation)) return detail::bad_scheme(text, detail::kActivationHint);
  if (s.is_cast() || s.granularity.kind() == Granularity::Kind::token)
    return detail::bad_scheme(text, "needs a granularity: tensor, channel, gN (as g128) or bRxC (as b128x128)");
  const bool sized =
      s.granularity.kind() == Granularity::Kind::group || s.granularity.kind() == Granularity::Kind::block;
  if (sized && (s.granularity.cols_parameter() == 0 ||
                (s.granularity.kind() == Granularity::Kind::block && s.granularity.rows_parameter() == 0)))
    return detail::bad_scheme(text, "a group or block has at least one row and column");
  if (s.symmetry == Symmetry::asymmetric && s.nesting != ScaleNesting::integer &&
      (info.fraction_bits != 0 || info.kind != FormatKind::integer || info.has_signs_only()))
    return detail::bad_scheme(text, "-asym needs int2 … int8 or uint1 … uint8");
  if (s.symmetry == Symmetry::full &&
      (info.kind != FormatKind::integer || info.fraction_bits != 0 || -info.low != info.high + 1))
    return detail::bad_scheme(text, "-full needs int2 … int8");
  return detail::check_scales(s, text);
}

namespace detail {

/// The format and the parts behind it, without the activation.
inline Result<Scheme> parse_parts(std::string_view text, std::string_view name, std::string_view rest) {
  for (const BlockFormat& b : kBlockFormats) {
    if (b.name != name) continue;
    if (!rest.empty()) return bad_scheme(text, std::string(name) + " takes no further parts, as it names them all");
    return b.scheme;
  }
  Scheme scheme;
  const auto format = format_from_name(name);
  if (!format) return bad_scheme(text, quoted(name) + " is no format; see 'kvant list formats'");
  scheme.format = *format;
  int stage = 0;  // parts stand in order: granularity, symmetry, scale, dq
  while (!rest.empty()) {
    const std::string_view part = take_until(rest, '-');
    if (const auto g = parse_granularity(part); g && stage < 1) {
      scheme.granularity = *g;
      stage = 1;
    } else if ((part == "sym" || part == "asym" || part == "full") && stage < 2) {
      scheme.symmetry = part == "sym" ? Symmetry::symmetric : part == "asym" ? Symmetry::asymmetric : Symmetry::full;
      stage = 2;
    } else if (part.substr(0, 6) == "scale:" && stage < 3) {
      const auto scale = format_from_name(part.substr(6));
      if (!scale) return bad_scheme(text, quoted(part.substr(6)) + " is no format for a scale");
      scheme.scale_type = *scale;
      stage = 3;
    } else if (part == "dq" && stage < 4) {
      scheme.nesting = ScaleNesting::double_quant;
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

/// Parses the text form exactly; `bad_scheme` says which part is wrong.
[[nodiscard]] inline Result<Scheme> parse_scheme(std::string_view text) {
  std::string_view weight = text;
  const bool has_activation = text.find('/') != std::string_view::npos;
  std::string_view rest = detail::take_until(weight, '/');
  if (text.ends_with('-') || text.ends_with('/') || rest.ends_with('-'))
    return detail::bad_scheme(text, "ends in a separator");
  const std::string_view name = detail::take_until(rest, '-');
  auto parsed = detail::parse_parts(text, name, rest);
  if (!parsed) return parsed;
  Scheme scheme = *parsed;
  if (has_activation) {
    scheme.activation = parse_activation(weight);
    if (!scheme.activation) return detail::bad_scheme(text, detail::kActivationHint);
  }
  if (const Status fits = check_scheme(scheme, text); !fits) return propagate(fits);
  return scheme;
}

/// The text form, without defaults: parse_scheme(to_text(s)) == s.
[[nodiscard]] inline std::string to_text(const Scheme& s) {
  std::string text;
  if (const BlockFormat* block = block_format(s)) {
    text = block->name;
  } else {
    text = is_listed(s.format) ? "" : "custom:";  // which does not parse: no text can bring the format back
    text += s.info().name;
    if (!s.is_cast()) text += "-" + detail::granularity_text(s.granularity);
    if (s.symmetry == Symmetry::asymmetric) text += "-asym";
    if (s.symmetry == Symmetry::full) text += "-full";
    if (s.scale_type != format_id<fp16>) text += "-scale:" + std::string(format_info(s.scale_type).name);
    if (s.nesting == ScaleNesting::double_quant) text += "-dq";
  }
  if (s.activation) text += "/" + to_text(*s.activation);
  return text;
}

}  // namespace kvant
