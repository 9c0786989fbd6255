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

// ---- 16-bit floats --------------------------------------------------------------------------------------------------

constexpr std::int32_t kNanFp16 = 0x7e00, kNanBf16 = 0x7fc0;

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

// ---- formats of up to 8 bits ----------------------------------------------------------------------------------------

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

/// The bin of x of 32. It does not fall where x grows.
inline Words bin_of(Floats x, Floats scale, Floats shift) noexcept {
  return to_words(smaller(larger(fma(x, scale, shift), zero()), splat(31.0f)));
}

/// A codebook of 3 to 16 levels cut into 32 bins, none of which holds more than one threshold: then one look-up and one
/// comparison find the level.
struct Bins {
  bool usable = false;
  Floats scale, shift;
  Words base[32 / kLanes];       // how many thresholds earlier bins hold
  Words threshold[32 / kLanes];  // the first one that no earlier bin holds, as bits; Inf where there is none

  explicit Bins(const FormatArgs& f) noexcept {
    constexpr std::uint8_t kNumbers[32] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                           16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};
    if (f.threshold_count < 2 || f.threshold_count > 15) return;
    const auto threshold_bits = [&](std::uint32_t i) {
      const std::int32_t key = f.thresholds[i];
      return splat_word(key < 0 ? INT32_MIN - key : key);
    };
    const Floats first = from_bits(threshold_bits(0));
    const Floats last = from_bits(threshold_bits(f.threshold_count - 1));
    scale = divide(splat(31.0f), subtract(last, first));
    shift = subtract(zero(), multiply(first, scale));
    for (std::size_t part = 0; part < 32 / kLanes; ++part) {
      base[part] = splat_word(0);
      threshold[part] = splat_word(0x7f800000);
    }
    Words next = splat_word(32);  // the bin of the next larger threshold
    for (std::uint32_t i = f.threshold_count; i-- > 0;) {
      const Words bits = threshold_bits(i);
      const Words own = bin_of(from_bits(bits), scale, shift);
      if (!any(greater(next, own))) return;
      next = own;
      for (std::size_t part = 0; part < 32 / kLanes; ++part) {
        const Lanes behind = greater(load_bytes(kNumbers + part * kLanes), own);
        base[part] = count_up(base[part], behind);
        threshold[part] = select(behind, threshold[part], bits);
      }
    }
    usable = true;
  }
};

/// The levels of a codebook in their order, and their codes.
struct Levels {
  std::uint32_t count;
  bool has_codes;  // other than places in that order
  const float* values;
  float value[256];
  std::int32_t code[256];
  explicit Levels(const FormatArgs& f) noexcept
      : count(f.threshold_count + 1), has_codes(f.codes != nullptr), values(has_codes ? value : f.values) {
    for (std::uint32_t i = 0; has_codes && i < count; ++i) {
      code[i] = f.codes[i];
      value[i] = f.values[f.codes[i]];
    }
  }
  Words code_at(Words place) const noexcept { return has_codes ? look_up(code, count, place) : place; }
};

/// What a trial of a codebook is.
struct LevelTrials {
  static constexpr float step = 1.0f;
  struct Trial {
    Floats zero;
  };
  Trial trial(const FitArgs& g, std::size_t t) const noexcept { return {splat(g.zero[t])}; }
};

/// A codebook that bins cut, with its tables where a look-up is fastest.
struct BinnedFormat : LevelTrials {
  Floats scale, shift;
  Table32 base, threshold;
  Table16 table;
  const Levels* levels;
  BinnedFormat(const Bins& b, const Levels& l) noexcept
      : scale(b.scale), shift(b.shift), base(b.base), threshold(b.threshold), table(table_of(l)), levels(&l) {}

  /// The place of the level nearest to x, which is a number.
  Words place(Floats x) const noexcept {
    const Words bin = bin_of(x, scale, shift);
    return count_up(base[bin], is_above(x, from_bits(threshold[bin])));
  }
  Floats value(Floats ratio, const Trial& t) const noexcept {
    return subtract(table[place(add(ratio, t.zero))], t.zero);
  }

 private:
  static Table16 table_of(const Levels& l) noexcept {
    Floats parts[kParts];
    for (std::size_t first = 0; first < 16; first += kLanes)
      parts[first / kLanes] = load(l.values + first, lanes(0, l.count > first ? l.count - first : 0));
    return Table16(parts);
  }
};

/// Any other codebook.
struct CodebookFormat : LevelTrials {
  const FormatArgs* format;
  const Levels* levels;
  CodebookFormat(const FormatArgs& f, const Levels& l) noexcept : format(&f), levels(&l) {}

  /// The place of the level nearest to x, which is a number.
  Words place(Floats x) const noexcept {
    const Words magnitude = absolute_bits(x);
    const Words key = select(greater(splat_word(0), to_bits(x)), subtract(splat_word(0), magnitude), magnitude);
    Words below = splat_word(0);
    for (std::uint32_t i = 0; i < format->threshold_count; ++i)
      below = count_up(below, greater(key, splat_word(format->thresholds[i])));
    return below;
  }
  Floats value(Floats ratio, const Trial& t) const noexcept {
    return subtract(look_up(levels->values, levels->count, place(add(ratio, t.zero))), t.zero);
  }
};

/// Calls body with a codebook as it is fastest.
template <class Body>
inline void with_codebook(const FormatArgs& f, Body body) noexcept {
  const Levels levels(f);
  const Bins bins(f);
  if (bins.usable)
    body(BinnedFormat(bins, levels));
  else
    body(CodebookFormat(f, levels));
}
