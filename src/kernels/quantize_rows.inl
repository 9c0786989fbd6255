// SPDX-License-Identifier: Apache-2.0
// Activations for any vector width: dynamic quantization, sums of groups. Included as gemm.inl is.

/// The largest finite magnitude among k numbers.
inline float largest_magnitude(const float* x, std::size_t k) noexcept {
  Words most = splat_word(0);
  for (std::size_t i = 0; i < k; i += kLanes) {
    const Floats v = k - i < kLanes ? load(x + i, lanes(0, k - i)) : load(x + i);
    most = larger(most, finite_magnitude(v));
  }
  return largest_lane(most);
}

inline void quantize_rows(const QuantizeRowsArgs& g) noexcept {
  const std::size_t group = g.group != 0 ? g.group : g.k;
  const std::size_t groups = g.k != 0 ? ceil_div(g.k, group) : 0;
  for (std::size_t row = 0; row < g.rows; ++row) {
    const float* x = g.x + row * g.ldx;
    std::int8_t* q = g.q + row * g.ldq;
    const float amax = largest_magnitude(x, g.k);
    const float scale = amax / 127.5f;
    g.scales[row] = scale;
    const Floats divisor = splat(scale != 0.0f ? scale : __builtin_inff());
    std::size_t k = 0;
    for (std::size_t index = 0; index < groups; ++index) {
      const std::size_t end = g.k - k < group ? g.k : k + group;
      Words sum = splat_word(0);
      while (k < end) {
        const std::size_t count = end - k < kLanes ? end - k : kLanes;
        const Floats v = count < kLanes ? load(x + k, lanes(0, count)) : load(x + k);
        const Words code = round_to_int8(v, divisor);
        sum = add_words(sum, code);
        store_bytes(q + k, code, count);
        k += count;
      }
      if (g.group != 0) g.sums[row * groups + index] = sum_of_lanes(sum);
    }
    for (; k < g.ldq; ++k) q[k] = 0;
  }
}

inline void sum_groups(const SumGroupsArgs& g) noexcept {
  const std::size_t groups = g.group != 0 ? ceil_div(g.k, g.group) : 0;
  for (std::size_t row = 0; row < g.rows; ++row) {
    const float* x = g.x + row * g.ldx;
    for (std::size_t index = 0; index < groups; ++index) {
      const std::size_t end = g.k - index * g.group < g.group ? g.k : (index + 1) * g.group;
      Floats sum[kParts];
      for (std::size_t part = 0; part < kParts; ++part) sum[part] = zero();
      std::size_t k = index * g.group;
      for (; k + 16 <= end; k += 16)
        for (std::size_t part = 0; part < kParts; ++part) sum[part] = add(sum[part], load(x + k + part * kLanes));
      for (std::size_t part = 0; k < end; k += kLanes, ++part)
        sum[part] = add(sum[part], load(x + k, lanes(0, end - k)));
      for (std::size_t width = kParts / 2; width != 0; width /= 2)
        for (std::size_t part = 0; part < width; ++part) sum[part] = add(sum[part], sum[part + width]);
      g.sums[row * groups + index] = sum_of_floats(sum[0]);
    }
  }
}
