// SPDX-License-Identifier: Apache-2.0
// What a packed matrix looks like: its shape follows from its scheme, its sizes and a few traits, and is checked
// against them where it comes from elsewhere.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kvant/core/checked.hpp"
#include "kvant/core/error.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/kernels/layout.hpp"
#include "kvant/linear/code_table.hpp"
#include "kvant/linear/packed_weight.hpp"
#include "kvant/quant/qmatrix.hpp"
#include "kvant/quant/scheme.hpp"

namespace kvant {

/// The layout that a tier's kernels prefer for matrices of a scheme: by the generic rule the narrowest one that holds
/// its codes, among those whose steps fill its groups if there is one. Scales of several levels are multiplied out.
[[nodiscard]] inline Layout layout_for(const Scheme& scheme, std::size_t inputs, const Context& context = {}) {
  const std::size_t group = scheme.granularity.block_cols(inputs);
  for (const LayoutInfo& info : kernels::kLayouts)
    if (context.kernels().prefers(info.layout, scheme.info().bits, group < inputs ? group : 0)) return info.layout;
  return Layout::w8_p64;
}

/// What a packed matrix of a scheme looks like beside its sizes: all else of a shape follows.
struct PackingTraits {
  Layout layout = Layout::f32_p32;
  bool scales_f32 = false;    ///< not every scale and offset is a float16
  bool has_specials = false;  ///< NaN or Inf is among codes of more than 4 bits
};

/// The shape of a packed matrix [n, inputs]. Contract: the layout holds the scheme's codes, or for fp32 and bf16 is
/// that of such floats.
[[nodiscard]] inline PackedShape make_shape(const Scheme& scheme, std::size_t n, std::size_t inputs,
                                            const PackingTraits& traits) {
  const LayoutInfo& info = layout_info(traits.layout);
  PackedShape s{.layout = traits.layout};
  s.n = n;
  s.k = s.inputs = inputs;
  if (info.has_groups()) {
    const detail::CodeTable table = detail::code_table(scheme.format, s.layout, info.bits == 8 && traits.has_specials);
    s.scales_f32 = traits.scales_f32;
    s.has_zeros = scheme.symmetry == Symmetry::asymmetric;
    s.has_offsets = scheme.offsets.has_value();
    s.zero = table.zero;
    s.code_step = table.step;
    s.mantissa_bits = table.mantissa_bits;
    s.level_unit = table.unit;
    std::copy(table.levels.begin(), table.levels.end(), s.levels);
    s.group = scheme.granularity.block_cols(inputs);
    if (s.group % info.group_step() != 0 && s.group < inputs) {
      const std::size_t whole = (inputs - 1) / s.group;
      s.k = whole * round_up<std::size_t>(s.group, info.group_step()) + (inputs - whole * s.group);
      s.group = round_up<std::size_t>(s.group, info.group_step());
    }
  }
  s.panel_stride = panel_bytes(s);
  return s;
}

namespace detail {

inline tl::unexpected<Error> bad_packed(std::string what) {
  return fail(ErrorCode::bad_shape, "a packed matrix " + std::move(what));
}

/// Sizes beyond any matrix, below which nothing that is computed of a shape wraps but packed_bytes().
inline constexpr std::uint64_t kMostFeatures = std::uint64_t{1} << 40;

/// Whether a layout holds what a scheme has: codes, or floats of that very type.
inline bool holds(Layout layout, const Scheme& scheme) noexcept {
  if (layout == Layout::f32_p32) return scheme.format == format_id<fp32>;
  if (layout == Layout::bf16_p32) return scheme.format == format_id<bf16>;
  return !scheme.is_cast() && scheme.info().bits <= layout_info(layout).bits;
}

/// Whether a shape is the one of its scheme and sizes.
inline Status check_shape(const PackedShape& s, const Scheme& scheme) {
  if (static_cast<std::size_t>(s.layout) >= kernels::kLayouts.size()) return bad_packed("has an unknown layout");
  const LayoutInfo& info = layout_info(s.layout);
  if (s.n > kMostFeatures || s.inputs > kMostFeatures)
    return bad_packed("is said to be " + std::to_string(s.n) + " x " + std::to_string(s.inputs));
  if (!scheme.is_cast())
    if (const Status ok = check_scheme(scheme, to_text(scheme)); !ok) return ok;
  if (!holds(s.layout, scheme))
    return bad_packed("of " + to_text(scheme) + " has the layout " + std::string(info.id) + ", which holds none");
  const PackedShape made =
      make_shape(scheme, s.n, s.inputs, {s.layout, s.scales_f32, info.bits == 8 && s.mantissa_bits == 0});
  const bool same = s.has_zeros == made.has_zeros && s.has_offsets == made.has_offsets && s.k == made.k &&
                    s.group == made.group && s.panel_stride == made.panel_stride && s.zero == made.zero &&
                    s.code_step == made.code_step && s.mantissa_bits == made.mantissa_bits &&
                    s.scales_f32 == made.scales_f32 && order_key(s.level_unit) == order_key(made.level_unit) &&
                    std::memcmp(s.levels, made.levels, sizeof s.levels) == 0;
  return same ? Status{} : bad_packed("has another shape than " + to_text(scheme) + " of its size");
}

/// Whether these are the levels above the inner one of a stack; none where there is no stack.
inline bool has_outer_levels(const std::vector<ScaleLevel>& levels, const std::optional<NumberStack>& stack,
                             const Scheme& scheme, const PackedShape& s) {
  if (!stack) return levels.empty();
  const std::vector<ScaleLevel> expected = outer_level_shapes(*stack, scheme.granularity, s.n, s.inputs);
  return std::equal(
      levels.begin(), levels.end(), expected.begin(), expected.end(), [](const ScaleLevel& a, const ScaleLevel& b) {
        return a.type == b.type && a.rows == b.rows && a.cols == b.cols && a.values.size() == b.rows * b.cols;
      });
}

/// Whether stored inputs meet inputs: nothing where groups are filled up, and nowhere else.
inline Status check_stored_columns(const PackedWeight& p) {
  const PackedShape& s = p.shape;
  if (p.columns.empty() ? s.k != s.inputs : p.columns.size() != s.k)
    return bad_packed("has an order of " + std::to_string(p.columns.size()) + " inputs, expected " +
                      std::to_string(s.k));
  const std::size_t group = p.scheme.granularity.block_cols(s.inputs);
  for (std::size_t c = 0; c < p.columns.size(); ++c) {
    const bool fills = s.k != s.inputs && c % s.group >= group;
    if (fills ? p.columns[c] != kNoColumn : p.columns[c] >= s.inputs)
      return bad_packed("reads input " + std::to_string(p.columns[c]) + " of " + std::to_string(s.inputs) +
                        " as stored input " + std::to_string(c));
  }
  return {};
}

}  // namespace detail

/// Whether a packed matrix that was made by hand or read from a file is one that kernels and unpack() may be given with
/// these bytes: bad_shape, bad_scheme, or usage where they do not begin at a multiple of 64. What the bytes say is not
/// looked at; any will do.
[[nodiscard]] inline Status check(const PackedWeight& p, std::span<const unsigned char> bytes) {
  const PackedShape& s = p.shape;
  if (const Status ok = detail::check_shape(s, p.scheme); !ok) return ok;
  const auto size = checked_mul(panels(s), s.panel_stride);
  if (!size || bytes.size() < *size)
    return detail::bad_packed("has " + std::to_string(bytes.size()) + " bytes, fewer than its shape asks for");
  if (std::bit_cast<std::uintptr_t>(bytes.data()) % AlignedBytes::kAlignment != 0)
    return fail(ErrorCode::usage, "packed bytes have to begin at a multiple of 64");
  if (!detail::has_outer_levels(p.outer_scales, p.scheme.scales, p.scheme, s) ||
      !detail::has_outer_levels(p.outer_offsets, p.scheme.offsets, p.scheme, s))
    return detail::bad_packed("of " + to_text(p.scheme) + " has other levels of scales than such a one");
  return detail::check_stored_columns(p);
}

}  // namespace kvant
