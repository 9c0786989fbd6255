// SPDX-License-Identifier: Apache-2.0
// Quantized and float matrices into packed layouts, and back: unpack(pack(q)) has q's codes, scales and zero points.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/linear/layout.hpp"
#include "kvant/quant/qmatrix.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant {

namespace detail {

/// How a format's codes are stored in a layout: a stored code is the code of a codebook or minifloat, an integer plus
/// `zero` otherwise; and what it means, see PackedWeight. {-1, +1} in one bit is the code itself, 2 * code - 1.
struct CodeForm {
  std::int32_t offset = 0;  ///< from an integer to its stored code
  std::int32_t zero = 0;
  std::int32_t step = 1;
};
/// Whether a code is a sign: {-1, +1} in one bit.
[[nodiscard]] constexpr bool is_sign_bit(const FormatInfo& format, Layout layout) noexcept {
  return layout == Layout::w1_p32 && format.has_signs_only();
}
[[nodiscard]] inline CodeForm code_form(FormatId id, Layout layout) noexcept {
  const FormatInfo& format = format_info(id);
  if (id == format_id<even2>) return {0, 0, 2};
  if (format.kind != FormatKind::integer) return {0, 0, 0};
  if (is_sign_bit(format, layout)) return {0, 1, 2};
  const std::int32_t offset = format.low < 0 ? 1 << (layout_info(layout).bits - 1) : 0;
  return {offset, offset, 1};
}
[[nodiscard]] inline std::uint8_t stored_code(FormatId id, Layout layout, std::uint8_t code) noexcept {
  const FormatInfo& format = format_info(id);
  if (format.kind != FormatKind::integer || is_sign_bit(format, layout)) return code;
  const float steps = format.decode(code) / format.step();
  return static_cast<std::uint8_t>(static_cast<std::int32_t>(steps) + code_form(id, layout).offset);
}
/// The code that is stored as `stored`.
[[nodiscard]] inline std::uint8_t code_of(FormatId id, Layout layout, std::uint8_t stored) noexcept {
  const FormatInfo& format = format_info(id);
  if (format.kind != FormatKind::integer || is_sign_bit(format, layout)) return stored;
  const std::int32_t steps = static_cast<std::int32_t>(stored) - code_form(id, layout).offset;
  return static_cast<std::uint8_t>(format.encode(static_cast<float>(steps) * format.step()));
}

/// Where the code of column c, input j of a group lies: the byte from the start of the group, and the bits in it.
struct CodeSlot {
  std::size_t byte;
  unsigned shift, mask;
};
[[nodiscard]] constexpr CodeSlot code_slot(Layout layout, std::size_t column, std::size_t j) noexcept {
  const LayoutInfo& info = layout_info(layout);
  const auto shift = static_cast<unsigned>(j % info.step / 4 * info.bits);
  return {j / info.step * info.step_bytes + column * 4 + j % 4, shift, (1u << info.bits) - 1u};
}

inline void store_scale(unsigned char* record, std::size_t column, bool f32, float scale) noexcept {
  if (f32) {
    std::memcpy(record + 4 * column, &scale, sizeof scale);
  } else {
    const std::uint16_t half = fp16::encode(scale);
    std::memcpy(record + 2 * column, &half, sizeof half);
  }
}
[[nodiscard]] inline float load_scale(const unsigned char* record, std::size_t column, bool f32) noexcept {
  if (!f32) {
    std::uint16_t half = 0;
    std::memcpy(&half, record + 2 * column, sizeof half);
    return fp16::decode(half);
  }
  float scale = 0;
  std::memcpy(&scale, record + 4 * column, sizeof scale);
  return scale;
}

/// A packed weight without its bytes' content.
[[nodiscard]] inline PackedWeight plan_packing(const QMatrix& q, Layout layout) {
  const FormatInfo& format = q.scheme.info();
  PackedWeight p;
  p.layout = layout;
  p.n = q.rows;
  p.k = q.cols;
  p.group = q.scheme.granularity.block_cols(q.cols);
  p.scheme = q.scheme;
  p.outer_scales.assign(q.scales.begin() + 1, q.scales.end());
  p.columns = q.columns;
  p.reciprocal = q.reciprocal;
  p.has_zeros = !q.zero_points.empty();
  const CodeForm form = code_form(q.scheme.format, layout);
  p.zero = form.zero;
  p.code_step = form.step;
  const std::size_t height = q.scheme.granularity.block_rows(q.rows);
  for (std::size_t r = 0; r < q.rows && !p.scales_f32; r += height)
    for (std::size_t g = 0; g < q.scales[0].cols; ++g) {
      const float scale = q.parameters(r, g).scale * format.step();  // packed codes count steps
      p.scales_f32 = p.scales_f32 || fp16::decode(fp16::encode(scale)) != scale;
    }
  const unsigned bits = layout_info(layout).bits;
  for (std::uint32_t code = 0; bits <= 4 && code < (1u << format.bits); ++code) {
    const unsigned stored = stored_code(q.scheme.format, layout, static_cast<std::uint8_t>(code)) & ((1u << bits) - 1u);
    for (std::size_t i = stored; i < p.levels.size(); i += std::size_t{1} << bits) p.levels[i] = format.decode(code);
  }
  p.bytes = AlignedBytes(p.panels() * p.panel_stride());
  return p;
}

}  // namespace detail

/// The layout whose kernels multiply by matrices of this scheme directly: the narrowest one that holds its codes and
/// whose steps fill its groups. None where rows must be decoded first: floats of more than 4 bits, and groups that are
/// no multiple of 8 inputs. Scales of several levels are multiplied out.
[[nodiscard]] inline std::optional<Layout> layout_for(const QMatrix& q) {
  const FormatInfo& format = q.scheme.info();
  const std::size_t group = q.scheme.granularity.block_cols(q.cols);
  for (const Layout layout : {Layout::w1_p32, Layout::w2_p32, Layout::w4_p32}) {
    const LayoutInfo& info = layout_info(layout);
    if (format.bits <= info.bits && (group % info.step == 0 || group >= q.cols)) return layout;
  }
  if (format.kind == FormatKind::integer && (group % 8 == 0 || group >= q.cols)) return Layout::w8_p64;
  return std::nullopt;
}

/// Packs a quantized matrix; `unsupported` where layout_for() has none, and the errors of check().
[[nodiscard]] inline Result<PackedWeight> pack(const QMatrix& q) {
  if (const Status ok = check(q); !ok) return propagate(ok);
  const auto layout = layout_for(q);
  if (!layout) return fail(ErrorCode::unsupported, to_text(q.scheme) + " has no packed layout; decode its rows");
  const LayoutInfo& info = layout_info(*layout);
  const FormatInfo& format = q.scheme.info();
  PackedWeight p = detail::plan_packing(q, *layout);
  const std::size_t stride = p.panel_stride();
  const FormatId id = q.scheme.format;
  unsigned char fill = 0;  // padding means zero
  for (unsigned shift = 0; shift < 8; shift += info.bits)
    fill = static_cast<unsigned char>(fill | detail::code_form(id, *layout).offset << shift);
  for (std::size_t panel = 0; panel < p.panels(); ++panel)
    for (std::size_t first = 0, g = 0; first < p.k; first += p.group, ++g) {
      unsigned char* const codes = p.bytes.data() + panel * stride + p.group_offset(g);
      const std::size_t count = p.k - first < p.group ? p.k - first : p.group;
      const std::size_t code_bytes = ceil_div(count, info.step) * info.step_bytes;
      std::memset(codes, fill, code_bytes);
      unsigned char* const record = codes + code_bytes;
      for (std::size_t c = 0; c < info.columns && panel * info.columns + c < p.n; ++c) {
        const std::size_t row = panel * info.columns + c;
        for (std::size_t j = 0; j < count; ++j) {
          const auto slot = detail::code_slot(*layout, c, j);
          const unsigned code = detail::stored_code(id, *layout, q.codes[row * q.cols + first + j]);
          codes[slot.byte] = static_cast<unsigned char>((codes[slot.byte] & ~(slot.mask << slot.shift)) |
                                                        (code & slot.mask) << slot.shift);
        }
        const GroupParameters parameters = q.parameters(row, g);
        detail::store_scale(record, c, p.scales_f32, parameters.scale * format.step());
        if (p.has_zeros)
          record[info.columns * (p.scales_f32 ? 4 : 2) + c] = static_cast<unsigned char>(parameters.zero + p.zero);
      }
    }
  return p;
}

namespace detail {

/// The number at the finest level of scales that `scale` was made of. Where a step of double-quantized scales vanishes
/// beside their mean, several numbers mean the same, and this is one of them.
[[nodiscard]] inline float finest_scale(const QMatrix& q, std::size_t r, std::size_t group, float scale) {
  switch (q.scheme.nesting) {
    case ScaleNesting::none:
      break;
    case ScaleNesting::double_quant: {
      const float step =
          q.scales[1].values[(r / q.scheme.granularity.block_rows(q.rows) * q.scales[0].cols + group) / kScalesPerStep];
      return step == 0.0f ? 0.0f
                          : static_cast<float>(to_integer(divide(scale - q.scales[2].values[0], step), -127, 127));
    }
    case ScaleNesting::per_tensor: {
      const float super = q.scales[1].values[0];
      const FormatInfo& type = format_info(q.scales[0].type);
      return type.decode(type.encode(q.reciprocal ? scale * super : divide(scale, super)));
    }
    case ScaleNesting::integer: {
      const std::size_t column = group * q.scheme.granularity.block_cols(q.cols);
      const float super = q.scales[1].values[r * q.scales[1].cols + column / kSuperScaleColumns];
      return super == 0.0f ? 1.0f : static_cast<float>(to_integer(divide(scale, super), 1, 255));
    }
  }
  return scale;
}

}  // namespace detail

/// The quantized matrix that was packed. Contract: a layout of codes.
[[nodiscard]] inline QMatrix unpack(const PackedWeight& p) {
  expects(layout_info(p.layout).bits <= 8, "a layout of codes");
  const LayoutInfo& info = layout_info(p.layout);
  const FormatInfo& format = p.scheme.info();
  const Granularity& granularity = p.scheme.granularity;
  QMatrix q{.rows = p.n, .cols = p.k, .scheme = p.scheme, .codes = std::vector<std::uint8_t>(p.n * p.k)};
  q.columns = p.columns;
  q.reciprocal = p.reciprocal;
  const std::size_t bands = granularity.scale_rows(p.n);
  const std::size_t groups = granularity.scale_cols(p.k);
  q.scales.push_back({finest_scale_type(p.scheme), bands, groups, std::vector<float>(bands * groups)});
  q.scales.insert(q.scales.end(), p.outer_scales.begin(), p.outer_scales.end());
  if (p.has_zeros) q.zero_points.resize(bands * groups);
  const std::size_t stride = p.panel_stride();
  for (std::size_t row = 0; row < p.n; ++row)
    for (std::size_t first = 0, g = 0; first < p.k; first += p.group, ++g) {
      const std::size_t c = row % info.columns;
      const unsigned char* const codes = p.bytes.data() + row / info.columns * stride + p.group_offset(g);
      const std::size_t count = p.k - first < p.group ? p.k - first : p.group;
      for (std::size_t j = 0; j < count; ++j) {
        const auto slot = detail::code_slot(p.layout, c, j);
        const auto stored = static_cast<std::uint8_t>(codes[slot.byte] >> slot.shift & slot.mask);
        q.codes[row * p.k + first + j] = detail::code_of(p.scheme.format, p.layout, stored);
      }
      const unsigned char* const record = codes + ceil_div(count, info.step) * info.step_bytes;
      const std::size_t index = row / granularity.block_rows(p.n) * groups + g;
      const float scale = detail::load_scale(record, c, p.scales_f32) / format.step();
      q.scales[0].values[index] = detail::finest_scale(q, row, g, scale);
      if (p.has_zeros)
        q.zero_points[index] = static_cast<std::int16_t>(record[info.columns * (p.scales_f32 ? 4 : 2) + c] - p.zero);
    }
  return q;
}

/// A float matrix [n, k] as float32 panels.
[[nodiscard]] inline PackedWeight pack_f32(MatrixView<const float> w) {
  PackedWeight p;
  p.layout = Layout::f32_p32;
  p.n = w.rows();
  p.k = w.cols();
  p.bytes = AlignedBytes(p.panels() * p.panel_stride());
  for (std::size_t r = 0; r < p.n; ++r)
    for (std::size_t c = 0; c < p.k; ++c)
      std::memcpy(p.bytes.data() + r / 32 * p.panel_stride() + (c * 32 + r % 32) * 4, &w(r, c), 4);
  return p;
}

/// A float matrix [n, k] as bfloat16 panels, rounded to nearest even (exact for weights that were bfloat16).
[[nodiscard]] inline PackedWeight pack_bf16(MatrixView<const float> w) {
  PackedWeight p;
  p.layout = Layout::bf16_p32;
  p.n = w.rows();
  p.k = w.cols();
  p.scheme.format = format_id<bf16>;
  p.bytes = AlignedBytes(p.panels() * p.panel_stride());
  for (std::size_t r = 0; r < p.n; ++r)
    for (std::size_t c = 0; c < p.k; ++c) {
      const std::uint16_t half = bf16::encode(w(r, c), {Rounding::nearest_even, Overflow::ieee, 0});
      std::memcpy(p.bytes.data() + r / 32 * p.panel_stride() + (c / 2 * 64 + r % 32 * 2 + c % 2) * 2, &half, 2);
    }
  return p;
}

}  // namespace kvant
