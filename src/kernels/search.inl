// SPDX-License-Identifier: Apache-2.0
// Fitting scales of groups, for any vector width. Included as gemm.inl is, after formats.inl.

/// Sums of some trials, before their lanes are added: v as FitArgs says, in steps.
template <std::size_t kTrials, bool kErrors, bool kWeights, class Format>
inline void fit_trials(const FitArgs& g, const Format& format, std::size_t first, Floats* xv_out, Floats* vv_out,
                       Floats* ee_out) noexcept {
  const float steps = 1.0f / format.step;  // of a power of two, exact
  Floats inverse[kTrials], minus_scale[kTrials];
  typename Format::Trial trial[kTrials];
  Floats xv[kTrials][kParts], vv[kTrials][kParts], ee[kTrials][kParts];
  for (std::size_t t = 0; t < kTrials; ++t) {
    inverse[t] = splat(g.inverse[first + t] * steps);
    minus_scale[t] = splat(kErrors ? -(g.scales[first + t] * format.step) : 0.0f);
    trial[t] = format.trial(g, first + t);
    for (std::size_t part = 0; part < kParts; ++part) xv[t][part] = vv[t][part] = ee[t][part] = zero();
  }
  const auto step = [&](std::size_t part, Floats x, Floats w, auto value) {
    const auto weighted = [&](Floats y) { return kWeights ? multiply(y, w) : y; };
    for (std::size_t t = 0; t < kTrials; ++t) {
      const Floats v = value(format.value(multiply(x, inverse[t]), trial[t]));
      xv[t][part] = fma(x, weighted(v), xv[t][part]);
      vv[t][part] = fma(v, weighted(v), vv[t][part]);
      if constexpr (kErrors) {
        const Floats e = fma(minus_scale[t], v, x);
        ee[t][part] = fma(e, weighted(e), ee[t][part]);
      }
    }
  };
  std::size_t i = 0;
  for (; i + 16 <= g.n; i += 16)
    for (std::size_t part = 0; part < kParts; ++part) {
      const Floats x = load(g.x + i + part * kLanes);
      step(part, x, kWeights ? load(g.weights + i + part * kLanes) : x, [](Floats v) { return v; });
    }
  for (std::size_t part = 0; i < g.n; i += kLanes, ++part) {
    const Lanes which = lanes(0, g.n - i);
    const Floats x = load(g.x + i, which);
    step(part, x, kWeights ? load(g.weights + i, which) : x,
         [&](Floats v) { return from_bits(keep(which, to_bits(v))); });
  }
  for (std::size_t t = 0; t < kTrials; ++t) {
    for (std::size_t width = kParts / 2; width != 0; width /= 2)
      for (std::size_t part = 0; part < width; ++part) {
        xv[t][part] = add(xv[t][part], xv[t][part + width]);
        vv[t][part] = add(vv[t][part], vv[t][part + width]);
        ee[t][part] = add(ee[t][part], ee[t][part + width]);
      }
    xv_out[t] = xv[t][0];
    vv_out[t] = vv[t][0];
    ee_out[t] = ee[t][0];
  }
}

template <bool kErrors, bool kWeights, class Format>
inline void fit_with(const FitArgs& g, const Format& format) noexcept {
  if (g.trials == 1) {
    Floats xv, vv, ee;
    fit_trials<1, kErrors, kWeights>(g, format, 0, &xv, &vv, &ee);
    g.xv[0] = sum_of_floats(xv) * format.step;
    g.vv[0] = sum_of_floats(vv) * (format.step * format.step);
    if constexpr (kErrors) g.ee[0] = sum_of_floats(ee);
    return;
  }
  for (std::size_t first = 0; first < g.trials; first += kLanes) {
    const std::size_t count = g.trials - first < kLanes ? g.trials - first : kLanes;
    Floats xv[kLanes], vv[kLanes], ee[kLanes];
    std::size_t t = 0;
    for (; t + kTrialsAtOnce <= count; t += kTrialsAtOnce)
      fit_trials<kTrialsAtOnce, kErrors, kWeights>(g, format, first + t, xv + t, vv + t, ee + t);
    for (; t < count; ++t) fit_trials<1, kErrors, kWeights>(g, format, first + t, xv + t, vv + t, ee + t);
    for (; t < kLanes; ++t) {  // lanes that are not stored; zeros would be set by a slow `rep stos`
      xv[t] = xv[0];
      vv[t] = vv[0];
      if constexpr (kErrors) ee[t] = ee[0];
    }
    const Lanes which = lanes(0, count);
    store(g.xv + first, multiply(sum_of_each(xv), splat(format.step)), which);
    store(g.vv + first, multiply(sum_of_each(vv), splat(format.step * format.step)), which);
    if constexpr (kErrors) store(g.ee + first, sum_of_each(ee), which);
  }
}

template <class Format>
inline void fit_as(const FitArgs& g, const Format& format) noexcept {
  if (g.scales != nullptr)
    g.weights != nullptr ? fit_with<true, true>(g, format) : fit_with<true, false>(g, format);
  else
    g.weights != nullptr ? fit_with<false, true>(g, format) : fit_with<false, false>(g, format);
}

template <class Format>
inline void fit(const FitArgs& g) noexcept {
  fit_as(g, Format(*g.format));
}
inline void fit_codebook(const FitArgs& g) noexcept {
  with_codebook(*g.format, [&](const auto& format) { fit_as(g, format); });
}
