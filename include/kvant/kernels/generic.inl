// SPDX-License-Identifier: Apache-2.0
// The definition of every kernel, written for readers. Included inside a namespace: by generic.hpp for header-only use,
// and by the compiled library inside an unnamed one, so that a consumer's compiler flags never reach its copy.

#include "kvant/kernels/products.inl"

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
    const float divisor = !equals(scale, 0.0f) ? scale : std::numeric_limits<float>::infinity();
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

/// Lanes added 8 apart, then 4, 2, 1.
inline float sum_lanes(float (&lane)[16]) noexcept {
  for (std::size_t width = 8; width != 0; width /= 2)
    for (std::size_t i = 0; i < width; ++i) lane[i] = lane[i] + lane[i + width];
  return lane[0];
}

inline void sum_groups_f32(const SumGroupsArgs& g) noexcept {
  const std::size_t groups = g.group != 0 ? (g.k + g.group - 1) / g.group : 0;
  for (std::size_t i = 0; i < g.rows; ++i)
    for (std::size_t index = 0; index < groups; ++index) {
      float lane[16] = {};
      for (std::size_t k = index * g.group; k < g.k && k < (index + 1) * g.group; ++k)
        lane[(k - index * g.group) % 16] += g.x[i * g.ldx + k];
      g.sums[i * groups + index] = sum_lanes(lane);
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

/// What the number that is stored for a group stands for.
inline float group_number(const GroupNumbers& s, float stored) noexcept {
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

/// Calls body(first element, their number, scale, zero point, index) for each group.
template <class Body>
inline void for_each_scale(const GroupScales& s, std::size_t n, Body body) noexcept {
  for (std::size_t first = 0, g = 0; first < n; first += s.group, ++g)
    body(first, n - first < s.group ? n - first : s.group, group_number(s.scales, s.scales.stored[g]),
         s.zeros != nullptr ? s.zeros[g] : 0, g);
}

/// Calls body(i, ratio, zero point) for every element. Division is on bits, so the caller's rounding mode does not
/// matter.
template <class Body>
inline void for_each_ratio(const EncodeArgs& g, Body body) noexcept {
  for_each_scale(g.scales, g.n, [&](std::size_t first, std::size_t count, float scale, std::int32_t zero, std::size_t) {
    for (std::size_t i = first; i < first + count; ++i)
      body(i, order_key(scale) == 0 ? 0.0f : divide(g.x[i], scale), zero);
  });
}
/// The place of the nearest level in a codebook.
inline std::uint32_t codebook_index(const FormatArgs& f, float x) noexcept {
  return thresholds_below(f.thresholds, f.threshold_count, order_key(x));
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
  const GroupNumbers& offsets = g.scales.offsets;
  for_each_scale(g.scales, g.n,
                 [&](std::size_t first, std::size_t count, float scale, std::int32_t zero, std::size_t index) {
                   const bool has_offset = offsets.stored != nullptr;
                   const float offset = has_offset ? group_number(offsets, offsets.stored[index]) : 0.0f;
                   for (std::size_t i = first; i < first + count; ++i) {
                     const float steps = g.format->values[g.codes[i]] - static_cast<float>(zero);
                     g.out[i] = has_offset ? std::fma(scale, steps, -offset) : scale * steps;
                   }
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

inline constexpr Kernels kTable{
    .tier = "generic",
    .prefers = &prefers,
    .gemm_f32_f32 = &gemm_f32_f32,
    .gemm_bf16_f32 = &gemm_bf16_f32,
    .gemm_w8_f32 = &gemm_w8_f32,
    .gemm_w4_f32 = &gemm_w4_f32,
    .gemm_w2_f32 = &gemm_w2_f32,
    .gemm_w1_f32 = &gemm_w1_f32,
    .gemm_w8_s8 = &gemm_w8_s8,
    .gemm_w4_s8 = &gemm_w4_s8,
    .gemm_w2_s8 = &gemm_w2_s8,
    .gemm_w1_s8 = &gemm_w1_s8,
    .gather_f32 = &gather_f32,
    .gather_bf16 = &gather_bf16,
    .gather_w8 = &gather_w8,
    .gather_w4 = &gather_w4,
    .gather_w2 = &gather_w2,
    .gather_w1 = &gather_w1,
    .quantize_rows_s8 = &quantize_rows_s8,
    .sum_groups_f32 = &sum_groups_f32,
    .syrk_f32 = &syrk_f32,
    .encode_integer = &encode_integer,
    .encode_minifloat = &encode_minifloat,
    .encode_codebook = &encode_codebook,
    .decode = &decode,
    .range_f32 = &range_f32,
    .plain_scales = &plain_scales,
    .narrow_fp16 = &narrow_fp16,
    .narrow_bf16 = &narrow_bf16,
    .widen_fp16 = &widen_fp16,
    .widen_bf16 = &widen_bf16,
    .fit_integer = &fit_integer,
    .fit_minifloat = &fit_minifloat,
    .fit_codebook = &fit_codebook,
};
