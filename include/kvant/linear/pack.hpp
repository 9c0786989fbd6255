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

/// What is added to a code's integer value to store it unsigned; the stored byte of other formats is the code itself.
[[nodiscard]] inline std::int32_t stored_offset(const FormatInfo& format, Layout layout) noexcept {
  if (format.kind != FormatKind::integer || format.low >= 0) return 0;
  return layout == Layout::w4_p32 ? 8 : 128;
}
[[nodiscard]] inline std::uint8_t stored_code(const FormatInfo& format, Layout layout, std::uint8_t code) noexcept {
  if (format.kind != FormatKind::integer) return code;
  const float steps = format.decode(code) / format.step();
  return static_cast<std::uint8_t>(static_cast<std::int32_t>(steps) + stored_offset(format, layout));
}

/// Address of the byte that holds column c, input j of the group at `codes`, and whether it is the high nibble.
struct CodeSlot {
  std::size_t byte;
  bool high;
};
[[nodiscard]] constexpr CodeSlot code_slot(Layout layout, std::size_t column, std::size_t j) noexcept {
  if (layout == Layout::w4_p32) return {j / 8 * 128 + column / 16 * 64 + column % 16 * 4 + j % 4, j % 8 >= 4};
  return {j / 4 * 256 + column * 4 + j % 4, false};
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
  p.reciprocal = q.reciprocal;
  p.has_zeros = !q.zero_points.empty();
  p.zero = stored_offset(format, layout);
  const std::size_t height = q.scheme.granularity.block_rows(q.rows);
  for (std::size_t r = 0; r < q.rows && !p.scales_f32; r += height)
    for (std::size_t g = 0; g < q.scales[0].cols; ++g) {
      const float scale = q.parameters(r, g).scale * format.step();  // packed codes count steps
      p.scales_f32 = p.scales_f32 || fp16::decode(fp16::encode(scale)) != scale;
    }
  for (std::uint32_t code = 0; layout == Layout::w4_p32 && code < (1u << format.bits); ++code) {
    const auto byte = static_cast<std::uint8_t>(code);
    p.levels[stored_code(format, layout, byte) & 15u] = format.decode(code);
  }
  p.bytes = AlignedBytes(p.panels() * p.panel_stride());
  return p;
}

}  // namespace detail

/// The layout whose kernels multiply by matrices of this scheme directly; none where rows must be decoded first: 8-bit
/// floats, and groups that are no multiple of 8 inputs. Scales of several levels are multiplied out.
[[nodiscard]] inline std::optional<Layout> layout_for(const QMatrix& q) {
  const FormatInfo& format = q.scheme.info();
  const std::size_t group = q.scheme.granularity.block_cols(q.cols);
  if (group % 8 != 0 && group < q.cols) return std::nullopt;
  if (format.bits <= 4) return Layout::w4_p32;
  if (format.kind == FormatKind::integer) return Layout::w8_p64;
  return std::nullopt;
}

/// Packs a quantized matrix; `unsupported` where layout_for() has none.
[[nodiscard]] inline Result<PackedWeight> pack(const QMatrix& q) {
  const auto layout = layout_for(q);
  if (!layout) return fail(ErrorCode::unsupported, to_text(q.scheme) + " has no packed layout; decode its rows");
  const LayoutInfo& info = layout_info(*layout);
  const FormatInfo& format = q.scheme.info();
  PackedWeight p = detail::plan_packing(q, *layout);
  const std::size_t stride = p.panel_stride();
  const auto fill = static_cast<unsigned char>(p.zero | (*layout == Layout::w4_p32 ? p.zero << 4 : 0));
  for (std::size_t panel = 0; panel < p.panels(); ++panel)
    for (std::size_t first = 0, g = 0; first < p.k; first += p.group, ++g) {
      unsigned char* const codes = p.bytes.data() + panel * stride + p.group_offset(g);
      const std::size_t count = p.k - first < p.group ? p.k - first : p.group;
      const std::size_t code_bytes = ceil_div(count, info.step) * info.step_bytes;
      std::memset(codes, fill, code_bytes);  // padding means zero
      unsigned char* const record = codes + code_bytes;
      for (std::size_t c = 0; c < info.columns && panel * info.columns + c < p.n; ++c) {
        const std::size_t row = panel * info.columns + c;
        for (std::size_t j = 0; j < count; ++j) {
          const auto slot = detail::code_slot(*layout, c, j);
          const unsigned code = detail::stored_code(format, *layout, q.codes[row * q.cols + first + j]);
          if (*layout == Layout::w8_p64)
            codes[slot.byte] = static_cast<unsigned char>(code);
          else
            codes[slot.byte] = static_cast<unsigned char>(slot.high ? (codes[slot.byte] & 0x0fu) | code << 4
                                                                    : (codes[slot.byte] & 0xf0u) | code);
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

/// The quantized matrix that was packed. Contract: a w4 or w8 layout.
[[nodiscard]] inline QMatrix unpack(const PackedWeight& p) {
  expects(p.layout == Layout::w4_p32 || p.layout == Layout::w8_p64, "a quantized layout");
  const LayoutInfo& info = layout_info(p.layout);
  const FormatInfo& format = p.scheme.info();
  const Granularity& granularity = p.scheme.granularity;
  QMatrix q{p.n, p.k, p.scheme, std::vector<std::uint8_t>(p.n * p.k), {}, {}, 0, p.reciprocal};
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
        const unsigned byte = codes[slot.byte];
        const unsigned stored = p.layout == Layout::w8_p64 ? byte : slot.high ? byte >> 4 : byte & 15u;
        const auto value = static_cast<float>(static_cast<std::int32_t>(stored) - p.zero) * format.step();
        q.codes[row * p.k + first + j] = static_cast<std::uint8_t>(
            format.kind == FormatKind::integer ? format.encode(value, {}) : static_cast<std::uint32_t>(stored));
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
