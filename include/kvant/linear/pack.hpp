// SPDX-License-Identifier: Apache-2.0
// Quantized and float matrices into packed layouts, and back: unpack(pack(q)) has q's codes, scales and zero points.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/linear/layout.hpp"
#include "kvant/quant/qmatrix.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant {

namespace detail {

/// How a format's codes are stored in a layout, and what is stored means: see PackedWeight.
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

/// Integers are stored with an offset, so that the least one is 0; {-1, +1} as the code, 2 * code - 1.
inline void tabulate_integers(const FormatInfo& format, unsigned bits, CodeTable& t) noexcept {
  const bool is_sign = bits == 1 && format.has_signs_only();
  const std::int32_t offset = is_sign || format.low >= 0 ? 0 : 1 << (bits - 1);
  t.zero = is_sign ? 1 : offset;
  t.step = is_sign ? 2 : 1;
  t.fill = static_cast<std::uint8_t>(offset);
  for (std::uint32_t code = 0; code < (1u << format.bits); ++code) {
    const auto steps = static_cast<std::int32_t>(format.decode(code) / format.step());
    t.stored[code] = static_cast<std::uint8_t>(is_sign ? static_cast<std::int32_t>(code) : steps + offset);
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
[[nodiscard]] inline CodeTable code_table(FormatId id, Layout layout, bool with_specials) {
  const FormatInfo& format = format_info(id);
  const unsigned bits = layout_info(layout).bits;
  CodeTable t;
  const auto identity = [&t] {
    for (std::uint32_t code = 0; code < 256; ++code) t.stored[code] = static_cast<std::uint8_t>(code);
    t.mantissa_bits = 0;
  };
  if (format.kind == FormatKind::integer && id != format_id<even2>) {
    tabulate_integers(format, bits, t);
  } else {
    const bool is_minifloat = format.kind == FormatKind::minifloat && bits == 8 && !with_specials;
    bool found = false;
    for (const std::uint32_t mantissa : {3u, 2u, 4u})
      found = found || (is_minifloat && tabulate_minifloats(format, mantissa, t));
    if (!found) identity();
    if (id == format_id<even2>) t.step = 2;
  }
  for (std::uint32_t code = (1u << format.bits); code-- > 0;) {
    const std::uint32_t stored = t.stored[code] & ((1u << bits) - 1u);
    t.flips = t.flips && stored == (code ^ t.fill);
    t.code[stored] = static_cast<std::uint8_t>(code);
    for (std::size_t i = stored; i < t.levels.size(); i += std::size_t{1} << bits) t.levels[i] = format.decode(code);
  }
  return t;
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

/// Whether a float is one of float16, told from its bits alone where that is certain.
[[nodiscard]] inline bool is_half(float x) noexcept {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t exponent = bits >> 23 & 0xffu;
  if (exponent >= 127 - 14 && exponent <= 127 + 15) return (bits & 0x1fffu) == 0;
  return fp16::decode(fp16::encode(x)) == x;
}

/// Whether every scale of a matrix, in steps of its codes, is a float16.
[[nodiscard]] inline bool has_half_scales(const QMatrix& q, const Context& context) {
  const float step = q.scheme.info().step();
  std::atomic<bool> all{true};
  context.for_each(q.scales[0].rows, [&](std::size_t band) noexcept {
    const std::size_t row = band * q.scheme.granularity.block_rows(q.rows);
    for (std::size_t g = 0; g < q.scales[0].cols && all.load(std::memory_order_relaxed); ++g)
      if (!is_half(q.parameters(row, g).scale * step)) all.store(false, std::memory_order_relaxed);
  });
  return all.load();
}

/// Whether NaN or Inf is among the codes.
[[nodiscard]] inline bool has_specials(const QMatrix& q) noexcept {
  const FormatInfo& format = q.scheme.info();
  if (!format.has_nan && !format.has_inf) return false;
  std::array<bool, 256> special{};
  for (std::uint32_t code = 0; code < (1u << format.bits); ++code) special[code] = !is_finite(format.decode(code));
  return std::any_of(q.codes.begin(), q.codes.end(), [&](std::uint8_t code) { return special[code]; });
}

/// Columns of a matrix whose groups are filled up from `group` to `stored` of them.
[[nodiscard]] inline std::vector<std::uint32_t> spread_columns(const QMatrix& q, std::size_t group,
                                                               std::size_t stored) {
  std::vector<std::uint32_t> columns;
  for (std::size_t c = 0; c < q.cols; ++c) {
    if (c != 0 && c % group == 0) columns.resize(c / group * stored, kNoColumn);
    columns.push_back(q.columns.empty() ? static_cast<std::uint32_t>(c) : q.columns[c]);
  }
  return columns;
}

/// A packed weight without its bytes' content.
[[nodiscard]] inline PackedWeight plan_packing(const QMatrix& q, Layout layout, const CodeTable& table,
                                               const Context& context) {
  PackedWeight p;
  p.layout = layout;
  p.n = q.rows;
  p.k = q.cols;
  p.group = q.scheme.granularity.block_cols(q.cols);
  p.scheme = q.scheme;
  p.outer_scales.assign(q.scales.begin() + 1, q.scales.end());
  p.columns = q.columns;
  const std::size_t step = std::max<std::size_t>(layout_info(layout).step, 8);
  if (p.group % step != 0 && p.group < q.cols) {
    p.columns = spread_columns(q, p.group, round_up(p.group, step));
    p.k = p.columns.size();
    p.group = round_up(p.group, step);
  }
  p.reciprocal = q.reciprocal;
  p.has_zeros = !q.zero_points.empty();
  p.zero = table.zero;
  p.code_step = table.step;
  p.levels = table.levels;
  p.mantissa_bits = table.mantissa_bits;
  p.level_unit = table.unit;
  p.scales_f32 = !has_half_scales(q, context);
  p.bytes = AlignedBytes(p.panels() * p.panel_stride());
  return p;
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

/// The codes of one group of one panel: `count` of each row from `column` on, filled up to `steps`.
template <unsigned B>
inline void pack_codes(const QMatrix& q, const CodeTable& t, std::size_t first_row, std::size_t column,
                       std::size_t count, std::size_t steps, const LayoutInfo& info, unsigned char* out) noexcept {
  constexpr std::size_t kStep = 32 / B;
  constexpr std::size_t kSteps = 64;  // of all rows before the next ones: what is written stays in the nearest cache
  for (std::size_t first = 0; first < steps; first += kSteps)
    for (std::size_t c = 0; c < info.columns; ++c) {
      const std::size_t row = first_row + c;
      for (std::size_t s = first; s < std::min(steps, first + kSteps); ++s) {
        const std::size_t left = row < q.rows && s * kStep < count ? count - s * kStep : 0;
        const std::uint8_t* codes = left != 0 ? q.codes.data() + row * q.cols + column + s * kStep : nullptr;
        const std::uint32_t word = left < kStep ? pack_step<B>(codes, left, t)
                                   : t.flips    ? pack_flipped_step<B>(codes, t.fill)
                                                : pack_step<B>(codes, kStep, t);
        std::memcpy(out + s * info.step_bytes + 4 * c, &word, sizeof word);
      }
    }
}

/// One panel, group by group: codes, then scales and zero points.
inline void pack_panel(const QMatrix& q, const CodeTable& table, PackedWeight& p, std::size_t panel) noexcept {
  const LayoutInfo& info = layout_info(p.layout);
  const float step = q.scheme.info().step();
  const std::size_t group = q.scheme.granularity.block_cols(q.cols);
  const std::size_t first_row = panel * info.columns;
  const std::size_t rows = std::min(info.columns, q.rows - first_row);
  const auto pack = info.bits == 8   ? &pack_codes<8>
                    : info.bits == 4 ? &pack_codes<4>
                    : info.bits == 2 ? &pack_codes<2>
                                     : &pack_codes<1>;
  for (std::size_t first = 0, g = 0; first < q.cols; first += group, ++g) {
    unsigned char* const codes = p.bytes.data() + panel * p.panel_stride() + p.group_offset(g);
    const std::size_t steps = ceil_div(std::min(p.group, p.k - g * p.group), info.step);
    pack(q, table, first_row, first, std::min(group, q.cols - first), steps, info, codes);
    unsigned char* const record = codes + steps * info.step_bytes;
    for (std::size_t c = 0; c < rows; ++c) {
      const GroupParameters parameters = q.parameters(first_row + c, g);
      store_scale(record, c, p.scales_f32, parameters.scale * step);
      if (p.has_zeros)
        record[info.columns * (p.scales_f32 ? 4 : 2) + c] = static_cast<unsigned char>(parameters.zero + p.zero);
    }
  }
}

}  // namespace detail

/// The layout whose kernels multiply by matrices of this scheme: the narrowest one that holds its codes, among those
/// whose steps fill its groups if there is one. Scales of several levels are multiplied out.
[[nodiscard]] inline Layout layout_for(const QMatrix& q) {
  const FormatInfo& format = q.scheme.info();
  const std::size_t group = q.scheme.granularity.block_cols(q.cols);
  for (const Layout layout : {Layout::w1_p32, Layout::w2_p32, Layout::w4_p32}) {
    const LayoutInfo& info = layout_info(layout);
    const bool fits = group % info.step == 0 || group >= q.cols || group % 8 != 0;
    if (format.bits <= info.bits && fits) return layout;
  }
  return Layout::w8_p64;
}

/// Packs a quantized matrix. The bytes do not depend on the context. Errors: those of check().
[[nodiscard]] inline Result<PackedWeight> pack(const QMatrix& q, const Context& context = {}) {
  if (const Status ok = check(q); !ok) return propagate(ok);
  const DefaultFpEnvironment standard;
  const Layout layout = layout_for(q);
  const detail::CodeTable table =
      detail::code_table(q.scheme.format, layout, layout_info(layout).bits == 8 && detail::has_specials(q));
  PackedWeight p = detail::plan_packing(q, layout, table, context);
  context.for_each(p.panels(), [&](std::size_t panel) noexcept { detail::pack_panel(q, table, p, panel); });
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
  // Stored inputs that are none of the matrix fill its groups, so these are narrower than the packed ones.
  const bool is_spread = std::count(p.columns.begin(), p.columns.end(), kNoColumn) != 0;
  const std::size_t cols = p.k - static_cast<std::size_t>(std::count(p.columns.begin(), p.columns.end(), kNoColumn));
  const std::size_t group = granularity.block_cols(cols);
  QMatrix q{.rows = p.n, .cols = cols, .scheme = p.scheme, .codes = std::vector<std::uint8_t>(p.n * cols)};
  std::copy_if(p.columns.begin(), p.columns.end(), std::back_inserter(q.columns),
               [](std::uint32_t column) { return column != kNoColumn; });
  if (is_spread && std::is_sorted(q.columns.begin(), q.columns.end())) q.columns.clear();
  q.reciprocal = p.reciprocal;
  const std::size_t bands = granularity.scale_rows(p.n);
  const std::size_t groups = granularity.scale_cols(cols);
  q.scales.push_back({finest_scale_type(p.scheme), bands, groups, std::vector<float>(bands * groups)});
  q.scales.insert(q.scales.end(), p.outer_scales.begin(), p.outer_scales.end());
  if (p.has_zeros) q.zero_points.resize(bands * groups);
  const detail::CodeTable table = detail::code_table(p.scheme.format, p.layout, info.bits == 8 && p.mantissa_bits == 0);
  for (std::size_t row = 0; row < p.n; ++row)
    for (std::size_t first = 0, g = 0; first < cols; first += group, ++g) {
      const std::size_t c = row % info.columns;
      const unsigned char* const codes = p.bytes.data() + row / info.columns * p.panel_stride() + p.group_offset(g);
      for (std::size_t j = 0; j < std::min(group, cols - first); ++j) {
        const auto slot = detail::code_slot(p.layout, c, j);
        q.codes[row * cols + first + j] = table.code[codes[slot.byte] >> slot.shift & slot.mask];
      }
      const std::size_t stored = std::min(p.group, p.k - g * p.group);
      const unsigned char* const record = codes + ceil_div(stored, info.step) * info.step_bytes;
      const std::size_t index = row / granularity.block_rows(p.n) * groups + g;
      const float scale = detail::load_scale(record, c, p.scales_f32) / format.step();
      q.scales[0].values[index] = detail::finest_scale(q, row, g, scale);
      if (p.has_zeros)
        q.zero_points[index] = static_cast<std::int16_t>(record[info.columns * (p.scales_f32 ? 4 : 2) + c] - p.zero);
    }
  return q;
}

/// A float matrix [n, k] as float32 panels.
[[nodiscard]] inline PackedWeight pack_f32(MatrixView<const float> w, const Context& context = {}) {
  PackedWeight p;
  p.layout = Layout::f32_p32;
  p.scheme.format = format_id<fp32>;
  p.n = w.rows();
  p.k = w.cols();
  p.bytes = AlignedBytes(p.panels() * p.panel_stride());
  context.for_each(p.panels(), [&](std::size_t panel) noexcept {
    unsigned char* const out = p.bytes.data() + panel * p.panel_stride();
    for (std::size_t r = panel * 32; r < std::min(p.n, panel * 32 + 32); ++r)
      for (std::size_t c = 0; c < p.k; ++c) std::memcpy(out + (c * 32 + r % 32) * 4, &w(r, c), 4);
  });
  return p;
}

/// A float matrix [n, k] as bfloat16 panels, rounded to nearest even (exact for weights that were bfloat16).
[[nodiscard]] inline PackedWeight pack_bf16(MatrixView<const float> w, const Context& context = {}) {
  PackedWeight p;
  p.layout = Layout::bf16_p32;
  p.n = w.rows();
  p.k = w.cols();
  p.scheme.format = format_id<bf16>;
  p.bytes = AlignedBytes(p.panels() * p.panel_stride());
  context.for_each(p.panels(), [&](std::size_t panel) noexcept {
    unsigned char* const out = p.bytes.data() + panel * p.panel_stride();
    for (std::size_t r = panel * 32; r < std::min(p.n, panel * 32 + 32); ++r)
      for (std::size_t c = 0; c < p.k; ++c) {
        const std::uint16_t half = bf16::encode(w(r, c), {Rounding::nearest_even, Overflow::ieee, 0});
        std::memcpy(out + (c / 2 * 64 + r % 32 * 2 + c % 2) * 2, &half, 2);
      }
  });
  return p;
}

}  // namespace kvant
