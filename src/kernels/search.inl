// SPDX-License-Identifier: Apache-2.0
// Fitting scales of groups, for any vector width. Included as gemm.inl is, after formats.inl.

/// The sum of 16 lanes as the tree that generic.inl draws: 8 apart, then 4, 2, 1.
inline float sum_tree(Floats (&part)[kParts]) noexcept {
  for (std::size_t width = kParts / 2; width != 0; width /= 2)
    for (std::size_t i = 0; i < width; ++i) part[i] = add(part[i], part[i + width]);
  return sum_of_floats(part[0]);
}

template <class Format, bool kErrors, bool kWeights>
inline void fit_trial(const FitArgs& g, const Format& format, std::size_t t) noexcept {
  const Floats inverse = splat(g.inverse[t] / format.step);
  const Floats minus_scale = splat(kErrors ? -(g.scales[t] * format.step) : 0.0f);
  const auto trial = format.trial(g, t);
  Floats xv[kParts], vv[kParts], ee[kParts];
  for (std::size_t part = 0; part < kParts; ++part) xv[part] = vv[part] = ee[part] = zero();
  const auto step = [&](std::size_t part, Floats x, Floats v, Floats w) {
    const auto weighted = [&](Floats y) { return kWeights ? multiply(y, w) : y; };
    xv[part] = fma(x, weighted(v), xv[part]);
    vv[part] = fma(v, weighted(v), vv[part]);
    if constexpr (kErrors) {
      const Floats e = fma(minus_scale, v, x);
      ee[part] = fma(e, weighted(e), ee[part]);
    }
  };
  std::size_t i = 0;
  for (; i + 16 <= g.n; i += 16)
    for (std::size_t part = 0; part < kParts; ++part) {
      const Floats x = load(g.x + i + part * kLanes);
      const Floats w = kWeights ? load(g.weights + i + part * kLanes) : x;
      step(part, x, format.value(multiply(x, inverse), trial), w);
    }
  for (std::size_t part = 0; i < g.n; i += kLanes, ++part) {
    const Lanes which = lanes(0, g.n - i);
    const Floats x = load(g.x + i, which);
    const Floats w = kWeights ? load(g.weights + i, which) : x;
    step(part, x, from_bits(keep(which, to_bits(format.value(multiply(x, inverse), trial)))), w);
  }
  g.xv[t] = sum_tree(xv) * format.step;
  g.vv[t] = sum_tree(vv) * (format.step * format.step);
  if constexpr (kErrors) g.ee[t] = sum_tree(ee);
}

template <class Format>
inline void fit(const FitArgs& g) noexcept {
  const Format format(*g.format);
  for (std::size_t t = 0; t < g.trials; ++t) {
    if (g.scales != nullptr) {
      if (g.weights != nullptr)
        fit_trial<Format, true, true>(g, format, t);
      else
        fit_trial<Format, true, false>(g, format, t);
    } else {
      if (g.weights != nullptr)
        fit_trial<Format, false, true>(g, format, t);
      else
        fit_trial<Format, false, false>(g, format, t);
    }
  }
}
