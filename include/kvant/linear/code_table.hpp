// SPDX-License-Identifier: Apache-2.0
// How the codes of a format are stored in a packed layout, and back.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "kvant/kernels/layout.hpp"
#include "kvant/numeric/formats.hpp"
#include "kvant/quant/grid.hpp"

namespace kvant {

namespace detail {

/// How a format's codes are stored in a layout, and what is stored means: see kernels::PackedShape.
struct CodeTable {
  std::array<std::uint8_t, 256> stored{};  ///< of each code
  std::array<std::uint8_t, 256> code{};    ///< of what is stored
  std::array<float, 256> levels{};
  std::int32_t zero = 0;
  std::int32_t step = 0;
  std::uint32_t mantissa_bits = 0;
  float unit = 1.0f;
  std::uint8_t fill = 0;  ///< what padding holds; a level of 0, or multiplied by an input of 0
  bool flips = true;      ///< whether a code is stored as code ^ fill, the high bits left aside
};

/// Evenly spaced values: in a layout of as many bits what is stored counts their steps; in a wider one it is the value,
/// from the middle where some are below zero.
inline void tabulate_integers(const FormatInfo& format, unsigned bits, CodeTable& t) noexcept {
  const bool is_own = bits == format.bits;
  const std::int32_t step = is_own ? format.stored_step : 1;
  const std::int32_t middle = format.stored_offset != 0 ? 1 << (bits - 1) : 0;
  t.step = step;
  t.zero = is_own ? -format.stored_offset : middle;
  t.fill = static_cast<std::uint8_t>(step == 1 ? middle : 0);
  for (std::uint32_t code = 0; code < (1u << format.bits); ++code) {
    const auto value = static_cast<std::int32_t>(format.decode(code) / format.step());
    t.stored[code] = static_cast<std::uint8_t>((value + t.zero) / step);
  }
}

/// Minifloats of more than 4 bits, as minifloats of 8 bits with this mantissa: false where one is none of those.
inline bool tabulate_minifloats(const FormatInfo& format, std::uint32_t mantissa_bits, CodeTable& t) noexcept {
  // The largest number has the largest exponent field, 2^(7 - mantissa) - 1, so most small ones are normal.
  const int least = floor_log2(format.max) + 2 - (1 << (7 - mantissa_bits));
  t.mantissa_bits = mantissa_bits;
  t.unit = scale_exponent(1.0f, 126 + least);
  std::array<float, 256> values{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    const std::uint32_t fields = (i & 0x80u) << 24 | (i & 0x7fu) << (23 - mantissa_bits);
    values[i] = scale_exponent(std::bit_cast<float>(fields), 126 + least);
  }
  for (std::uint32_t code = 0; code < (1u << format.bits); ++code) {
    const float value = format.decode(code);
    std::uint32_t i = 0;
    while (i < 256 && std::bit_cast<std::uint32_t>(values[i]) != std::bit_cast<std::uint32_t>(value)) ++i;
    if (i == 256 && is_finite(value)) return false;
    t.stored[code] = static_cast<std::uint8_t>(i);
  }
  return true;
}

/// `with_specials`: NaN and Inf are among the codes.
[[nodiscard]] inline CodeTable code_table(FormatId id, kernels::Layout layout, bool with_specials) {
  const FormatInfo& format = format_info(id);
  const unsigned bits = kernels::layout_info(layout).bits;
  CodeTable t;
  const auto identity = [&t] {
    for (std::uint32_t code = 0; code < 256; ++code) t.stored[code] = static_cast<std::uint8_t>(code);
    t.mantissa_bits = 0;
    t.unit = 1.0f;
  };
  if (format.kind == FormatKind::integer) {
    tabulate_integers(format, bits, t);
  } else {
    const bool is_minifloat = format.kind == FormatKind::minifloat && bits == 8 && !with_specials;
    bool found = false;
    for (const std::uint32_t mantissa : {3u, 2u, 4u})
      found = found || (is_minifloat && tabulate_minifloats(format, mantissa, t));
    if (!found) identity();
    if (bits < 8) t.step = format.stored_step;  // kernels for bytes double nothing
  }
  for (std::uint32_t code = (1u << format.bits); code-- > 0;) {
    const std::uint32_t stored = t.stored[code] & ((1u << bits) - 1u);
    t.flips = t.flips && (stored == (code ^ t.fill) || (!with_specials && !is_finite(format.decode(code))));
    t.code[stored] = static_cast<std::uint8_t>(code);
    for (std::size_t i = stored; i < t.levels.size(); i += std::size_t{1} << bits) t.levels[i] = format.decode(code);
  }
  return t;
}

}  // namespace detail

}  // namespace kvant
