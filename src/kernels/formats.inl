// SPDX-License-Identifier: Apache-2.0
// Number formats for any vector width: the nearest value of a format, and its code. Included as gemm.inl is.

constexpr std::size_t kParts = 16 / kLanes;  // vectors that hold 16 lanes

inline void prefetch(const float* p) noexcept { prefetch(reinterpret_cast<const unsigned char*>(p)); }

inline Words absolute_bits(Floats x) noexcept { return and_words(to_bits(x), splat_word(INT32_MAX)); }
inline Words sign_bits(Floats x) noexcept { return and_words(to_bits(x), splat_word(INT32_MIN)); }

/// Lane i: of the lanes of v[i], their sum, as a tree; and the largest word.
inline Floats sum_of_each(const Floats (&v)[kLanes]) noexcept {
  return fold_each(v, [](Floats a, Floats b) { return add(a, b); });
}
inline Words largest_of_each(const Words (&v)[kLanes]) noexcept {
  Floats bits[kLanes];
  for (std::size_t i = 0; i < kLanes; ++i) bits[i] = from_bits(v[i]);
  return to_bits(fold_each(bits, [](Floats a, Floats b) { return from_bits(larger(to_bits(a), to_bits(b))); }));
}

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
  Floats max, smallest_normal, subnormal_magic;
  Words least_exponent;  // bits of smallest_normal
  std::uint32_t shift;   // mantissa bits that the format lacks
  Words half, offset;    // of exponent fields, at the format's place
  Words sign;
  std::uint32_t sign_shift;  // from a float's sign
  bool has_negative_zero;
  MinifloatFormat(std::int32_t mantissa_bits, std::int32_t min_exponent, float largest, std::uint32_t bits,
                  bool negative_zero) noexcept
      : max(splat(largest)),
        smallest_normal(splat(__builtin_bit_cast(float, (min_exponent + 127) << 23))),
        subnormal_magic(splat(__builtin_bit_cast(float, (min_exponent + 127 + 23 - mantissa_bits) << 23))),
        least_exponent(splat_word((min_exponent + 127) << 23)),
        shift(23 - static_cast<std::uint32_t>(mantissa_bits)),
        half(splat_word((1 << (22 - mantissa_bits)) - 1)),
        offset(splat_word(static_cast<std::int32_t>(static_cast<std::uint32_t>(min_exponent + 126) << mantissa_bits))),
        sign(splat_word(1 << (bits - 1))),
        sign_shift(32 - bits),
        has_negative_zero(negative_zero) {}
  explicit MinifloatFormat(const FormatArgs& f) noexcept
      : MinifloatFormat(f.mantissa_bits, f.min_exponent, f.max, f.bits, f.encode(-0.0f) != 0) {}

  static constexpr float step = 1.0f;
  struct Trial {};
  Trial trial(const FitArgs&, std::size_t) const noexcept { return {}; }
  /// Adding and subtracting a power of two whose last place is the format's rounds there, ties to even.
  Floats value(Floats ratio, Trial) const noexcept {
    const Floats limited = smaller(from_bits(absolute_bits(ratio)), max);
    const Words exponent = larger(and_words(to_bits(limited), splat_word(0x7f800000)), least_exponent);
    const Floats magic = from_bits(add_words(exponent, splat_word(static_cast<std::int32_t>(shift << 23))));
    return from_bits(or_words(to_bits(subtract(add(limited, magic), magic)), sign_bits(ratio)));
  }
  /// The magnitude code nearest to a number from 0 to hardly more than `max`. Above the subnormal numbers the fields
  /// are the bits, rounded where the format's mantissa ends; among them the code counts units of the last place, which
  /// a sum with a power of two shows.
  Words magnitude_code(Floats x) const noexcept {
    const Words bits = to_bits(x);
    const Words odd = and_words(shift_right(bits, shift), splat_word(1));
    const Words normal = subtract(shift_right(add_words(add_words(bits, half), odd), shift), offset);
    const Words subnormal = subtract(to_bits(add(x, subnormal_magic)), to_bits(subnormal_magic));
    return select(greater(least_exponent, bits), subnormal, normal);
  }
  Words with_sign(Words code, Words signs) const noexcept {
    if (has_negative_zero) return or_words(code, and_words(shift_right(signs, sign_shift), sign));
    return or_words(code, keep(both(greater(splat_word(0), signs), greater(code, splat_word(0))), sign));
  }
};

/// Up to 32 bins, none of which holds more than one threshold: then one look-up and one comparison find the level.
struct Bins {
  Floats scale, shift;
  bool usable = false;
  float threshold[32];
  std::int32_t base[32];

  /// The bin of x. It does not fall where x grows.
  Words bin(Floats x) const noexcept { return to_words(smaller(larger(fma(x, scale, shift), zero()), splat(31.0f))); }
  void fill(const FormatArgs& f) noexcept {
    if (f.threshold_count < 2 || f.threshold_count > 16) return;
    float t[16];
    for (std::uint32_t i = 0; i < 16; ++i) {
      const std::int32_t key = f.thresholds[i < f.threshold_count ? i : f.threshold_count - 1];
      const std::int32_t bits = key < 0 ? INT32_MIN - key : key;
      __builtin_memcpy(&t[i], &bits, sizeof bits);
    }
    const float width = 31.0f / (t[f.threshold_count - 1] - t[0]);
    scale = splat(width);
    shift = splat(-(t[0] * width));
    std::int32_t bin_of[16];
    for (std::size_t i = 0; i < 16; i += kLanes) {
      const Words b = bin(load(t + i));
      __builtin_memcpy(bin_of + i, &b, sizeof b);
    }
    for (std::uint32_t i = 1; i < f.threshold_count; ++i)
      if (bin_of[i] <= bin_of[i - 1]) return;
    std::uint32_t next = 0;
    for (std::int32_t b = 0; b < 32; ++b) {
      base[b] = static_cast<std::int32_t>(next);
      threshold[b] = __builtin_inff();
      if (next < f.threshold_count && bin_of[next] == b) threshold[b] = t[next++];
    }
    usable = true;
  }
};

struct CodebookFormat {
  const FormatArgs* format;
  std::uint32_t count;  // of levels
  Bins bins;
  const float* levels;  // in their order
  // Where codes are not the indices, by index:
  float level[256];
  std::int32_t code_word[256];
  explicit CodebookFormat(const FormatArgs& f) noexcept
      : format(&f), count(f.threshold_count + 1), levels(f.codes != nullptr ? level : f.values) {
    bins.fill(f);
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
  /// The place of the level nearest to x, which is a number.
  Words index(Floats x) const noexcept {
    if (bins.usable) {
      const Words b = bins.bin(x);
      return count_up(look_up(bins.base, 32, b), is_above(x, look_up(bins.threshold, 32, b)));
    }
    const Words magnitude = absolute_bits(x);
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
