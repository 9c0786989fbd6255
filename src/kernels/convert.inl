// SPDX-License-Identifier: Apache-2.0
// Between floats and codes, for any vector width. Included as gemm.inl is, after formats.inl.

// ---- scales of groups -----------------------------------------------------------------------------------------------

/// Up to 16 groups at a time: their scales, and 1 / scale.
struct ScaleBatch {
  float scale[16], inverse[16];

  ScaleBatch(const GroupScales& s, std::size_t first, std::size_t count) noexcept {
    const Floats factor = splat(s.factor);
    const Floats addend = splat(s.addend);
    for (std::size_t i = 0; i < count; i += kLanes) {
      const Lanes which = lanes(0, count - i);
      const Floats stored = load(s.stored + first + i, which);
      const Floats value = s.op == ScaleOp::product    ? multiply(stored, factor)
                           : s.op == ScaleOp::quotient ? divide(stored, factor)
                                                       : fma(stored, factor, addend);
      store(scale + i, value);
      store(inverse + i, divide(splat(1.0f), value));
    }
  }
};

/// Calls body(first element, their number, scale, 1 / scale, zero point) for each group.
template <class Body>
inline void for_each_scale(const GroupScales& s, std::size_t n, Body body) noexcept {
  const std::size_t groups = n != 0 ? ceil_div(n, s.group) : 0;
  for (std::size_t g = 0; g < groups; g += 16) {
    const std::size_t count = groups - g < 16 ? groups - g : 16;
    const ScaleBatch batch(s, g, count);
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t first = (g + i) * s.group;
      body(first, n - first < s.group ? n - first : s.group, batch.scale[i], batch.inverse[i],
           s.zeros != nullptr ? s.zeros[g + i] : 0);
    }
  }
}

/// x / scale as the processor divides, by a product and two corrections, each of which the fused multiply-add computes
/// exactly (Markstein 1990). For scales and x that keep all of it away from the ends of the exponent's range; others
/// are divided.
struct Quotient {
  Floats scale, inverse;
  bool corrects;
  Quotient(float s, float i) noexcept : scale(splat(s)), inverse(splat(i)) {
    const float size = __builtin_fabsf(s);
    corrects = size >= 0x1p-60f && size <= 0x1p60f;
  }
  Floats operator()(Floats x) const noexcept {
    if (!corrects) return divide(x, scale);
    const Floats q0 = multiply(x, inverse);
    const Floats q1 = fma(minus_fma(q0, scale, x), inverse, q0);
    return fma(minus_fma(q1, scale, x), inverse, q1);
  }
};

/// Calls body(x, position, count) for each vector of n numbers.
template <class Body>
inline void for_each_vector(const float* x, std::size_t first, std::size_t n, Body body) noexcept {
  std::size_t i = first;
  for (; i + kLanes <= first + n; i += kLanes) body(load(x + i), i, kLanes);
  if (i < first + n) body(load(x + i, lanes(0, first + n - i)), i, first + n - i);
}

// ---- encoding -------------------------------------------------------------------------------------------------------

inline void encode_integer(const EncodeArgs& g) noexcept {
  const Words mask = splat_word(static_cast<std::int32_t>((1u << g.format->bits) - 1u));
  const Words low = splat_word(g.format->low);
  const Words high = splat_word(g.format->high);
  const Floats steps = splat(static_cast<float>(1 << g.format->fraction_bits));
  for_each_scale(g.scales, g.n, [&](std::size_t first, std::size_t n, float scale, float inverse, std::int32_t z) {
    const Words zero_point = splat_word(z);
    const Quotient quotient(scale, inverse);
    // Beyond 2^20 every sum with a zero point saturates; cut there, no quotient leaves the range of floats.
    const Floats limit = splat(quotient.corrects ? __builtin_fabsf(scale) * 0x1p20f : __builtin_inff());
    for_each_vector(g.x, first, n, [&](Floats x, std::size_t i, std::size_t count) {
      const Floats limited = smaller(larger(x, subtract(zero(), limit)), limit);
      Floats ratio = scale == 0.0f ? zero() : quotient(limited);
      if (!quotient.corrects) ratio = smaller(larger(ratio, splat(-0x1p20f)), splat(0x1p20f));
      const Words rounded = keep(ordered(x), to_words(multiply(ratio, steps)));  // NaN is 0
      const Words stored = smaller(larger(add_words(rounded, zero_point), low), high);
      store_codes(g.codes + i, and_words(stored, mask), count);
    });
  });
}

inline void encode_minifloat(const EncodeArgs& g) noexcept {
  const MinifloatFormat format(*g.format);
  for_each_scale(g.scales, g.n, [&](std::size_t first, std::size_t n, float scale, float inverse, std::int32_t) {
    const Quotient quotient(__builtin_fabsf(scale), __builtin_fabsf(inverse));
    const Floats limit = splat(quotient.corrects ? __builtin_fabsf(scale) * g.format->max : __builtin_inff());
    const Words flip = sign_bits(splat(scale));
    for_each_vector(g.x, first, n, [&](Floats x, std::size_t i, std::size_t count) {
      if (scale == 0.0f || any_unordered(x)) {  // NaN is there only where it is kept
        for (std::size_t j = 0; j < count; ++j)
          g.codes[i + j] = g.format->encode(scale == 0.0f ? 0.0f : g.x[i + j] / scale);
        return;
      }
      Floats ratio = quotient(smaller(from_bits(absolute_bits(x)), limit));
      if (!quotient.corrects) ratio = smaller(ratio, format.max);
      const Words signs = xor_words(to_bits(x), flip);
      store_codes(g.codes + i, format.with_sign(format.magnitude_code(ratio), signs), count);
    });
  });
}

inline void encode_codebook(const EncodeArgs& g) noexcept {
  const CodebookFormat format(*g.format);
  for_each_scale(g.scales, g.n, [&](std::size_t first, std::size_t n, float scale, float inverse, std::int32_t z) {
    const Floats zero_point = splat(static_cast<float>(z));
    const Quotient quotient(scale, inverse);
    const Floats limit = splat(quotient.corrects ? __builtin_fabsf(scale) * 0x1p20f : __builtin_inff());
    for_each_vector(g.x, first, n, [&](Floats x, std::size_t i, std::size_t count) {
      const Floats known = from_bits(keep(ordered(x), to_bits(x)));  // NaN is the zero point
      const Floats limited = smaller(larger(known, subtract(zero(), limit)), limit);
      const Floats ratio = scale == 0.0f ? zero() : quotient(limited);
      store_codes(g.codes + i, format.code(add(ratio, zero_point)), count);
    });
  });
}

// ---- decoding -------------------------------------------------------------------------------------------------------

/// Codes of up to 4 bits: the 16 results of a group, looked up.
inline void decode_small(const DecodeArgs& g) noexcept {
  float values[16];
  for (std::size_t i = 0; i < 16; ++i) values[i] = g.format->values[i & ((1u << g.format->bits) - 1u)];
  for_each_scale(g.scales, g.n, [&](std::size_t first, std::size_t n, float scale, float, std::int32_t z) {
    float results[16];
    for (std::size_t i = 0; i < 16; i += kLanes)
      store(results + i, multiply(splat(scale), subtract(load(values + i), splat(static_cast<float>(z)))));
    const Table16 table(results);
    std::size_t i = first;
    for (; i + kLanes <= first + n; i += kLanes) store(g.out + i, table[load_bytes(g.codes + i)]);
    if (i < first + n) store(g.out + i, table[load_bytes(g.codes + i, first + n - i)], lanes(0, first + n - i));
  });
}

/// Calls value(codes) for each vector of codes, and writes scale * (value - zero).
template <class Value>
inline void decode_with(const DecodeArgs& g, Value value) noexcept {
  for_each_scale(g.scales, g.n, [&](std::size_t first, std::size_t n, float s, float, std::int32_t z) {
    const Floats scale = splat(s);
    const Floats zero_point = splat(static_cast<float>(z));
    std::size_t i = first;
    for (; i + kLanes <= first + n; i += kLanes)
      store(g.out + i, multiply(scale, subtract(value(load_bytes(g.codes + i)), zero_point)));
    if (i < first + n) {
      const std::size_t count = first + n - i;
      store(g.out + i, multiply(scale, subtract(value(load_bytes(g.codes + i, count)), zero_point)), lanes(0, count));
    }
  });
}

inline void decode_integer(const DecodeArgs& g) noexcept {
  const Words sign = splat_word(g.format->low < 0 ? 1 << (g.format->bits - 1) : 0);
  const Floats step = splat(1.0f / static_cast<float>(1 << g.format->fraction_bits));
  decode_with(g, [&](Words code) { return multiply(to_floats(subtract(xor_words(code, sign), sign)), step); });
}

/// The fields go to their place in a float; numbers without a hidden bit get one, and lose it again as a number.
inline void decode_minifloat(const DecodeArgs& g) noexcept {
  const FormatArgs& f = *g.format;
  const std::uint32_t shift = 23 - static_cast<std::uint32_t>(f.mantissa_bits);
  const Words magnitude_mask = splat_word((1 << (f.bits - 1)) - 1);
  const Words bias = splat_word((f.min_exponent + 126) << 23);
  const Words hidden = splat_word(1 << 23);
  const Words first_normal = splat_word(1 << 23);
  const Floats smallest_normal = splat(__builtin_bit_cast(float, (f.min_exponent + 127) << 23));
  std::int32_t largest = 0;  // code of the largest number; those above it are special
  for (std::int32_t code = (1 << (f.bits - 1)) - 1; code > 0 && largest == 0; --code)
    if (f.values[code] <= f.max) largest = code;
  const Words last = splat_word(largest);
  const bool has_negative_zero = __builtin_signbit(f.values[1u << (f.bits - 1)]) != 0;
  decode_with(g, [&](Words code) {
    const Words magnitude = and_words(code, magnitude_mask);
    const Words fields = shift_left(magnitude, shift);
    const Lanes special = greater(magnitude, last);
    const Lanes bare_sign = greater(code, magnitude_mask);  // and no magnitude: -0, or NaN where there is none
    if (any(special) || (!has_negative_zero && any(both(bare_sign, greater(splat_word(1), magnitude)))))
      return look_up(f.values, 1u << f.bits, code);
    const Lanes is_subnormal = greater(first_normal, fields);
    const Floats normal = from_bits(add_words(fields, bias));
    const Floats subnormal = subtract(from_bits(add_words(add_words(fields, bias), hidden)), smallest_normal);
    const Words value = to_bits(select(is_subnormal, subnormal, normal));
    return from_bits(or_words(value, shift_left(subtract(code, magnitude), 32 - f.bits)));
  });
}

inline void decode(const DecodeArgs& g) noexcept {
  const FormatArgs& f = *g.format;
  if (f.bits <= 4) {
    decode_small(g);
  } else if (f.thresholds == nullptr && f.low != f.high) {
    decode_integer(g);
  } else if (f.mantissa_bits > 0 && f.values[(1u << (f.bits - 1)) + 1] < 0) {  // not those without a sign
    decode_minifloat(g);
  } else {
    decode_with(g, [&](Words code) { return look_up(f.values, 1u << f.bits, code); });
  }
}

// ---- 16-bit floats --------------------------------------------------------------------------------------------------

/// The NaN of a sign, in the upper half of a word; where x is a number, `code`.
inline Words quiet_nan_or(Floats x, Words code, std::int32_t nan) noexcept {
  const Words signs = and_words(shift_right(to_bits(x), 16), splat_word(0x8000));
  return select(ordered(x), code, or_words(signs, splat_word(nan)));
}
inline Words bfloat16_code(Floats x) noexcept {
  const Words odd = and_words(shift_right(to_bits(x), 16), splat_word(1));
  return shift_right(add_words(add_words(to_bits(x), splat_word(0x7fff)), odd), 16);
}
inline Floats made_quiet(Floats x) noexcept {
  return from_bits(or_words(to_bits(x), and_not(ordered(x), splat_word(0x400000))));
}

inline void narrow_fp16(const NarrowArgs& g) noexcept {
  for_each_vector(g.x, 0, g.n, [&](Floats x, std::size_t i, std::size_t count) {
    store_halfs(g.codes + i, quiet_nan_or(x, half_code(x), 0x7e00), count);
  });
}
inline void narrow_bf16(const NarrowArgs& g) noexcept {
  for_each_vector(g.x, 0, g.n, [&](Floats x, std::size_t i, std::size_t count) {
    store_halfs(g.codes + i, quiet_nan_or(x, bfloat16_code(x), 0x7fc0), count);
  });
}
template <class Value>
inline void widen(const WidenArgs& g, Value value) noexcept {
  std::size_t i = 0;
  for (; i + kLanes <= g.n; i += kLanes) store(g.out + i, made_quiet(value(load_halfs(g.codes + i))));
  if (i < g.n) store(g.out + i, made_quiet(value(load_halfs(g.codes + i, g.n - i))), lanes(0, g.n - i));
}
inline void widen_fp16(const WidenArgs& g) noexcept {
  widen(g, [](Words code) { return half_value(code); });
}
inline void widen_bf16(const WidenArgs& g) noexcept {
  widen(g, [](Words code) { return from_bits(shift_left(code, 16)); });
}

// ---- ranges and plain scales ----------------------------------------------------------------------------------------

inline void range(RangeArgs& g) noexcept {
  Floats low = zero();
  Floats high = zero();
  for_each_vector(g.x, 0, g.n, [&](Floats x, std::size_t, std::size_t) {
    const Lanes finite = greater(splat_word(0x7f800000), absolute_bits(x));
    const Floats known = from_bits(keep(finite, to_bits(x)));
    low = smaller(known, low);
    high = larger(known, high);
  });
  float least[kLanes];
  float most[kLanes];
  store(least, low);
  store(most, high);
  g.low = g.high = 0.0f;
  for (std::size_t i = 0; i < kLanes; ++i) {
    g.low = least[i] < g.low ? least[i] : g.low;  // never -0
    g.high = most[i] > g.high ? most[i] : g.high;
  }
}

/// The bits of the largest magnitude of n numbers, whatever they are.
inline std::int32_t largest_bits(const float* x, std::size_t n) noexcept {
  Words most = splat_word(0);
  for_each_vector(x, 0, n, [&](Floats v, std::size_t, std::size_t) { most = larger(most, absolute_bits(v)); });
  return largest_word(most);
}

inline Floats power_of_two(const PlainScalesArgs& g, Floats amax) noexcept {
  const bool by_ratio = g.power_rule == PowerScale::up || g.power_rule == PowerScale::nearest;
  const Words bits = to_bits(by_ratio ? divide(amax, splat(g.unit)) : amax);
  const std::int32_t lift = g.power_rule == PowerScale::up        ? 0x7fffff
                            : g.power_rule == PowerScale::nearest ? 0x400000
                            : g.power_rule == PowerScale::ct      ? 0x200000
                                                                  : 0;
  const Words power = and_words(add_words(bits, splat_word(lift)), splat_word(0x7f800000));
  return from_bits(by_ratio ? power : subtract(power, splat_word(g.unit_exponent << 23)));
}

inline bool plain_scales(const PlainScalesArgs& g) noexcept {
  constexpr std::int32_t kLeast = (127 - 60) << 23;  // between 2^-60 and 2^60 nothing here comes near a float's ends
  constexpr std::int32_t kMost = (127 + 60) << 23;
  const MinifloatFormat type(g.mantissa_bits < 23 ? g.mantissa_bits : 10, g.min_exponent, g.max, 8, true);
  const std::size_t groups = g.n != 0 ? ceil_div(g.n, g.group) : 0;
  for (std::size_t first = 0; first < groups; first += kLanes) {
    const std::size_t count = groups - first < kLanes ? groups - first : kLanes;
    std::int32_t amax_bits[kLanes] = {};
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t at = (first + i) * g.group;
      amax_bits[i] = largest_bits(g.x + at, g.n - at < g.group ? g.n - at : g.group);
      const bool is_zero = amax_bits[i] == 0 && g.power_rule == PowerScale::none;
      if (!is_zero && (amax_bits[i] < kLeast || amax_bits[i] > kMost)) return false;
    }
    float amax_values[kLanes];
    __builtin_memcpy(amax_values, amax_bits, sizeof amax_values);
    const Floats amax = load(amax_values);
    Floats stored = zero();
    if (g.power_rule != PowerScale::none) {
      stored = power_of_two(g, amax);
    } else {
      const Floats scale = divide(amax, splat(g.unit));
      const Floats super = splat(g.super);
      const Floats wanted = g.super == 1.0f ? scale : g.reciprocal ? multiply(scale, super) : divide(scale, super);
      stored = g.mantissa_bits < 23 ? type.value(wanted, {}) : wanted;
      if (any(is_above(wanted, splat(g.max)))) return false;
    }
    store(g.stored + first, stored, lanes(0, count));
  }
  return true;
}
