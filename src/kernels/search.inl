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
  explicit IntegerFormat(const FormatArgs& f) noexcept
      : low(splat(static_cast<float>(f.low))), high(splat(static_cast<float>(f.high))) {}

  /// Clamping to integers before rounding gives what clamping after it gives.
  struct Trial {
    Floats low, high;
  };
  Trial trial(const FitArgs& g, std::size_t t) const noexcept {
    return {subtract(low, splat(g.zero[t])), subtract(high, splat(g.zero[t]))};
  }
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
  explicit CodebookFormat(const FormatArgs& f) noexcept : format(&f) {}

  struct Trial {};
  Trial trial(const FitArgs&, std::size_t) const noexcept { return {}; }
  Words index(Floats ratio) const noexcept {
    const Words magnitude = and_words(to_bits(ratio), splat_word(INT32_MAX));
    const Words key = select(greater(splat_word(0), to_bits(ratio)), subtract(splat_word(0), magnitude), magnitude);
    Words count = splat_word(0);
    for (std::uint32_t i = 0; i < format->threshold_count; ++i)
      count = count_up(count, greater(key, splat_word(format->thresholds[i])));
    return count;
  }
  Floats value(Floats ratio, Trial) const noexcept {
    return look_up(format->values, format->threshold_count + 1, index(ratio));
  }
};

// ---- encoding
// ------------------------------------------------------------------------------------------------------------

/// Calls body(x / scale, position, count) for each vector of a group.
template <class Body>
inline void for_each_ratio(const EncodeArgs& g, Body body) noexcept {
  const Floats scale = splat(g.scale);
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
  for_each_ratio(g, [&](Floats ratio, std::size_t i, std::size_t count) {
    const Floats limited = smaller(larger(ratio, subtract(zero(), wide)), wide);
    const Words rounded = keep(ordered(ratio), to_words(limited));  // NaN is 0
    const Words stored = smaller(larger(add_words(rounded, zero_point), low), high);
    store_codes(g.codes + i, and_words(stored, mask), count);
  });
}

inline void encode_minifloat(const EncodeArgs& g) noexcept {
  const MinifloatFormat format(*g.format);
  for_each_ratio(g, [&](Floats ratio, std::size_t i, std::size_t count) {
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
  for_each_ratio(g, [&](Floats ratio, std::size_t i, std::size_t count) {
    store_codes(g.codes + i, format.index(from_bits(keep(ordered(ratio), to_bits(ratio)))), count);
  });
}

// ---- fitting
// -------------------------------------------------------------------------------------------------------------

template <class Format, bool kErrors>
inline void fit_trial(const FitArgs& g, const Format& format, std::size_t t) noexcept {
  const Floats inverse = splat(g.inverse[t]);
  const Floats minus_scale = splat(kErrors ? -g.scales[t] : 0.0f);
  const auto trial = format.trial(g, t);
  Floats xv[kParts], vv[kParts], ee[kParts];
  for (std::size_t part = 0; part < kParts; ++part) xv[part] = vv[part] = ee[part] = zero();
  const auto step = [&](std::size_t part, Floats x, Floats v) {
    xv[part] = fma(x, v, xv[part]);
    vv[part] = fma(v, v, vv[part]);
    if constexpr (kErrors) {
      const Floats e = fma(minus_scale, v, x);
      ee[part] = fma(e, e, ee[part]);
    }
  };
  std::size_t i = 0;
  for (; i + 16 <= g.n; i += 16)
    for (std::size_t part = 0; part < kParts; ++part) {
      const Floats x = load(g.x + i + part * kLanes);
      step(part, x, format.value(multiply(x, inverse), trial));
    }
  for (std::size_t part = 0; i < g.n; i += kLanes, ++part) {
    const Lanes which = lanes(0, g.n - i);
    const Floats x = load(g.x + i, which);
    step(part, x, from_bits(keep(which, to_bits(format.value(multiply(x, inverse), trial)))));
  }
  g.xv[t] = sum_tree(xv);
  g.vv[t] = sum_tree(vv);
  if constexpr (kErrors) g.ee[t] = sum_tree(ee);
}

template <class Format>
inline void fit(const FitArgs& g) noexcept {
  const Format format(*g.format);
  for (std::size_t t = 0; t < g.trials; ++t) {
    if (g.scales != nullptr)
      fit_trial<Format, true>(g, format, t);
    else
      fit_trial<Format, false>(g, format, t);
  }
}
