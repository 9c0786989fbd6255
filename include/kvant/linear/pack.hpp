// SPDX-License-Identifier: Apache-2.0
// Quantized and float matrices into packed layouts, and back: unpack(pack(q)) has q's codes, zero points and scales.
// Where scales vanish beside or under a level above them, several numbers mean the same, and it has one of them.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "kvant/core/checked.hpp"
#include "kvant/core/contract.hpp"
#include "kvant/core/error.hpp"
#include "kvant/core/fp_environment.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/kernels/layout.hpp"
#include "kvant/linear/code_table.hpp"
#include "kvant/linear/packed_shape.hpp"
#include "kvant/linear/packed_weight.hpp"
#include "kvant/quant/qmatrix.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant {

namespace detail {

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

/// Whether a float is one of float16, told from its bits alone where that is certain.
[[nodiscard]] inline bool is_half(float x) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t exponent = bits >> 23 & 0xffu;
  if (exponent >= 127 - 14 && exponent <= 127 + 15) return (bits & 0x1fffu) == 0;
  return equals(fp16::decode(fp16::encode(x)), x);
}

/// Whether every scale of a matrix, in steps of its codes, and every offset is a float16.
[[nodiscard]] inline bool has_half_scales(const QMatrix& q, const Context& context) {
  const float step = q.scheme.info().step();
  std::atomic<bool> all{true};
  context.for_each(q.scales[0].rows, [&](std::size_t band) noexcept {
    const std::size_t row = band * q.scheme.granularity.block_rows(q.rows);
    for (std::size_t g = 0; g < q.scales[0].cols && all.load(std::memory_order_relaxed); ++g)
      if (const GroupParameters p = q.parameters(row, g); !is_half(p.scale * step) || !is_half(p.offset))
        all.store(false, std::memory_order_relaxed);
  });
  return all.load();
}

/// Whether NaN or Inf is among the codes.
[[nodiscard]] inline bool has_specials(const QMatrix& q) noexcept {
  const FormatInfo& format = q.scheme.info();
  if (!format.has_nan && !format.has_inf) return false;
  std::array<bool, 256> special{};
  for (std::uint32_t code = 0; code < (1u << format.bits); ++code) special[code] = !is_finite(format.decode(code));
  return contains_any(q.codes, special);
}

/// The table that a matrix under this shape is stored by.
[[nodiscard]] inline CodeTable code_table(const Scheme& scheme, const PackedShape& shape) {
  return code_table(scheme.format, shape.layout, layout_info(shape.layout).bits == 8 && shape.mantissa_bits == 0);
}

/// The word of a step of one column: `count` codes of B bits each, then padding.
template <unsigned B>
[[nodiscard]] inline std::uint32_t pack_step(const std::uint8_t* codes, std::size_t count,
                                             const CodeTable& t) noexcept {
  std::uint32_t word = 0;
  for (std::size_t i = 0; i < 32 / B; ++i) {
    const std::uint32_t stored = i < count ? t.stored[codes[i]] & ((1u << B) - 1u) : t.fill;
    word |= stored << (8 * (i % 4) + B * (i / 4));
  }
  return word;
}
/// The same for a whole step, where codes are stored as themselves but for some bits: four of them at a time.
template <unsigned B>
[[nodiscard]] inline std::uint32_t pack_flipped_step(const std::uint8_t* codes, std::uint8_t flip) noexcept {
  std::uint32_t word = 0;
  for (std::size_t quad = 0; quad < 8 / B; ++quad) {
    std::uint32_t four;
    std::memcpy(&four, codes + 4 * quad, sizeof four);
    word |= (four ^ 0x01010101u * flip) << (B * quad);
  }
  return word;
}

/// Whole steps of one row's codes, each to its place in another step of a panel.
template <unsigned B>
inline void pack_steps(const std::uint8_t* codes, std::size_t steps, const CodeTable& t, std::size_t step_bytes,
                       unsigned char* out) noexcept {
  for (std::size_t s = 0; s < steps; ++s, codes += 32 / B, out += step_bytes) {
    const std::uint32_t word = t.flips ? pack_flipped_step<B>(codes, t.fill) : pack_step<B>(codes, 32 / B, t);
    std::memcpy(out, &word, sizeof word);
  }
}

/// The codes of one group of one panel: `count` of each row from `column` on, filled up to `steps`.
template <unsigned B>
inline void pack_codes(const QMatrix& q, const CodeTable& t, std::size_t first_row, std::size_t column,
                       std::size_t count, std::size_t steps, const LayoutInfo& info, unsigned char* out) noexcept {
  constexpr std::size_t kStep = 32 / B;
  constexpr std::size_t kSteps = 64;  // of all rows before the next ones: what is written stays in the nearest cache
  for (std::size_t first = 0; first < steps; first += kSteps)
    for (std::size_t c = 0; c < info.columns; ++c) {
      const std::size_t row = first_row + c;
      const std::size_t whole = row < q.rows ? std::clamp(count / kStep, first, first + kSteps) : first;
      const std::uint8_t* codes = q.codes.data() + (row < q.rows ? row * q.cols + column : 0);
      pack_steps<B>(codes + first * kStep, whole - first, t, info.step_bytes, out + first * info.step_bytes + 4 * c);
      for (std::size_t s = whole; s < std::min(steps, first + kSteps); ++s) {
        const std::size_t left = row < q.rows && s * kStep < count ? count - s * kStep : 0;
        const std::uint32_t word = pack_step<B>(codes + s * kStep, left, t);
        std::memcpy(out + s * info.step_bytes + 4 * c, &word, sizeof word);
      }
    }
}

/// One panel, group by group: codes, then scales and zero points.
inline void pack_panel(const QMatrix& q, const CodeTable& table, const PackedShape& shape, std::size_t panel,
                       unsigned char* out) noexcept {
  const LayoutInfo& info = layout_info(shape.layout);
  const float step = q.scheme.info().step();
  const std::size_t group = q.scheme.granularity.block_cols(q.cols);
  const std::size_t first_row = panel * info.columns;
  const std::size_t rows = std::min(info.columns, q.rows - first_row);
  const auto pack = info.bits == 8   ? &pack_codes<8>
                    : info.bits == 4 ? &pack_codes<4>
                    : info.bits == 2 ? &pack_codes<2>
                                     : &pack_codes<1>;
  for (std::size_t first = 0, g = 0; first < q.cols; first += group, ++g) {
    unsigned char* const codes = out + group_offset(shape, g);
    const std::size_t steps = ceil_div<std::size_t>(std::min(shape.group, shape.k - g * shape.group), info.step);
    pack(q, table, first_row, first, std::min(group, q.cols - first), steps, info, codes);
    unsigned char* const record = codes + steps * info.step_bytes;
    std::memset(record, 0, record_bytes(shape));
    for (std::size_t c = 0; c < rows; ++c) {
      const GroupParameters parameters = q.parameters(first_row + c, g);
      store_scale(record, c, shape.scales_f32, parameters.scale * step);
      if (shape.has_zeros)
        record[info.columns * (shape.scales_f32 ? 4 : 2) + c] =
            static_cast<unsigned char>(parameters.zero + shape.zero);
      if (shape.has_offsets) store_scale(record, info.columns + c, shape.scales_f32, parameters.offset);
    }
  }
}

}  // namespace detail

/// How a quantized matrix will be packed for a context's tier. Errors: those of check().
[[nodiscard]] inline Result<PackedShape> plan_packing(const QMatrix& q, const Context& context = {}) {
  if (const Status ok = check(q); !ok) return propagate(ok);
  const DefaultFpEnvironment standard;
  return make_shape(
      q.scheme, q.rows, q.cols,
      {layout_for(q.scheme, q.cols, context), !detail::has_half_scales(q, context), detail::has_specials(q)});
}

/// The order in which inputs meet stored ones: see PackedWeight::columns.
[[nodiscard]] inline std::vector<std::uint32_t> stored_columns(const QMatrix& q, const PackedShape& shape) {
  if (shape.k == shape.inputs) return q.columns;
  const std::size_t group = q.scheme.granularity.block_cols(q.cols);
  std::vector<std::uint32_t> columns(shape.k, kNoColumn);
  for (std::size_t c = 0; c < q.cols; ++c)
    columns[c / group * shape.group + c % group] = q.columns.empty() ? static_cast<std::uint32_t>(c) : q.columns[c];
  return columns;
}

/// Packs a matrix as it was planned, on the context's threads. Contract: `out` has packed_bytes(shape) bytes and begins
/// at a multiple of 64. The bytes depend on the matrix and the shape alone.
inline void pack_into(const QMatrix& q, const PackedShape& shape, std::span<unsigned char> out,
                      const Context& context = {}) {
  expects(out.size() == packed_bytes(shape), "room for a packed matrix");
  expects(out.empty() || std::bit_cast<std::uintptr_t>(out.data()) % AlignedBytes::kAlignment == 0, "aligned room");
  const detail::CodeTable table = detail::code_table(q.scheme, shape);
  context.for_each(panels(shape), [&](std::size_t panel) noexcept {
    detail::pack_panel(q, table, shape, panel, out.data() + panel * shape.panel_stride);
  });
}

/// Packs a matrix as it was planned. Contract: the shape is one that plan_packing() gave for it.
[[nodiscard]] inline PackedWeight pack_as(const QMatrix& q, const PackedShape& shape, const Context& context = {}) {
  PackedWeight p;
  p.shape = shape;
  p.scheme = q.scheme;
  p.outer_scales.assign(q.scales.begin() + 1, q.scales.end());
  if (!q.offsets.empty()) p.outer_offsets.assign(q.offsets.begin() + 1, q.offsets.end());
  p.reciprocal = q.reciprocal;
  p.columns = stored_columns(q, shape);
  p.bytes = AlignedBytes::uninitialized(packed_bytes(shape));
  pack_into(q, shape, {p.bytes.data(), p.bytes.size()}, context);
  return p;
}
/// Packs a quantized matrix. Errors: those of check().
[[nodiscard]] inline Result<PackedWeight> pack(const QMatrix& q, const Context& context = {}) {
  const auto shape = plan_packing(q, context);
  if (!shape) return propagate(shape);
  return pack_as(q, *shape, context);
}

namespace detail {

/// A stack's levels without inner numbers, which are to come.
[[nodiscard]] inline std::vector<ScaleLevel> levels_under(const NumberStack& stack, const PackedWeight& p,
                                                          const std::vector<ScaleLevel>& outer) {
  std::vector<ScaleLevel> levels = level_shapes(stack, p.scheme.granularity, p.shape.n, p.shape.inputs);
  levels.resize(1);
  levels[0].values.resize(levels[0].rows * levels[0].cols);
  levels.insert(levels.end(), outer.begin(), outer.end());
  return levels;
}

/// Puts the scale, zero point and offset of a group into a matrix, as they are stored.
inline void unpack_record(QMatrix& q, std::size_t row, std::size_t group, const PackedShape& shape,
                          const unsigned char* record, std::size_t column) {
  const std::size_t columns = layout_info(shape.layout).columns;
  const std::size_t index = row / q.scheme.granularity.block_rows(q.rows) * q.scales[0].cols + group;
  const kernels::GroupScales numbers = q.stretch(row, group).scales;
  const auto put = [&](std::vector<ScaleLevel>& levels, const kernels::GroupNumbers& of, float number) {
    levels[0].values[index] = inner_number(format_info(levels[0].type), of, number);
  };
  put(q.scales, numbers.scales, load_scale(record, column, shape.scales_f32) / q.scheme.info().step());
  // Every integer means the same under an outer number of 0; of these there is no 0.
  if (q.scheme.has_integer_scales() && q.scales[0].values[index] < 1.0f) q.scales[0].values[index] = 1.0f;
  if (shape.has_offsets) put(q.offsets, numbers.offsets, load_scale(record, columns + column, shape.scales_f32));
  if (shape.has_zeros)
    q.zero_points[index] =
        static_cast<std::int16_t>(record[columns * (shape.scales_f32 ? 4 : 2) + column] - shape.zero);
}

}  // namespace detail

/// The quantized matrix that was packed, into these bytes. Contract: a layout of codes, and what check() accepts.
[[nodiscard]] inline QMatrix unpack(const PackedWeight& p, std::span<const unsigned char> bytes) {
  const DefaultFpEnvironment standard;
  const PackedShape& shape = p.shape;
  const LayoutInfo& info = layout_info(shape.layout);
  expects(info.has_groups(), "a layout of codes");
  const std::size_t cols = shape.inputs;
  const std::size_t group = p.scheme.granularity.block_cols(cols);
  QMatrix q{.rows = shape.n, .cols = cols, .scheme = p.scheme, .codes = std::vector<std::uint8_t>(shape.n * cols)};
  std::copy_if(p.columns.begin(), p.columns.end(), std::back_inserter(q.columns),
               [](std::uint32_t column) { return column != kNoColumn; });
  std::uint32_t next = 0;
  if (std::all_of(q.columns.begin(), q.columns.end(), [&](std::uint32_t column) { return column == next++; }))
    q.columns.clear();  // in their own order
  q.reciprocal = p.reciprocal;
  q.scales = detail::levels_under(p.scheme.scales, p, p.outer_scales);
  if (p.scheme.offsets) q.offsets = detail::levels_under(*p.scheme.offsets, p, p.outer_offsets);
  if (shape.has_zeros) q.zero_points.resize(q.scales[0].values.size());
  const detail::CodeTable table = detail::code_table(p.scheme, shape);
  for (std::size_t row = 0; row < shape.n; ++row)
    for (std::size_t first = 0, g = 0; first < cols; first += group, ++g) {
      const std::size_t c = row % info.columns;
      const unsigned char* const codes =
          bytes.data() + row / info.columns * shape.panel_stride + group_offset(shape, g);
      for (std::size_t j = 0; j < std::min(group, cols - first); ++j) {
        const kernels::CodeSlot slot = info.slot(c, j);
        q.codes[row * cols + first + j] = table.code[codes[slot.byte] >> slot.shift & slot.mask];
      }
      const std::size_t stored = std::min(shape.group, shape.k - g * shape.group);
      detail::unpack_record(q, row, g, shape, codes + ceil_div(stored, info.step) * info.step_bytes, c);
    }
  return q;
}
[[nodiscard]] inline QMatrix unpack(const PackedWeight& p) { return unpack(p, {p.bytes.data(), p.bytes.size()}); }

namespace detail {

/// Panels of floats, `store(byte, element)` for each.
template <class T, class Store>
inline PackedWeight pack_floats(MatrixView<const T> w, Layout layout, FormatId format, const Context& context,
                                Store store) {
  PackedWeight p;
  p.scheme.format = format;
  p.shape = make_shape(p.scheme, w.rows(), w.cols(), {.layout = layout});
  p.bytes = AlignedBytes(packed_bytes(p.shape));
  const LayoutInfo& info = layout_info(layout);
  context.for_each(panels(p.shape), [&](std::size_t panel) noexcept {
    unsigned char* const out = p.bytes.data() + panel * p.shape.panel_stride;
    for (std::size_t c = 0; c < info.columns && panel * info.columns + c < w.rows(); ++c)
      for (std::size_t k = 0; k < w.cols(); ++k) store(out + info.slot(c, k).byte, w(panel * info.columns + c, k));
  });
  return p;
}
inline void store_float(unsigned char* out, float value) noexcept { std::memcpy(out, &value, sizeof value); }
inline void store_half(unsigned char* out, std::uint16_t code) noexcept { std::memcpy(out, &code, sizeof code); }

}  // namespace detail

/// A float matrix [n, k] as float32 panels.
[[nodiscard]] inline PackedWeight pack_f32(MatrixView<const float> w, const Context& context = {}) {
  return detail::pack_floats(w, Layout::f32_p32, format_id<fp32>, context, &detail::store_float);
}

/// A float matrix [n, k] as bfloat16 panels, rounded to nearest even (exact for weights that were bfloat16).
[[nodiscard]] inline PackedWeight pack_bf16(MatrixView<const float> w, const Context& context = {}) {
  return detail::pack_floats(w, Layout::bf16_p32, format_id<bf16>, context, [](unsigned char* out, float value) {
    detail::store_half(out, bf16::encode(value, {Rounding::nearest_even, Overflow::ieee, 0}));
  });
}

/// Codes of bf16 as bfloat16 panels, those of fp16 as float32 ones. Contract: `format` is one of the two.
[[nodiscard]] inline PackedWeight pack_half(MatrixView<const std::uint16_t> w, FormatId format,
                                            const Context& context = {}) {
  if (format == format_id<bf16>) return detail::pack_floats(w, Layout::bf16_p32, format, context, &detail::store_half);
  return detail::pack_floats(w, Layout::f32_p32, format_id<fp32>, context, [](unsigned char* out, std::uint16_t code) {
    detail::store_float(out, fp16::decode(code));
  });
}

}  // namespace kvant
