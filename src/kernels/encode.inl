// SPDX-License-Identifier: Apache-2.0
// From floats to codes, for any vector width. Included as gemm.inl is, after formats.inl.

// ---- scales of groups -----------------------------------------------------------------------------------------------

/// A group's scale and zero point. `ordinary`: of a size that keeps quotients by it, and what corrects them, away from
/// the ends of a float's exponent.
struct GroupScale {
  float value, inverse;
  std::int32_t zero;
  bool ordinary;
};

inline Floats group_numbers(const GroupNumbers& s, std::size_t first, Lanes which) noexcept {
  const Floats stored = load(s.stored + first, which);
  return s.op == ScaleOp::product    ? multiply(stored, splat(s.factor))
         : s.op == ScaleOp::quotient ? divide(stored, splat(s.factor))
                                     : fma(stored, splat(s.factor), splat(s.addend));
}

/// Up to 16 groups at a time: their scales, 1 / scale, and zero points.
struct ScaleBatch {
  float scale[16], inverse[16];
  std::int16_t zero[16] = {};
  bool ordinary = true;

  ScaleBatch(const GroupScales& s, std::size_t first, std::size_t count) noexcept {
    const Words least = splat_word((127 - 60) << 23);
    const Words most = splat_word((127 + 60) << 23);
    if (s.zeros != nullptr) __builtin_memcpy(zero, s.zeros + first, count * sizeof *zero);
    for (std::size_t i = 0; i < count; i += kLanes) {
      const Lanes which = lanes(0, count - i);
      const Floats value = group_numbers(s.scales, first + i, which);
      store(scale + i, value);
      store(inverse + i, divide(splat(1.0f), value));
      const Words size = select(which, absolute_bits(value), least);
      ordinary = ordinary && !any(greater(least, size)) && !any(greater(size, most));
    }
  }
  GroupScale operator[](std::size_t i) const noexcept { return {scale[i], inverse[i], zero[i], ordinary}; }
};

/// Calls body(first group, their number, ScaleBatch) for up to 16 groups at a time.
template <class Body>
inline void for_each_batch(GroupScales s, std::size_t n, Body body) noexcept {
  const std::size_t groups = n != 0 ? ceil_div(n, s.group) : 0;
  for (std::size_t g = 0; g < groups; g += 16) {
    const std::size_t count = groups - g < 16 ? groups - g : 16;
    body(g, count, ScaleBatch(s, g, count));
  }
}

/// Calls body(first element, their number, GroupScale) for each group.
template <class Body>
inline void for_each_scale(GroupScales s, std::size_t n, Body body) noexcept {
  for_each_batch(s, n, [&](std::size_t g, std::size_t count, const ScaleBatch& batch) {
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t first = (g + i) * s.group;
      body(first, n - first < s.group ? n - first : s.group, batch[i]);
    }
  });
}

/// Calls body(x, position, count) for each vector of n numbers.
template <class Body>
inline void for_each_vector(const float* x, std::size_t first, std::size_t n, Body body) noexcept {
  std::size_t i = first;
  for (; i + kLanes <= first + n; i += kLanes) body(load(x + i), i, kLanes);
  if (i < first + n) body(load(x + i, lanes(0, first + n - i)), i, first + n - i);
}

/// The same, and asks for `ahead`, half as fast as it goes. A row's scales are chosen, then its numbers encoded: each
/// of the two passes asks for half of what lies behind the row, which is the next one. Where nothing is, nothing
/// happens.
template <class Body>
inline void for_each_vector_asking(const float* x, std::size_t first, std::size_t n, const float* ahead,
                                   Body body) noexcept {
  for_each_vector(x, first, n, [=](Floats v, std::size_t i, std::size_t count) {
    if (i % 32 < 16) prefetch(ahead + i / 2);
    body(v, i, count);
  });
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

/// The bits of the largest magnitudes of a group, whatever they are, spread over the lanes.
inline Words largest_magnitudes(const float* x, std::size_t first, std::size_t n, std::size_t group) noexcept {
  const float* const ahead = x + n;
  if (group == kLanes && n - first >= group) {
    prefetch(ahead + first / 2);
    return absolute_bits(load(x + first));
  }
  Words most = splat_word(0);
  for_each_vector_asking(x, first, n - first < group ? n - first : group, ahead,
                         [&](Floats v, std::size_t, std::size_t) { most = larger(most, absolute_bits(v)); });
  return most;
}

inline Floats power_of_two(const PlainScalesArgs& g, Floats amax) noexcept {
  const bool by_ratio = g.power_rule == PowerRule::up || g.power_rule == PowerRule::nearest;
  const Words bits = to_bits(by_ratio ? divide(amax, splat(g.unit)) : amax);
  const std::int32_t lift = g.power_rule == PowerRule::up        ? 0x7fffff
                            : g.power_rule == PowerRule::nearest ? 0x400000
                            : g.power_rule == PowerRule::ct      ? 0x200000
                                                                 : 0;
  const Words power = and_words(add_words(bits, splat_word(lift)), splat_word(0x7f800000));
  return from_bits(by_ratio ? power : subtract(power, splat_word(g.unit_exponent << 23)));
}

inline bool plain_scales(const PlainScalesArgs& g) noexcept {
  // Between 2^-60 and 2^60 nothing here comes near a float's ends.
  const Words least = splat_word((127 - 60) << 23);
  const Words most = splat_word((127 + 60) << 23);
  const bool to_powers = g.powers_of_two;
  if (!(g.unit >= 0x1p-60f && g.unit <= 0x1p60f)) return false;
  const MinifloatFormat type(g.mantissa_bits < 23 ? g.mantissa_bits : 10, g.min_exponent, g.max, 8, true);
  const std::size_t groups = g.n != 0 ? ceil_div(g.n, g.group) : 0;
  for (std::size_t first = 0; first < groups; first += kLanes) {
    const std::size_t count = groups - first < kLanes ? groups - first : kLanes;
    Words magnitudes[kLanes];
    for (std::size_t i = 0; i < kLanes; ++i) {
      magnitudes[i] = least;
      if (i < count) magnitudes[i] = largest_magnitudes(g.x, (first + i) * g.group, g.n, g.group);
    }
    const Words amax = largest_of_each(magnitudes);
    Words unusual = select(greater(least, amax), amax, splat_word(0));
    if (to_powers) unusual = select(greater(splat_word(1), amax), least, unusual);
    if (any(greater(unusual, splat_word(0))) || any(greater(amax, most))) return false;
    Floats stored = zero();
    if (to_powers) {
      stored = power_of_two(g, from_bits(amax));
    } else {
      const Floats scale = divide(from_bits(amax), splat(g.unit));
      const Floats super = splat(g.super);
      const Floats wanted = g.super == 1.0f ? scale : g.reciprocal ? multiply(scale, super) : divide(scale, super);
      stored = g.mantissa_bits < 23 ? type.value(wanted, {}) : wanted;
      if (any(is_above(wanted, splat(g.max)))) return false;
    }
    store(g.stored + first, stored, lanes(0, count));
  }
  return true;
}

// ---- encoding -------------------------------------------------------------------------------------------------------

/// x / scale as the processor divides, cut at +-most: by a product and two corrections, each of which the fused
/// multiply-add computes exactly (Markstein 1990). For ordinary scales.
struct CorrectedQuotient {
  Floats scale, inverse, limit;
  CorrectedQuotient(const GroupScale& s, float most) noexcept
      : scale(splat(s.value)), inverse(splat(s.inverse)), limit(splat(__builtin_fabsf(s.value) * most)) {}
  Floats operator()(Floats x) const noexcept {
    return within_limit(smaller(larger(x, subtract(zero(), limit)), limit));
  }
  Floats of_magnitude(Floats x) const noexcept { return within_limit(smaller(x, limit)); }

 private:
  Floats within_limit(Floats x) const noexcept {
    const Floats q0 = multiply(x, inverse);
    const Floats q1 = fma(minus_fma(q0, scale, x), inverse, q0);
    return fma(minus_fma(q1, scale, x), inverse, q1);
  }
};

/// The same for any scale; by a scale of 0, 0.
struct DividedQuotient {
  Floats scale, limit;
  bool by_zero;
  DividedQuotient(const GroupScale& s, float most) noexcept
      : scale(splat(s.value)), limit(splat(most)), by_zero(s.value == 0.0f) {}
  Floats operator()(Floats x) const noexcept {
    return by_zero ? zero() : smaller(larger(divide(x, scale), subtract(zero(), limit)), limit);
  }
  Floats of_magnitude(Floats x) const noexcept { return by_zero ? zero() : smaller(divide(x, scale), limit); }
};

struct IntegerEncoder {
  const EncodeArgs& g;
  Words mask, low, high, near_tie;
  Floats steps;
  explicit IntegerEncoder(const EncodeArgs& args) noexcept
      : g(args),
        mask(splat_word(static_cast<std::int32_t>((1u << args.format->bits) - 1u))),
        low(splat_word(args.format->low)),
        high(splat_word(args.format->high)),
        near_tie(to_bits(splat(0.5f - 0x1p-21f * static_cast<float>(1u << args.format->bits)))),
        steps(splat(static_cast<float>(1 << args.format->fraction_bits))) {}

  template <class Quotient>
  void encode(std::size_t first, std::size_t n, const GroupScale& s) const noexcept {
    const Words zero_point = splat_word(s.zero);
    const Quotient quotient(s, 0x1p20f);  // beyond that, every sum with a zero point saturates
    for_each_vector(g.x, first, n, [&](Floats x, std::size_t i, std::size_t count) {
      const Words rounded = keep(ordered(x), to_words(multiply(quotient(x), steps)));  // NaN is 0
      const Words stored = smaller(larger(add_words(rounded, zero_point), low), high);
      store_codes(g.codes + i, and_words(stored, mask), count);
    });
  }

  /// By a product with 1 / scale, which a sum with 1.5 * 2^23 rounds to an integer. Up to 2^(bits + 1) steps it is
  /// within 2^(bits - 21) of the quotient, so they round alike unless a number lies that near to a tie; beyond them,
  /// both saturate. The codes do not count where there is such a number, or NaN.
  using Doubts = Words;  // how far numbers are from integers
  Doubts none() const noexcept { return splat_word(0); }
  bool settles(Doubts furthest) const noexcept { return !any(greater(furthest, near_tie)); }
  [[gnu::always_inline]] void encode_quickly(std::size_t first, std::size_t n, const GroupScale& s,
                                             Doubts& doubts) const noexcept {
    constexpr std::int32_t kMagic = 0x4b400000;
    const Floats factor = multiply(splat(s.inverse), steps);
    const Floats magic = splat(0x1.8p23f + static_cast<float>(s.zero));
    const Words least = add_words(low, splat_word(kMagic));
    const Words most = add_words(high, splat_word(kMagic));
    Words furthest = doubts;
    std::uint8_t* const codes = g.codes;  // bytes, which may be anything's as far as a compiler knows
    const float* const ahead = g.x + g.n + g.n / 2;
    for_each_vector_asking(g.x, first, n, ahead, [&, codes](Floats x, std::size_t i, std::size_t count) {
      const Floats shifted = fma(x, factor, magic);
      const Floats rest = fma(x, factor, subtract(magic, shifted));
      furthest = larger(furthest, absolute_bits(rest));
      store_codes(codes + i, and_words(smaller(larger(to_bits(shifted), least), most), mask), count);
    });
    doubts = furthest;
  }
};

/// Some numbers: of groups first … end - 1 of a batch, those from `offset` on. The batch begins with group
/// `batch_first`.
struct Piece {
  static constexpr std::size_t kMost = 128;  // few enough that most pieces have no tie
  const EncodeArgs& g;
  const ScaleBatch& batch;
  std::size_t batch_first, first, end, offset;

  /// Calls body(first element, their number, GroupScale) for each group.
  template <class Body>
  void for_each_part(Body body) const noexcept {
    const std::size_t rest = g.scales.group - offset;
    const std::size_t most = rest < kMost ? rest : kMost;
    for (std::size_t i = first; i < end; ++i) {
      const std::size_t at = (batch_first + i) * g.scales.group + offset;
      if (at < g.n) body(at, g.n - at < most ? g.n - at : most, batch[i]);
    }
  }
};

/// By products and, where those do not do, again by quotients.
template <class Encoder>
inline void encode_piece(const Piece& piece, const Encoder& encoder) noexcept {
  if (!piece.batch.ordinary)
    return piece.for_each_part([&](std::size_t first, std::size_t n, const GroupScale& s) {
      encoder.template encode<DividedQuotient>(first, n, s);
    });
  typename Encoder::Doubts doubts = encoder.none();
  piece.for_each_part([&](std::size_t first, std::size_t n, const GroupScale& s) {
    if (n == 16)  // NVFP4's groups, without a loop
      encoder.encode_quickly(first, 16, s, doubts);
    else
      encoder.encode_quickly(first, n, s, doubts);
  });
  if (encoder.settles(doubts)) return;
  piece.for_each_part([&](std::size_t first, std::size_t n, const GroupScale& s) {
    encoder.template encode<CorrectedQuotient>(first, n, s);
  });
}

/// In pieces of a group, or of several.
template <class Encoder>
inline void encode_in_pieces(const EncodeArgs& g, const Encoder& encoder) noexcept {
  if (g.n == 0) return;
  const std::size_t group = g.scales.group < g.n ? g.scales.group : g.n;
  const std::size_t at_once = group < Piece::kMost ? Piece::kMost / group : 1;
  for_each_batch(g.scales, g.n, [&](std::size_t batch_first, std::size_t count, const ScaleBatch& batch) {
    for (std::size_t i = 0; i < count; i += at_once)
      for (std::size_t offset = 0; offset < group; offset += Piece::kMost)
        encode_piece(Piece{g, batch, batch_first, i, count - i < at_once ? count : i + at_once, offset}, encoder);
  });
}

/// A scale and a zero point for each element, as down a column.
struct EachScale {
  Floats value, zero;
  Words zero_word;
  Lanes is_zero;  // the scale
  EachScale(const GroupScales& s, std::size_t first, std::size_t count) noexcept
      : value(group_numbers(s.scales, first, lanes(0, count))),
        zero_word(s.zeros == nullptr ? splat_word(0) : load_zeros(s.zeros + first, count)) {
    zero = to_floats(zero_word);
    is_zero = greater(splat_word(1), absolute_bits(value));
  }
  /// x / scale, cut at +-most; by a scale of 0, 0.
  Floats quotient(Floats x, float most) const noexcept {
    const Floats ratio = smaller(larger(divide(x, value), splat(-most)), splat(most));
    return from_bits(and_not(is_zero, to_bits(ratio)));
  }

 private:
  static Words load_zeros(const std::int16_t* zeros, std::size_t count) noexcept {
    const auto* bits = reinterpret_cast<const std::uint16_t*>(zeros);
    const Words words = count < kLanes ? load_halfs(bits, count) : load_halfs(bits);
    return shift_right_signed<16>(shift_left(words, 16));
  }
};

inline void encode_integer(const EncodeArgs& g) noexcept {
  const IntegerEncoder encoder(g);
  if (g.scales.group != 1) return encode_in_pieces(g, encoder);
  for_each_vector(g.x, 0, g.n, [&](Floats x, std::size_t i, std::size_t count) {
    const EachScale scale(g.scales, i, count);
    const Words rounded = keep(ordered(x), to_words(multiply(scale.quotient(x, 0x1p20f), encoder.steps)));
    store_codes(
        g.codes + i,
        and_words(smaller(larger(add_words(rounded, scale.zero_word), encoder.low), encoder.high), encoder.mask),
        count);
  });
}

struct MinifloatEncoder {
  EncodeArgs g;
  MinifloatFormat format;
  explicit MinifloatEncoder(const EncodeArgs& args) noexcept : g(args), format(*args.format) {}

  template <class Quotient>
  void encode(std::size_t first, std::size_t n, const GroupScale& s) const noexcept {
    const Quotient quotient({__builtin_fabsf(s.value), __builtin_fabsf(s.inverse), 0, s.ordinary}, g.format->max);
    const Words flip = to_bits(splat(s.value));
    const bool by_zero = s.value == 0.0f;
    Words most = splat_word(0);
    for_each_vector(g.x, first, n, [&](Floats x, std::size_t i, std::size_t count) {
      const Words magnitude = absolute_bits(x);
      most = larger(most, magnitude);
      const Words signs = by_zero ? splat_word(0) : xor_words(to_bits(x), flip);
      const Words code = format.magnitude_code(quotient.of_magnitude(from_bits(magnitude)));
      store_codes(g.codes + i, format.with_sign(code, signs), count);
    });
    if (any(greater(most, splat_word(0x7f800000)))) [[unlikely]]
      encode_with_nan(g, first, n, s);
  }
  /// NaN has no sign as a quotient. A call leaves no vector in its register, so what is called is to look rare: else
  /// GCC keeps the constants of the loops above and below in memory. It gets copies, so that nobody else can change
  /// what those loops read.
  [[gnu::cold, gnu::noinline]] static void encode_with_nan(EncodeArgs g, std::size_t first, std::size_t n,
                                                           GroupScale s) noexcept {
    for (std::size_t i = first; i < first + n; ++i) {
      const float ratio = s.value == 0.0f ? 0.0f : g.x[i] / s.value;
      g.codes[i] = g.format->encode(ratio == ratio ? ratio : __builtin_nanf(""));
    }
  }

  /// By a product with 1 / scale, which is within 3 units of its last place of the quotient, so they round alike unless
  /// a number lies as near to a tie. The codes do not count where there is such a number, or NaN.
  static constexpr std::int32_t kNear = 4;
  struct Doubts {
    Words most, nearest;  // magnitude; what is dropped, from kNear before a tie
  };
  Doubts none() const noexcept { return {splat_word(0), splat_word(INT32_MAX)}; }
  bool settles(const Doubts& d) const noexcept {
    return !any(greater(d.most, splat_word(0x7f800000))) && !any(greater(splat_word(2 * kNear + 1), d.nearest));
  }
  [[gnu::always_inline]] void encode_quickly(std::size_t first, std::size_t n, const GroupScale& s,
                                             Doubts& doubts) const noexcept {
    const Floats factor = splat(__builtin_fabsf(s.inverse));
    const Words flip = to_bits(splat(s.value));
    const Words past_tie = splat_word((1 << (format.shift - 1)) + kNear);
    const Words from_normal = subtract(past_tie, subtract(format.least_exponent, splat_word(1 << 23)));
    const Words from_subnormal = subtract(past_tie, format.least_exponent);
    const Words below = splat_word((1 << format.shift) - 1);  // what rounding drops
    const Floats smallest = format.smallest_normal;
    Words most = doubts.most;
    Words nearest = doubts.nearest;
    std::uint8_t* const codes = g.codes;  // bytes, which may be anything's as far as a compiler knows
    const float* const ahead = g.x + g.n + g.n / 2;
    for_each_vector_asking(g.x, first, n, ahead, [&, codes](Floats x, std::size_t i, std::size_t count) {
      const Words magnitude = absolute_bits(x);
      most = larger(most, magnitude);
      const Floats product = smaller(multiply(from_bits(magnitude), factor), format.max);
      // A sum with the smallest normal number gives subnormal ones the places of a float. Of the two codes the larger
      // one is right on either side.
      const Floats placed = add(product, smallest);
      const Words moved = larger(add_words(to_bits(product), from_normal), add_words(to_bits(placed), from_subnormal));
      nearest = smaller(nearest, and_words(moved, below));
      store_codes(codes + i, format.with_sign(shift_right(moved, format.shift), xor_words(to_bits(x), flip)), count);
    });
    doubts = {most, nearest};
  }
};

inline void encode_minifloat(const EncodeArgs& g) noexcept {
  const MinifloatEncoder encoder(g);
  if (g.scales.group != 1) return encode_in_pieces(g, encoder);
  for_each_vector(g.x, 0, g.n, [&](Floats x, std::size_t i, std::size_t count) {
    const EachScale scale(g.scales, i, count);
    if (any(greater(absolute_bits(x), splat_word(0x7f800000)))) {
      float scales[kLanes];
      store(scales, scale.value);
      for (std::size_t j = 0; j < count && j < kLanes; ++j)
        MinifloatEncoder::encode_with_nan(g, i + j, 1, {scales[j], 0.0f, 0, false});
      return;
    }
    const Floats ratio = scale.quotient(x, g.format->max);
    const Words code = encoder.format.magnitude_code(from_bits(absolute_bits(ratio)));
    store_codes(g.codes + i, encoder.format.with_sign(code, to_bits(ratio)), count);
  });
}

/// Quotients are cut at +-most.
template <class Quotient, class Format>
inline void encode_levels(const EncodeArgs& g, const Format& format, std::size_t first, std::size_t n,
                          const GroupScale& s, float most) noexcept {
  const Floats zero_point = splat(static_cast<float>(s.zero));
  const Quotient quotient(s, most);
  std::uint8_t* const codes = g.codes;
  for_each_vector_asking(g.x, first, n, g.x + g.n + g.n / 2, [&, codes](Floats x, std::size_t i, std::size_t count) {
    const Floats known = from_bits(keep(ordered(x), to_bits(x)));  // NaN is the zero point
    store_codes(codes + i, format.levels->code_at(format.place(add(quotient(known), zero_point))), count);
  });
}

inline void encode_codebook(const EncodeArgs& g) noexcept {
  const bool near = g.format->max <= 0x1p19f;  // every sum of 2^20 and a zero point is beyond the levels
  with_codebook(*g.format, [&](const auto& format) {
    if (g.scales.group == 1)
      return for_each_vector(g.x, 0, g.n, [&](Floats x, std::size_t i, std::size_t count) {
        const EachScale scale(g.scales, i, count);
        const Floats known = from_bits(keep(ordered(x), to_bits(x)));
        const Floats ratio = scale.quotient(known, near ? 0x1p20f : __builtin_inff());
        store_codes(g.codes + i, format.levels->code_at(format.place(add(ratio, scale.zero))), count);
      });
    for_each_scale(g.scales, g.n, [&](std::size_t first, std::size_t n, const GroupScale& s) {
      if (s.ordinary && near)
        encode_levels<CorrectedQuotient>(g, format, first, n, s, 0x1p20f);
      else
        encode_levels<DividedQuotient>(g, format, first, n, s, near ? 0x1p20f : __builtin_inff());
    });
  });
}
