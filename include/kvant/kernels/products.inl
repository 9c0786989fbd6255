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

/// Calls body(Group) for each group of a panel.
template <Layout kLayout, class Body>
inline void for_each_group(const PackedShape& s, const unsigned char* weights, std::size_t panel, Body body) noexcept {
  constexpr LayoutInfo kInfo = layout_info(kLayout);
  const unsigned char* p = weights + panel * s.panel_stride;
  std::size_t index = 0;
  for (std::size_t first = 0; first < s.k; first += s.group, ++index) {
    const std::size_t count = s.k - first < s.group ? s.k - first : s.group;
    const std::size_t code_bytes = (count + kInfo.step - 1) / kInfo.step * kInfo.step_bytes;
    body(Group{p, p + code_bytes, first, count, index});
    p += code_bytes + record_bytes(s);
  }
}

inline float group_scale(const PackedShape& s, const Group& group, std::size_t column) noexcept {
  return s.scales_f32 ? load_f32(group.record + 4 * column) : load_f16(group.record + 2 * column);
}
/// Contract: the shape has offsets.
inline float group_offset_of(const PackedShape& s, const Group& group, std::size_t column) noexcept {
  const std::size_t place = layout_info(s.layout).columns + column;
  return s.scales_f32 ? load_f32(group.record + 4 * place) : load_f16(group.record + 2 * place);
}
inline std::int32_t group_zero(const PackedShape& s, const Group& group, std::size_t column) noexcept {
  const std::size_t columns = layout_info(s.layout).columns;
  return s.has_zeros ? group.record[columns * (s.scales_f32 ? 4 : 2) + column] : s.zero;
}
/// The code of input j of a group, counted from its first.
template <Layout kLayout>
inline unsigned packed_code(const Group& group, std::size_t column, std::size_t j) noexcept {
  constexpr LayoutInfo kInfo = layout_info(kLayout);
  const CodeSlot slot = kInfo.slot(column, j);
  return group.codes[slot.byte] >> slot.shift & slot.mask;
}
/// What a code means to products with floats, before its scale and a zero point that varies.
template <Layout kLayout>
inline float code_value(const PackedShape& s, unsigned code) noexcept {
  if (layout_info(kLayout).bits < 8 || s.code_step == 0) return s.levels[code];
  return static_cast<float>(static_cast<std::int32_t>(code) - s.zero);
}
/// A weight of a layout without groups.
template <Layout kLayout>
inline float float_weight(const unsigned char* panel, std::size_t column, std::size_t k) noexcept {
  constexpr LayoutInfo kInfo = layout_info(kLayout);
  const unsigned char* p = panel + kInfo.slot(column, k).byte;
  return kInfo.bits == 32 ? load_f32(p) : load_bf16(p);
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
    for (std::size_t c = 0; c < columns && panel * columns + c < g.shape->n; ++c) body(i, c, panel * columns + c);
}

/// Float weights: the sum is one fma chain over k, from 0.
template <Layout kLayout>
inline void gemm_floats(const GemmArgs& g) noexcept {
  for (std::size_t panel = g.panel_begin; panel < g.panel_end; ++panel) {
    const unsigned char* w = g.weights + panel * g.shape->panel_stride;
    for_each_output(g, panel, 32, [&](std::size_t i, std::size_t c, std::size_t feature) {
      float sum = 0.0f;
      for (std::size_t k = 0; k < g.shape->k; ++k)
        sum = std::fma(float_weight<kLayout>(w, c, k), g.a_f32[i * g.lda + k], sum);
      store_output(g, i, feature, sum);
    });
  }
}
inline void gemm_f32_f32(const GemmArgs& g) noexcept { gemm_floats<Layout::f32_p32>(g); }
inline void gemm_bf16_f32(const GemmArgs& g) noexcept { gemm_floats<Layout::bf16_p32>(g); }

inline std::size_t groups_of(const PackedShape& s) noexcept { return s.group != 0 ? (s.k + s.group - 1) / s.group : 0; }

/// Per group: part = fma chain of value(code) * a over its inputs in order, padding included; part -= zero * (sum of a)
/// where zero points vary; sum = fma(part, scale, sum), and where there are offsets sum = fma(-offset, sum of a, sum).
/// `value` is the code's value before its zero point.
template <Layout kLayout>
inline void gemm_grouped_f32(const GemmArgs& g) noexcept {
  constexpr LayoutInfo kInfo = layout_info(kLayout);
  const PackedShape& s = *g.shape;
  for (std::size_t panel = g.panel_begin; panel < g.panel_end; ++panel)
    for_each_output(g, panel, kInfo.columns, [&](std::size_t i, std::size_t c, std::size_t feature) {
      float sum = 0.0f;
      for_each_group<kLayout>(s, g.weights, panel, [&](const Group& group) {
        float part = 0.0f;
        const std::size_t padded = (group.count + kInfo.step - 1) / kInfo.step * kInfo.step;
        for (std::size_t j = 0; j < padded; ++j)
          part = std::fma(code_value<kLayout>(s, packed_code<kLayout>(group, c, j)),
                          g.a_f32[i * g.lda + group.first + j], part);
        if (s.has_zeros) {
          const float zero = static_cast<float>(group_zero(s, group, c) - s.zero);
          part = std::fma(-zero, g.a_sums_f32[i * groups_of(s) + group.index], part);
        }
        sum = std::fma(part, group_scale(s, group, c), sum);
        if (s.has_offsets)
          sum = std::fma(-group_offset_of(s, group, c), g.a_sums_f32[i * groups_of(s) + group.index], sum);
      });
      store_output(g, i, feature, sum);
    });
}
inline void gemm_w8_f32(const GemmArgs& g) noexcept { gemm_grouped_f32<Layout::w8_p64>(g); }
inline void gemm_w4_f32(const GemmArgs& g) noexcept { gemm_grouped_f32<Layout::w4_p32>(g); }
inline void gemm_w2_f32(const GemmArgs& g) noexcept { gemm_grouped_f32<Layout::w2_p32>(g); }
inline void gemm_w1_f32(const GemmArgs& g) noexcept { gemm_grouped_f32<Layout::w1_p32>(g); }

/// Per group: the exact integer sum of (code_step * code - zero) * a; sum = fma(float of it, scale, sum); offsets as
/// above, with the float of the exact sum of a.
/// With the bias of store_output() it becomes fma(sum, scale of the row of a, bias).
template <Layout kLayout>
inline void gemm_grouped_s8(const GemmArgs& g) noexcept {
  const PackedShape& s = *g.shape;
  for (std::size_t panel = g.panel_begin; panel < g.panel_end; ++panel)
    for_each_output(g, panel, layout_info(kLayout).columns, [&](std::size_t i, std::size_t c, std::size_t feature) {
      float sum = 0.0f;
      for_each_group<kLayout>(s, g.weights, panel, [&](const Group& group) {
        std::int32_t part = 0;
        for (std::size_t j = 0; j < group.count; ++j)
          part += static_cast<std::int32_t>(packed_code<kLayout>(group, c, j)) * g.a_s8[i * g.lda + group.first + j];
        part *= s.code_step;
        part -= group_zero(s, group, c) * g.a_sums_s32[i * groups_of(s) + group.index];
        sum = std::fma(static_cast<float>(part), group_scale(s, group, c), sum);
        if (s.has_offsets)
          sum = std::fma(-group_offset_of(s, group, c),
                         static_cast<float>(g.a_sums_s32[i * groups_of(s) + group.index]), sum);
      });
      store_output(g, i, feature, sum, g.a_scales + i);
    });
}
inline void gemm_w8_s8(const GemmArgs& g) noexcept { gemm_grouped_s8<Layout::w8_p64>(g); }
inline void gemm_w4_s8(const GemmArgs& g) noexcept { gemm_grouped_s8<Layout::w4_p32>(g); }
inline void gemm_w2_s8(const GemmArgs& g) noexcept { gemm_grouped_s8<Layout::w2_p32>(g); }
inline void gemm_w1_s8(const GemmArgs& g) noexcept { gemm_grouped_s8<Layout::w1_p32>(g); }

// ---- rows of packed weights ----------------------------------------------------------------------------------------

template <Layout kLayout>
inline void gather_floats(const GatherArgs& g) noexcept {
  for (std::size_t i = 0; i < g.count; ++i) {
    const auto row = static_cast<std::size_t>(g.ids[i]);
    const unsigned char* w = g.weights + row / 32 * g.shape->panel_stride;
    for (std::size_t k = 0; k < g.shape->k; ++k) g.out[i * g.ldo + k] = float_weight<kLayout>(w, row % 32, k);
  }
}
inline void gather_f32(const GatherArgs& g) noexcept { gather_floats<Layout::f32_p32>(g); }
inline void gather_bf16(const GatherArgs& g) noexcept { gather_floats<Layout::bf16_p32>(g); }

/// scale * (value - zero), rounded once per operation as written, and less the offset as in decode(): the value that
/// the file stores.
template <Layout kLayout>
inline void gather_grouped(const GatherArgs& g) noexcept {
  const PackedShape& s = *g.shape;
  constexpr std::size_t kColumns = layout_info(kLayout).columns;
  for (std::size_t i = 0; i < g.count; ++i) {
    const auto row = static_cast<std::size_t>(g.ids[i]);
    const std::size_t c = row % kColumns;
    for_each_group<kLayout>(s, g.weights, row / kColumns, [&](const Group& group) {
      const float scale = group_scale(s, group, c);
      const float zero = s.has_zeros ? static_cast<float>(group_zero(s, group, c) - s.zero) : 0.0f;
      const float offset = s.has_offsets ? group_offset_of(s, group, c) : 0.0f;
      for (std::size_t j = 0; j < group.count; ++j) {
        const float steps = code_value<kLayout>(s, packed_code<kLayout>(group, c, j)) - zero;
        g.out[i * g.ldo + group.first + j] = s.has_offsets ? std::fma(scale, steps, -offset) : scale * steps;
      }
    });
  }
}
inline void gather_w8(const GatherArgs& g) noexcept { gather_grouped<Layout::w8_p64>(g); }
inline void gather_w4(const GatherArgs& g) noexcept { gather_grouped<Layout::w4_p32>(g); }
inline void gather_w2(const GatherArgs& g) noexcept { gather_grouped<Layout::w2_p32>(g); }
inline void gather_w1(const GatherArgs& g) noexcept { gather_grouped<Layout::w1_p32>(g); }

// ---- which layout ---------------------------------------------------------------------------------------------------

/// The narrowest layout that holds the codes, among those whose steps fill the groups if there is one.
inline bool prefers(Layout layout, unsigned bits, std::size_t group) noexcept {
  const auto fits = [&](const LayoutInfo& info) {
    return info.has_groups() && bits <= info.bits && (group % info.step == 0 || group % 8 != 0);
  };
  const LayoutInfo& asked = layout_info(layout);
  if (!fits(asked)) return false;
  for (const LayoutInfo& other : kLayouts)
    if (fits(other) && other.bits < asked.bits) return false;
  return true;
}
