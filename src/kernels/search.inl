// SPDX-License-Identifier: Apache-2.0
// Encoding groups and fitting their scales, for any vector width. Included as gemm.inl is.

constexpr std::size_t kParts = 16 / kLanes;  // vectors that hold the 16 lanes of a sum

/// The sum of 16 lanes as the tree that generic.inl draws: 8 apart, then 4, 2, 1.
inline float sum_tree(const Floats (&part)[kParts]) noexcept {
  if constexpr (kParts == 2)
    return sum_of_floats(add(part[0], part[1]));
  else
    return sum_of_floats(part[0]);
}

// ---- the three kinds of formats: value(ratio, trial) is the nearest value, code(value) its code
// ----------------------

struct IntegerFormat {
  Floats low, high;
  float step;  // the value of one
  explicit IntegerFormat(const FormatArgs& f) noexcept
      : low(splat(static_cast<float>(f.low))),
        high(splat(static_cast<float>(f.high))),
        step(1.0f / static_cast<float>(1 << f.fraction_bits)) {}

  /// Clamping to integers before rounding gives what clamping after it gives.
  struct Trial {
    Floats low, high;
  };
  Trial trial(const FitArgs& g, std::size_t t) const noexcept {
    return {subtract(low, splat(g.zero[t])), subtract(high, splat(g.zero[t]))};
  }
  /// In steps; `ratio` too.
  Floats value(Floats ratio, const Trial& t) const noexcept {
    return round_even(smaller(larger(ratio, t.low), t.high));
  }
};

struct MinifloatFormat {
  Floats max, smallest_normal;
  Words least_exponent;  // bits of smallest_normal
  std::uint32_t shift;   // mantissa bits that the format lacks
  std::uint32_t offset;  // of exponent fields, at the format's place
  std::uint32_t hidden;  // the hidden bit at the format's place
  std::uint32_t sign;
  bool has_negative_zero;
  explicit MinifloatFormat(const FormatArgs& f) noexcept
      : max(splat(f.max)),
        smallest_normal(splat(__builtin_bit_cast(float, (f.min_exponent + 127) << 23))),
        least_exponent(splat_word((f.min_exponent + 127) << 23)),
        shift(23 - static_cast<std::uint32_t>(f.mantissa_bits)),
        offset(static_cast<std::uint32_t>(f.min_exponent + 126) << f.mantissa_bits),
        hidden(1u << f.mantissa_bits),
        sign(1u << (f.bits - 1)),
        has_negative_zero(f.encode(-0.0f) != 0) {}

  static constexpr float step = 1.0f;
  struct Trial {};
  Trial trial(const FitArgs&, std::size_t) const noexcept { return {}; }
  /// Adding and subtracting a power of two whose last place is the format's rounds there, ties to even.
  Floats value(Floats ratio, Trial) const noexcept {
    const Words sign_bit = and_words(to_bits(ratio), splat_word(INT32_MIN));
    const Floats limited = smaller(from_bits(and_words(to_bits(ratio), splat_word(INT32_MAX))), max);
    const Words exponent = larger(and_words(to_bits(limited), splat_word(0x7f800000)), least_exponent);
    const Floats magic = from_bits(add_words(exponent, splat_word(static_cast<std::int32_t>(shift << 23))));
    return from_bits(or_words(to_bits(subtract(add(limited, magic), magic)), sign_bit));
  }
  /// The code of a value of the format. A subnormal becomes normal by adding the least normal number, its hidden bit.
  Words code(Floats v) const noexcept {
    const Floats magnitude = from_bits(and_words(to_bits(v), splat_word(INT32_MAX)));
    const Lanes is_subnormal = greater(least_exponent, to_bits(magnitude));
    const Floats lifted = select(is_subnormal, add(magnitude, smallest_normal), magnitude);
    const Words fields = subtract(shift_right(to_bits(lifted), shift), splat_word(static_cast<std::int32_t>(offset)));
    const Words code = select(is_subnormal, subtract(fields, splat_word(static_cast<std::int32_t>(hidden))), fields);
    const Lanes is_negative = greater(splat_word(0), to_bits(v));
    const Lanes signed_lanes = has_negative_zero ? is_negative : both(is_negative, greater(code, splat_word(0)));
    return select(signed_lanes, or_words(code, splat_word(static_cast<std::int32_t>(sign))), code);
  }
};

struct CodebookFormat {
  const FormatArgs* format;
  std::uint32_t count;  // of levels
  const float* levels;  // in their order
  // Where codes are not the indices, by index:
  float level[256];
  std::int32_t code_word[256];
  explicit CodebookFormat(const FormatArgs& f) noexcept
      : format(&f), count(f.threshold_count + 1), levels(f.codes != nullptr ? level : f.values) {
    for (std::uint32_t i = 0; f.codes != nullptr && i < count; ++i) {
      code_word[i] = f.codes[i];
      level[i] = f.values[f.codes[i]];
    }
  }

  static constexpr float step = 1.0f;
  struct Trial {
    Floats zero;
  };
  Trial trial(const FitArgs& g, std::size_t t) const noexcept { return {splat(g.zero[t])}; }
  /// The place of the level nearest to x.
  Words index(Floats x) const noexcept {
    const Words magnitude = and_words(to_bits(x), splat_word(INT32_MAX));
    const Words key = select(greater(splat_word(0), to_bits(x)), subtract(splat_word(0), magnitude), magnitude);
    Words place = splat_word(0);
    for (std::uint32_t i = 0; i < format->threshold_count; ++i)
      place = count_up(place, greater(key, splat_word(format->thresholds[i])));
    return place;
  }
  Words code(Floats x) const noexcept {
    return format->codes != nullptr ? look_up(code_word, count, index(x)) : index(x);
  }
  Floats value(Floats ratio, const Trial& t) const noexcept {
    return subtract(look_up(levels, count, index(add(ratio, t.zero))), t.zero);
  }
};

// ---- encoding
// ------------------------------------------------------------------------------------------------------------

/// Calls body(x / (scale * step), position, count) for each vector of a group.
template <class Body>
inline void for_each_ratio(const EncodeArgs& g, float step, Body body) noexcept {
  const Floats scale = splat(g.scale * step);
  for (std::size_t i = 0; i < g.n; i += kLanes) {
    const std::size_t count = g.n - i < kLanes ? g.n - i : kLanes;
    const Floats x = count < kLanes ? load(g.x + i, lanes(0, count)) : load(g.x + i);
    body(g.scale == 0.0f ? zero() : divide(x, scale), i, count);
  }
}

inline void encode_integer(const EncodeArgs& g) noexcept {
  const Words mask = splat_word(static_cast<std::int32_t>((1u << g.format->bits) - 1u));
  const Words low = splat_word(g.format->low);
  const Words high = splat_word(g.format->high);
  const Words zero_point = splat_word(g.zero);
  const Floats wide = splat(0x1p20f);
  for_each_ratio(g, IntegerFormat(*g.format).step, [&](Floats ratio, std::size_t i, std::size_t count) {
    const Floats limited = smaller(larger(ratio, subtract(zero(), wide)), wide);
    const Words rounded = keep(ordered(ratio), to_words(limited));  // NaN is 0
    const Words stored = smaller(larger(add_words(rounded, zero_point), low), high);
    store_codes(g.codes + i, and_words(stored, mask), count);
  });
}

inline void encode_minifloat(const EncodeArgs& g) noexcept {
  const MinifloatFormat format(*g.format);
  for_each_ratio(g, 1.0f, [&](Floats ratio, std::size_t i, std::size_t count) {
    if (any_unordered(ratio)) {  // only where NaN is kept
      for (std::size_t j = 0; j < count; ++j)
        g.codes[i + j] = g.format->encode(g.scale == 0.0f ? 0.0f : g.x[i + j] / g.scale);
      return;
    }
    store_codes(g.codes + i, format.code(format.value(ratio, {})), count);
  });
}

inline void encode_codebook(const EncodeArgs& g) noexcept {
  const CodebookFormat format(*g.format);
  const Floats zero_point = splat(static_cast<float>(g.zero));
  for_each_ratio(g, 1.0f, [&](Floats ratio, std::size_t i, std::size_t count) {
    const Floats known = from_bits(keep(ordered(ratio), to_bits(ratio)));  // NaN is the zero point
    store_codes(g.codes + i, format.code(add(known, zero_point)), count);
  });
}

// ---- fitting
// -------------------------------------------------------------------------------------------------------------

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
