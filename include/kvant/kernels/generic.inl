// SPDX-License-Identifier: Apache-2.0
// The definition of every kernel, written for readers. Included inside a namespace: by generic.hpp for header-only use,
// and by the compiled library inside an unnamed one, so that a consumer's compiler flags never reach its copy.

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

/// Calls body(row of a, output feature, column within the panel) for every output of the panels asked for.
template <class Body>
inline void for_each_output(const GemmArgs& g, std::size_t panel, std::size_t columns, Body body) noexcept {
  for (std::size_t i = 0; i < g.m; ++i)
    for (std::size_t c = 0; c < columns && panel * columns + c < g.n; ++c) {
      const std::size_t feature = panel * columns + c;
      const float bias = g.bias != nullptr ? g.bias[feature] : 0.0f;
      g.y[i * g.ldy + feature] = body(i, c, bias);
    }
}

// ---- matrix products -----------------------------------------------------------------------------------------------

/// y = fma chain over k, from 0, then + bias.
inline void gemm_f32_f32(const GemmArgs& g) noexcept {
  for (std::size_t panel = g.panel_begin; panel < g.panel_end; ++panel) {
    const unsigned char* w = g.weights + panel * g.panel_stride;
    for_each_output(g, panel, 32, [&](std::size_t i, std::size_t c, float bias) {
      float sum = 0.0f;
      for (std::size_t k = 0; k < g.k; ++k) sum = std::fma(load_f32(w + (k * 32 + c) * 4), g.a_f32[i * g.lda + k], sum);
      return sum + bias;
    });
  }
}

/// As gemm_f32_f32, with weights widened exactly.
inline void gemm_bf16_f32(const GemmArgs& g) noexcept {
  for (std::size_t panel = g.panel_begin; panel < g.panel_end; ++panel) {
    const unsigned char* w = g.weights + panel * g.panel_stride;
    for_each_output(g, panel, 32, [&](std::size_t i, std::size_t c, float bias) {
      float sum = 0.0f;
      for (std::size_t k = 0; k < g.k; ++k)
        sum = std::fma(load_bf16(w + (k / 2 * 64 + c * 2 + k % 2) * 2), g.a_f32[i * g.lda + k], sum);
      return sum + bias;
    });
  }
}

/// Per group: part = fma chain of value(code) * a over its inputs in order, padding included; part -= zero * (sum of a)
/// where zero points vary; sum = fma(part, scale, sum). Then + bias. `value` is the code's value before its zero point.
template <class Code, class Value>
inline void gemm_grouped_f32(const GemmArgs& g, std::size_t columns, std::size_t step, std::size_t step_bytes,
                             Code code, Value value) noexcept {
  const std::size_t groups = g.group != 0 ? (g.k + g.group - 1) / g.group : 0;
  for (std::size_t panel = g.panel_begin; panel < g.panel_end; ++panel)
    for_each_output(g, panel, columns, [&](std::size_t i, std::size_t c, float bias) {
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
      return sum + bias;
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
  gemm_grouped_f32(g, 64, 4, 256, w8_code,
                   [&](unsigned code) { return static_cast<float>(static_cast<std::int32_t>(code) - g.zero); });
}

/// Per group: the exact integer sum of (code_step * code - zero) * a; sum = fma(float of it, scale, sum).
/// y = fma(sum, scale of the row of a, bias).
template <class Code>
inline void gemm_grouped_s8(const GemmArgs& g, std::size_t columns, std::size_t step, std::size_t step_bytes,
                            Code code) noexcept {
  const std::size_t groups = g.group != 0 ? (g.k + g.group - 1) / g.group : 0;
  for (std::size_t panel = g.panel_begin; panel < g.panel_end; ++panel)
    for_each_output(g, panel, columns, [&](std::size_t i, std::size_t c, float bias) {
      float sum = 0.0f;
      for_each_group(g, panel, columns, step, step_bytes, [&](const Group& group) {
        std::int32_t part = 0;
        for (std::size_t j = 0; j < group.count; ++j)
          part += static_cast<std::int32_t>(code(group, j, c)) * g.a_s8[i * g.lda + group.first + j];
        part *= g.code_step;
        part -= group_zero(g, group, columns, c) * g.a_sums_s32[i * groups + group.index];
        sum = std::fma(static_cast<float>(part), group_scale(g, group, c), sum);
      });
      return std::fma(sum, g.a_scales[i], bias);
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
  gather_grouped(g, 64, 4, 256, w8_code,
                 [&](unsigned code) { return static_cast<float>(static_cast<std::int32_t>(code) - g.zero); });
}

// ---- activations and statistics ------------------------------------------------------------------------------------

/// A row of zeros, or one whose largest magnitude is too small for a scale above 0, becomes zeros with scale 0.
inline void quantize_rows_s8(const QuantizeRowsArgs& g) noexcept {
  const std::size_t groups = g.group != 0 ? (g.k + g.group - 1) / g.group : 0;
  for (std::size_t i = 0; i < g.rows; ++i) {
    const float* x = g.x + i * g.ldx;
    float amax = 0.0f;
    for (std::size_t k = 0; k < g.k; ++k)
      if (is_finite(x[k]) && order_key(magnitude(x[k])) > order_key(amax)) amax = magnitude(x[k]);
    const float scale = divide(amax, 127.5f);
    g.scales[i] = scale;
    const float divisor = scale != 0.0f ? scale : std::numeric_limits<float>::infinity();
    std::int8_t* q = g.q + i * g.ldq;
    for (std::size_t k = 0; k < g.k; ++k) q[k] = static_cast<std::int8_t>(to_integer(divide(x[k], divisor), -128, 127));
    for (std::size_t k = g.k; k < g.ldq; ++k) q[k] = 0;
    for (std::size_t index = 0; index < groups; ++index) {
      std::int32_t sum = 0;
      for (std::size_t k = index * g.group; k < g.k && k < (index + 1) * g.group; ++k) sum += q[k];
      g.sums[i * groups + index] = sum;
    }
  }
}

/// One fma chain per output, over the rows of x in order, from what c holds.
inline void syrk_f32(const SyrkArgs& g) noexcept {
  for (std::size_t i = g.row_begin; i < g.row_end; ++i)
    for (std::size_t j = i; j < g.n; ++j) {
      float sum = g.c[i * g.ldc + j];
      for (std::size_t r = 0; r < g.rows; ++r) sum = std::fma(g.x[r * g.ldx + i], g.x[r * g.ldx + j], sum);
      g.c[i * g.ldc + j] = sum;
    }
}

// ---- choosing scales and codes -------------------------------------------------------------------------------------

/// What the number that is stored for a group makes its scale.
inline float group_scale(const GroupScales& s, float stored) noexcept {
  switch (s.op) {
    case ScaleOp::product:  // by 1: also where subnormals count as 0
      return order_key(s.factor) == order_key(1.0f) ? stored : stored * s.factor;
    case ScaleOp::quotient:
      return divide(stored, s.factor);
    case ScaleOp::affine:
      break;
  }
  return std::fma(stored, s.factor, s.addend);
}

/// Calls body(first element, their number, scale, zero point) for each group.
template <class Body>
inline void for_each_scale(const GroupScales& s, std::size_t n, Body body) noexcept {
  for (std::size_t first = 0, g = 0; first < n; first += s.group, ++g)
    body(first, n - first < s.group ? n - first : s.group, group_scale(s, s.stored[g]),
         s.zeros != nullptr ? s.zeros[g] : 0);
}

/// Calls body(i, ratio, zero point) for every element. Division is on bits, so the caller's rounding mode does not
/// matter.
template <class Body>
inline void for_each_ratio(const EncodeArgs& g, Body body) noexcept {
  for_each_scale(g.scales, g.n, [&](std::size_t first, std::size_t count, float scale, std::int32_t zero) {
    for (std::size_t i = first; i < first + count; ++i)
      body(i, order_key(scale) == 0 ? 0.0f : divide(g.x[i], scale), zero);
  });
}
/// The place of the nearest level in a codebook.
inline std::uint32_t codebook_index(const FormatArgs& f, float x) noexcept {
  const std::int32_t key = order_key(x);
  std::uint32_t index = 0;
  while (index < f.threshold_count && key > f.thresholds[index]) ++index;
  return index;
}
inline std::uint8_t codebook_code(const FormatArgs& f, float x) noexcept {
  const std::uint32_t index = codebook_index(f, x);
  return f.codes != nullptr ? f.codes[index] : static_cast<std::uint8_t>(index);
}

inline void encode_integer(const EncodeArgs& g) noexcept {
  constexpr std::int32_t kWide = 1 << 20;  // beyond any sum with a zero point
  const std::uint32_t mask = (1u << g.format->bits) - 1u;
  for_each_ratio(g, [&](std::size_t i, float ratio, std::int32_t zero) {
    const std::int32_t value = to_integer(ratio, -kWide, kWide, RoundingMode{}, g.format->fraction_bits) + zero;
    const std::int32_t stored = value < g.format->low ? g.format->low : value > g.format->high ? g.format->high : value;
    g.codes[i] = static_cast<std::uint8_t>(static_cast<std::uint32_t>(stored) & mask);
  });
}
inline void encode_minifloat(const EncodeArgs& g) noexcept {
  for_each_ratio(g, [&](std::size_t i, float ratio, std::int32_t) { g.codes[i] = g.format->encode(ratio); });
}
inline void encode_codebook(const EncodeArgs& g) noexcept {
  for_each_ratio(g, [&](std::size_t i, float ratio, std::int32_t zero_point) {
    const auto zero = static_cast<float>(zero_point);
    g.codes[i] = codebook_code(*g.format, is_nan(ratio) ? zero : zero_point == 0 ? ratio : ratio + zero);
  });
}

inline void decode(const DecodeArgs& g) noexcept {
  for_each_scale(g.scales, g.n, [&](std::size_t first, std::size_t count, float scale, std::int32_t zero) {
    for (std::size_t i = first; i < first + count; ++i)
      g.out[i] = scale * (g.format->values[g.codes[i]] - static_cast<float>(zero));
  });
}

inline void range_f32(RangeArgs& g) noexcept {
  g.low = g.high = 0.0f;
  for (std::size_t i = 0; i < g.n; ++i) {
    if (!is_finite(g.x[i])) continue;
    if (order_key(g.x[i]) < order_key(g.low)) g.low = g.x[i];
    if (order_key(g.x[i]) > order_key(g.high)) g.high = g.x[i];
  }
}

inline bool plain_scales(const PlainScalesArgs&) noexcept { return false; }

inline void narrow_fp16(const NarrowArgs& g) noexcept {
  for (std::size_t i = 0; i < g.n; ++i) g.codes[i] = fp16::encode(g.x[i], {Rounding::nearest_even, Overflow::ieee, 0});
}
inline void narrow_bf16(const NarrowArgs& g) noexcept {
  for (std::size_t i = 0; i < g.n; ++i) g.codes[i] = bf16::encode(g.x[i], {Rounding::nearest_even, Overflow::ieee, 0});
}
inline float quiet(float x) noexcept {
  if (!is_nan(x)) return x;
  const std::uint32_t bits = float_bits(x) | 0x400000u;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}
inline void widen_fp16(const WidenArgs& g) noexcept {
  for (std::size_t i = 0; i < g.n; ++i) g.out[i] = quiet(fp16::decode(g.codes[i]));
}
inline void widen_bf16(const WidenArgs& g) noexcept {
  for (std::size_t i = 0; i < g.n; ++i) g.out[i] = quiet(bf16::decode(g.codes[i]));
}

inline float sum_lanes(float (&lane)[16]) noexcept {
  for (std::size_t width = 8; width != 0; width /= 2)
    for (std::size_t i = 0; i < width; ++i) lane[i] = lane[i] + lane[i + width];
  return lane[0];
}

/// `value(ratio, trial)` in steps of `step`, which scales the sums once they are there.
template <class Value>
inline void fit(const FitArgs& g, float step, Value value) noexcept {
  for (std::size_t t = 0; t < g.trials; ++t) {
    float xv[16] = {};
    float vv[16] = {};
    float ee[16] = {};
    for (std::size_t i = 0; i < g.n; ++i) {
      const float w = g.weights != nullptr ? g.weights[i] : 1.0f;
      const float v = value(g.x[i] * g.inverse[t], t);
      xv[i % 16] = std::fma(g.x[i], v * w, xv[i % 16]);
      vv[i % 16] = std::fma(v, v * w, vv[i % 16]);
      if (g.scales != nullptr) {
        const float e = std::fma(-(g.scales[t] * step), v, g.x[i]);
        ee[i % 16] = std::fma(e, e * w, ee[i % 16]);
      }
    }
    g.xv[t] = sum_lanes(xv) * step;
    g.vv[t] = sum_lanes(vv) * (step * step);
    if (g.scales != nullptr) g.ee[t] = sum_lanes(ee);
  }
}
inline void fit_integer(const FitArgs& g) noexcept {
  const float step = 1.0f / static_cast<float>(1 << g.format->fraction_bits);
  fit(g, step, [&](float ratio, std::size_t t) {
    const auto zero = static_cast<std::int32_t>(g.zero[t]);
    return static_cast<float>(
        to_integer(ratio, g.format->low - zero, g.format->high - zero, RoundingMode{}, g.format->fraction_bits));
  });
}
inline void fit_minifloat(const FitArgs& g) noexcept {
  fit(g, 1.0f, [&](float ratio, std::size_t) { return g.format->values[g.format->encode(ratio)]; });
}
inline void fit_codebook(const FitArgs& g) noexcept {
  fit(g, 1.0f, [&](float ratio, std::size_t t) {
    return g.format->values[codebook_code(*g.format, ratio + g.zero[t])] - g.zero[t];
  });
}

inline constexpr Kernels kTable{"generic",         &gemm_f32_f32,    &gemm_bf16_f32,    &gemm_w8_f32, &gemm_w4_f32,
                                &gemm_w2_f32,      &gemm_w1_f32,     &gemm_w8_s8,       &gemm_w4_s8,  &gemm_w2_s8,
                                &gemm_w1_s8,       &gather_f32,      &gather_bf16,      &gather_w8,   &gather_w4,
                                &gather_w2,        &gather_w1,       &quantize_rows_s8, &syrk_f32,    &encode_integer,
                                &encode_minifloat, &encode_codebook, &decode,           &range_f32,   &plain_scales,
                                &narrow_fp16,      &narrow_bf16,     &widen_fp16,       &widen_bf16,  &fit_integer,
                                &fit_minifloat,    &fit_codebook};
