// SPDX-License-Identifier: Apache-2.0
// A scheme says how a weight is stored: format, granularity, symmetry, scale type, and what is done to activations.
// Its text form is `FORMAT[-GRANULARITY][-sym|-asym|-full][-scale:TYPE][/ACTIVATION]`, e.g. `int4-g128`,
// `int8-channel/int8-token`, `fp8_e4m3fn-channel`, `int4-g32-asym-scale:fp32`, `bf16`.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "kvant/core/error.hpp"
#include "kvant/numeric/formats.hpp"
#include "kvant/quant/granularity.hpp"

namespace kvant {

enum class Symmetry : std::uint8_t {
  /// Positive scale, no zero point. Plain: max |x| / Grid::unit().
  symmetric,
  /// The scale may be negative, so that the largest magnitude meets the least code. Plain: peak / low, where peak is
  /// the element of largest magnitude (the positive one of two).
  full,
  /// Scale and integer zero point. Plain, for elements in [a, b], a <= 0 <= b: scale = b / steps - a / steps with
  /// steps = high - low; zero = low - a / (scale as stored), rounded to nearest even, kept within [low, high].
  asymmetric,
};

/// What is done to a layer's inputs before the product.
struct ActivationScheme {
  FormatId format = format_id<int8>;
  Granularity granularity = PerToken{};
  friend constexpr bool operator==(const ActivationScheme&, const ActivationScheme&) = default;
};

struct Scheme {
  FormatId format = format_id<fp32>;
  Granularity granularity{};
  Symmetry symmetry = Symmetry::symmetric;
  FormatId scale_type = format_id<fp16>;
  std::optional<ActivationScheme> activation{};

  /// fp32, fp16 and bf16 are stored as they are, without scales.
  [[nodiscard]] constexpr bool is_cast() const noexcept { return granularity.kind() == Granularity::Kind::none; }
  [[nodiscard]] constexpr const FormatInfo& info() const noexcept { return format_info(format); }
  friend constexpr bool operator==(const Scheme&, const Scheme&) = default;
};

namespace detail {

inline bool take_number(std::string_view& text, std::size_t& out) noexcept {
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (ec != std::errc{} || out == 0 || text.front() == '0') return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

inline std::optional<Granularity> parse_granularity(std::string_view text) noexcept {
  if (text == "tensor") return Granularity{PerTensor{}};
  if (text == "channel") return Granularity{PerChannel{}};
  if (text == "token") return Granularity{PerToken{}};
  if (text.size() < 2 || (text[0] != 'g' && text[0] != 'b')) return std::nullopt;
  const bool group = text[0] == 'g';
  text.remove_prefix(1);
  std::size_t first = 0;
  if (!take_number(text, first)) return std::nullopt;
  if (group) return text.empty() ? std::optional<Granularity>{PerGroup{first}} : std::nullopt;
  std::size_t second = 0;
  if (text.empty() || text[0] != 'x') return std::nullopt;
  text.remove_prefix(1);
  if (text.empty() || !take_number(text, second) || !text.empty()) return std::nullopt;
  return Granularity{PerBlock{first, second}};
}

inline std::string granularity_text(const Granularity& g) {
  switch (g.kind()) {
    case Granularity::Kind::none:
      break;
    case Granularity::Kind::tensor:
      return "tensor";
    case Granularity::Kind::channel:
      return "channel";
    case Granularity::Kind::token:
      return "token";
    case Granularity::Kind::group:
      return "g" + std::to_string(g.cols_parameter());
    case Granularity::Kind::block:
      return "b" + std::to_string(g.rows_parameter()) + "x" + std::to_string(g.cols_parameter());
  }
  return "";
}

/// Text from outside, as messages quote it: never all of a megabyte.
inline std::string quoted(std::string_view text) { return "'" + std::string(text.substr(0, 100)) + "'"; }

inline tl::unexpected<Error> bad_scheme(std::string_view text, const std::string& why) {
  return fail(ErrorCode::bad_scheme, "scheme " + quoted(text) + ": " + why);
}

/// Splits off what stands before the first `separator`; the rest, without it, stays in `text`.
inline std::string_view take_until(std::string_view& text, char separator) noexcept {
  const std::size_t at = text.find(separator);
  const std::string_view head = text.substr(0, at);
  text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
  return head;
}

inline Result<ActivationScheme> parse_activation(std::string_view whole, std::string_view text) {
  const auto format = format_from_name(take_until(text, '-'));
  const auto granularity = parse_granularity(text);
  if (format != format_id<int8> || !granularity || granularity->kind() != Granularity::Kind::token)
    return bad_scheme(whole, "activations may be 'int8-token' (dynamic, one scale per token)");
  return ActivationScheme{*format, *granularity};
}

}  // namespace detail

/// Whether the parts of a scheme fit together; the reason where they do not.
[[nodiscard]] inline Status check_scheme(const Scheme& s, std::string_view text) {
  const FormatInfo& info = s.info();
  if (info.bits > 8) {
    if (!s.is_cast())
      return detail::bad_scheme(text, std::string(info.name) + " takes no granularity: it has no scale");
    if (s.symmetry != Symmetry::symmetric || s.scale_type != format_id<fp16> || s.activation)
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
  if (s.symmetry == Symmetry::asymmetric &&
      (info.kind != FormatKind::integer || s.format == format_id<int1> || s.format == format_id<ternary>))
    return detail::bad_scheme(text, "-asym needs int2 … int8 or uint1 … uint8");
  if (s.symmetry == Symmetry::full && (info.kind != FormatKind::integer || -info.low != info.high + 1))
    return detail::bad_scheme(text, "-full needs int2 … int8");
  const FormatInfo& scale = format_info(s.scale_type);
  if (scale.kind != FormatKind::minifloat || scale.bits < 8)
    return detail::bad_scheme(text, "a scale is stored as fp16, bf16, fp32, fp8_e4m3fn or fp8_e5m2");
  return {};
}

/// Parses the text form exactly; `bad_scheme` says which part is wrong.
[[nodiscard]] inline Result<Scheme> parse_scheme(std::string_view text) {
  std::string_view weight = text;
  const bool has_activation = text.find('/') != std::string_view::npos;
  std::string_view rest = detail::take_until(weight, '/');
  if (text.ends_with('-') || text.ends_with('/') || rest.ends_with('-'))
    return detail::bad_scheme(text, "ends in a separator");
  Scheme scheme;
  const std::string_view name = detail::take_until(rest, '-');
  const auto format = format_from_name(name);
  if (!format) return detail::bad_scheme(text, detail::quoted(name) + " is no format; see 'kvant list formats'");
  scheme.format = *format;
  int stage = 0;  // parts stand in order: granularity, symmetry, scale
  while (!rest.empty()) {
    const std::string_view part = detail::take_until(rest, '-');
    if (const auto g = detail::parse_granularity(part); g && stage < 1) {
      scheme.granularity = *g;
      stage = 1;
    } else if ((part == "sym" || part == "asym" || part == "full") && stage < 2) {
      scheme.symmetry = part == "sym" ? Symmetry::symmetric : part == "asym" ? Symmetry::asymmetric : Symmetry::full;
      stage = 2;
    } else if (part.substr(0, 6) == "scale:" && stage < 3) {
      const auto scale = format_from_name(part.substr(6));
      if (!scale) return detail::bad_scheme(text, detail::quoted(part.substr(6)) + " is no format for a scale");
      scheme.scale_type = *scale;
      stage = 3;
    } else {
      return detail::bad_scheme(
          text, detail::quoted(part) + " is no granularity, symmetry or scale type, or stands out of order");
    }
  }
  if (has_activation) {
    auto activation = detail::parse_activation(text, weight);
    if (!activation) return propagate(activation);
    scheme.activation = *activation;
  }
  if (const Status fits = check_scheme(scheme, text); !fits) return propagate(fits);
  return scheme;
}

/// The text form, without defaults: parse_scheme(to_text(s)) == s.
[[nodiscard]] inline std::string to_text(const Scheme& s) {
  std::string text(s.info().name);
  if (!s.is_cast()) text += "-" + detail::granularity_text(s.granularity);
  if (s.symmetry == Symmetry::asymmetric) text += "-asym";
  if (s.symmetry == Symmetry::full) text += "-full";
  if (s.scale_type != format_id<fp16>) text += "-scale:" + std::string(format_info(s.scale_type).name);
  if (s.activation)
    text += "/" + std::string(format_info(s.activation->format).name) + "-" +
            detail::granularity_text(s.activation->granularity);
  return text;
}

}  // namespace kvant
