// SPDX-License-Identifier: Apache-2.0
// The definition of products with packed weights, and of rows of them. Included as generic.inl is.

// ---- reading packed weights ----------------------------------------------------------------------------------------

inline float load_f32(const unsigned char* p) noexcept {
  float x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
inline float load_f16(const unsigned char* p) noexcept {
  return fp16::decode(static_cast<std::uint16_t>(p[0] | p[1] << 8));
}
inline float load_bf16(const unsigned char* p) noexcept {
  return bf16::decode(static_cast<std::uint16_t>(p[0] | p[1] << 8));
}

/// Where a group of a panel lies: its codes, its record of scales and zero points, its first input and their number.
struct Group {
  const unsigned char* codes;
  const unsigned char* record;
  std::size_t first, count, index;
};

/// Calls body(Group) for each group of a panel. `columns` per panel, `step` inputs and `step_bytes` bytes per step.
template <class Args, class Body>
inline void for_each_group(const Args& g, std::size_t panel, std::size_t columns, std::size_t step,
                           std::size_t step_bytes, Body body) noexcept {
  const unsigned char* p = g.weights + panel * g.panel_stride;
  const std::size_t record_bytes = columns * (g.scales_f32 ? 4 : 2) + (g.has_zeros ? 64 : 0);
  std::size_t index = 0;
  for (std::size_t first = 0; first < g.k; first += g.group, ++index) {
    const std::size_t count = g.k - first < g.group ? g.k - first : g.group;
    const std::size_t code_bytes = (count + step - 1) / step * step_bytes;
    body(Group{p, p + code_bytes, first, count, index});
    p += code_bytes + record_bytes;
  }
}

template <class Args>
inline float group_scale(const Args& g, const Group& group, std::size_t column) noexcept {
  return g.scales_f32 ? load_f32(group.record + 4 * column) : load_f16(group.record + 2 * column);
}
template <class Args>
inline std::int32_t group_zero(const Args& g, const Group& group, std::size_t columns, std::size_t column) noexcept {
  return g.has_zeros ? group.record[columns * (g.scales_f32 ? 4 : 2) + column] : g.zero;
}
/// Codes of input j of a group, counted from its first.
template <unsigned Bits>
inline unsigned packed_code(const Group& group, std::size_t j, std::size_t column) noexcept {
  constexpr std::size_t kStep = 32 / Bits;
  const unsigned byte = group.codes[j / kStep * 128 + column / 16 * 64 + column % 16 * 4 + j % 4];
  return byte >> (j % kStep / 4 * Bits) & ((1u << Bits) - 1u);
}
inline unsigned w8_code(const Group& group, std::size_t j, std::size_t column) noexcept {
  return group.codes[j / 4 * 256 + column * 4 + j % 4];
}
template <class Args>
inline float w8_value(const Args& g, unsigned code) noexcept {
  return g.levels != nullptr ? g.levels[code] : static_cast<float>(static_cast<std::int32_t>(code) - g.zero);
}

// ---- 16-bit floats --------------------------------------------------------------------------------------------------

inline constexpr RoundingMode kToHalf{Rounding::nearest_even, Overflow::ieee, 0};

inline float quiet(float x) noexcept {
  if (!is_nan(x)) return x;
  const std::uint32_t bits = float_bits(x) | 0x400000u;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}
inline void narrow_fp16(const NarrowArgs& g) noexcept {
  for (std::size_t i = 0; i < g.n; ++i) g.codes[i] = fp16::encode(g.x[i], kToHalf);
}
inline void narrow_bf16(const NarrowArgs& g) noexcept {
  for (std::size_t i = 0; i < g.n; ++i) g.codes[i] = bf16::encode(g.x[i], kToHalf);
}
inline void widen_fp16(const WidenArgs& g) noexcept {
  for (std::size_t i = 0; i < g.n; ++i) g.out[i] = quiet(fp16::decode(g.codes[i]));
}
inline void widen_bf16(const WidenArgs& g) noexcept {
  for (std::size_t i = 0; i < g.n; ++i) g.out[i] = quiet(bf16::decode(g.codes[i]));
}

// ---- matrix products -----------------------------------------------------------------------------------------------

/// An output, `sum` being that of its products, and for int8 activations `row_scale` the scale of its row.
inline void store_output(const GemmArgs& g, std::size_t row, std::size_t feature, float sum,
                         const float* row_scale = nullptr) noexcept {
  const float bias = g.bias != nullptr ? g.bias[feature] : 0.0f;
  float y = (row_scale != nullptr ? std::fma(sum, *row_scale, bias) : sum + bias) * g.scale;
  const std::size_t at = row * g.ldy + feature;
  if (g.y_type == OutputType::f32) {
    g.y[at] = g.accumulate ? g.y[at] + y : y;
    return;
  }
  const bool is_fp16 = g.y_type == OutputType::fp16;
  if (g.accumulate) y = quiet(is_fp16 ? fp16::decode(g.y16[at]) : bf16::decode(g.y16[at])) + y;
  g.y16[at] = static_cast<std::uint16_t>(is_fp16 ? fp16::encode(y, kToHalf) : bf16::encode(y, kToHalf));
}

/// Calls body(row of a, column within the panel, output feature) for every output of a panel.
template <class Body>
inline void for_each_output(const GemmArgs& g, std::size_t panel, std::size_t columns, Body body) noexcept {
  for (std::size_t i = 0; i < g.m; ++i)
    for (std::size_t c = 0; c < columns && panel * columns + c < g.n; ++c) body(i, c, panel * columns + c);
}

/// The sum is one fma chain over k, from 0.
inline void gemm_f32_f32(const GemmArgs& g) noexcept {
  for (std::size_t panel = g.panel_begin; panel < g.panel_end; ++panel) {
    const unsigned char* w = g.weights + panel * g.panel_stride;
    for_each_output(g, panel, 32, [&](std::size_t i, std::size_t c, std::size_t feature) {
      float sum = 0.0f;
      for (std::size_t k = 0; k < g.k; ++k) sum = std::fma(load_f32(w + (k * 32 + c) * 4), g.a_f32[i * g.lda + k], sum);
      store_output(g, i, feature, sum);
    });
  }
}

/// As gemm_f32_f32, with weights widened exactly.
inline void gemm_bf16_f32(const GemmArgs& g) noexcept {
  for (std::size_t panel = g.panel_begin; panel < g.panel_end; ++panel) {
    const unsigned char* w = g.weights + panel * g.panel_stride;
    for_each_output(g, panel, 32, [&](std::size_t i, std::size_t c, std::size_t feature) {
      float sum = 0.0f;
      for (std::size_t k = 0; k < g.k; ++k)
        sum = std::fma(load_bf16(w + (k / 2 * 64 + c * 2 + k % 2) * 2), g.a_f32[i * g.lda + k], sum);
      store_output(g, i, feature, sum);
    });
  }
}

/// Per group: part = fma chain of value(code) * a over its inputs in order, padding included; part -= zero * (sum of a)
/// where zero points vary; sum = fma(part, scale, sum). `value` is the code's value before its zero point.
template <class Code, class Value>
inline void gemm_grouped_f32(const GemmArgs& g, std::size_t columns, std::size_t step, std::size_t step_bytes,
                             Code code, Value value) noexcept {
  const std::size_t groups = g.group != 0 ? (g.k + g.group - 1) / g.group : 0;
  for (std::size_t panel = g.panel_begin; panel < g.panel_end; ++panel)
    for_each_output(g, panel, columns, [&](std::size_t i, std::size_t c, std::size_t feature) {
      float sum = 0.0f;
      for_each_group(g, panel, columns, step, step_bytes, [&](const Group& group) {
        float part = 0.0f;
        const std::size_t padded = (group.count + step - 1) / step * step;
        for (std::size_t j = 0; j < padded; ++j)
          part = std::fma(value(code(group, j, c)), g.a_f32[i * g.lda + group.first + j], part);
        if (g.has_zeros) {
          const float zero = static_cast<float>(group_zero(g, group, columns, c) - g.zero);
          part = std::fma(-zero, g.a_sums_f32[i * groups + group.index], part);
        }
        sum = std::fma(part, group_scale(g, group, c), sum);
      });
      store_output(g, i, feature, sum);
    });
}

template <unsigned Bits>
inline void gemm_packed_f32(const GemmArgs& g) noexcept {
  gemm_grouped_f32(g, 32, 32 / Bits, 128, packed_code<Bits>, [&](unsigned code) { return g.levels[code]; });
}
inline void gemm_w4_f32(const GemmArgs& g) noexcept { gemm_packed_f32<4>(g); }
inline void gemm_w2_f32(const GemmArgs& g) noexcept { gemm_packed_f32<2>(g); }
inline void gemm_w1_f32(const GemmArgs& g) noexcept { gemm_packed_f32<1>(g); }
inline void gemm_w8_f32(const GemmArgs& g) noexcept {
  gemm_grouped_f32(g, 64, 4, 256, w8_code, [&](unsigned code) { return w8_value(g, code); });
}

/// Per group: the exact integer sum of (code_step * code - zero) * a; sum = fma(float of it, scale, sum).
/// With the bias of store_output() it becomes fma(sum, scale of the row of a, bias).
template <class Code>
inline void gemm_grouped_s8(const GemmArgs& g, std::size_t columns, std::size_t step, std::size_t step_bytes,
                            Code code) noexcept {
  const std::size_t groups = g.group != 0 ? (g.k + g.group - 1) / g.group : 0;
  for (std::size_t panel = g.panel_begin; panel < g.panel_end; ++panel)
    for_each_output(g, panel, columns, [&](std::size_t i, std::size_t c, std::size_t feature) {
      float sum = 0.0f;
      for_each_group(g, panel, columns, step, step_bytes, [&](const Group& group) {
        std::int32_t part = 0;
        for (std::size_t j = 0; j < group.count; ++j)
          part += static_cast<std::int32_t>(code(group, j, c)) * g.a_s8[i * g.lda + group.first + j];
        part *= g.code_step;
        part -= group_zero(g, group, columns, c) * g.a_sums_s32[i * groups + group.index];
        sum = std::fma(static_cast<float>(part), group_scale(g, group, c), sum);
      });
      store_output(g, i, feature, sum, g.a_scales + i);
    });
}

inline void gemm_w4_s8(const GemmArgs& g) noexcept { gemm_grouped_s8(g, 32, 8, 128, packed_code<4>); }
inline void gemm_w2_s8(const GemmArgs& g) noexcept { gemm_grouped_s8(g, 32, 16, 128, packed_code<2>); }
inline void gemm_w1_s8(const GemmArgs& g) noexcept { gemm_grouped_s8(g, 32, 32, 128, packed_code<1>); }
inline void gemm_w8_s8(const GemmArgs& g) noexcept { gemm_grouped_s8(g, 64, 4, 256, w8_code); }

// ---- rows of packed weights ----------------------------------------------------------------------------------------

inline void gather_f32(const GatherArgs& g) noexcept {
  for (std::size_t i = 0; i < g.count; ++i) {
    const auto row = static_cast<std::size_t>(g.ids[i]);
    const unsigned char* w = g.weights + row / 32 * g.panel_stride;
    for (std::size_t k = 0; k < g.k; ++k) g.out[i * g.ldo + k] = load_f32(w + (k * 32 + row % 32) * 4);
  }
}
inline void gather_bf16(const GatherArgs& g) noexcept {
  for (std::size_t i = 0; i < g.count; ++i) {
    const auto row = static_cast<std::size_t>(g.ids[i]);
    const unsigned char* w = g.weights + row / 32 * g.panel_stride;
    for (std::size_t k = 0; k < g.k; ++k) g.out[i * g.ldo + k] = load_bf16(w + (k / 2 * 64 + row % 32 * 2 + k % 2) * 2);
  }
}

/// scale * (value - zero), rounded once per operation as written: the value that the file stores.
template <class Code, class Value>
inline void gather_grouped(const GatherArgs& g, std::size_t columns, std::size_t step, std::size_t step_bytes,
                           Code code, Value value) noexcept {
  for (std::size_t i = 0; i < g.count; ++i) {
    const auto row = static_cast<std::size_t>(g.ids[i]);
    const std::size_t c = row % columns;
    for_each_group(g, row / columns, columns, step, step_bytes, [&](const Group& group) {
      const float scale = group_scale(g, group, c);
      const float zero = g.has_zeros ? static_cast<float>(group_zero(g, group, columns, c) - g.zero) : 0.0f;
      for (std::size_t j = 0; j < group.count; ++j)
        g.out[i * g.ldo + group.first + j] = scale * (value(code(group, j, c)) - zero);
    });
  }
}
template <unsigned Bits>
inline void gather_packed(const GatherArgs& g) noexcept {
  gather_grouped(g, 32, 32 / Bits, 128, packed_code<Bits>, [&](unsigned code) { return g.levels[code]; });
}
inline void gather_w4(const GatherArgs& g) noexcept { gather_packed<4>(g); }
inline void gather_w2(const GatherArgs& g) noexcept { gather_packed<2>(g); }
inline void gather_w1(const GatherArgs& g) noexcept { gather_packed<1>(g); }
inline void gather_w8(const GatherArgs& g) noexcept {
  gather_grouped(g, 64, 4, 256, w8_code, [&](unsigned code) { return w8_value(g, code); });
}
