// SPDX-License-Identifier: Apache-2.0
// From codes to floats, and between floats of 32 and 16 bits, for any vector width. Included after encode.inl.

// ---- decoding -------------------------------------------------------------------------------------------------------

constexpr std::size_t kDecodeAhead = 1024;  // floats; where what is written next is asked for

/// Calls value(codes) for each vector of some codes, and writes what it gives.
template <class Value>
[[gnu::always_inline]] inline void decode_group(const std::uint8_t* codes, float* out, std::size_t first, std::size_t n,
                                                Value value) noexcept {
  std::size_t i = first;
  for (; i + kLanes <= first + n; i += kLanes) {
    prefetch(out + i + kDecodeAhead);
    store(out + i, value(load_bytes(codes + i)));
  }
  if (i < first + n) store(out + i, value(load_bytes(codes + i, first + n - i)), lanes(0, first + n - i));
}

/// A scale, zero point and offset for each element, as down a column.
template <class Value>
[[gnu::noinline]] void decode_each(const DecodeArgs& g, Value value) noexcept {
  const GroupNumbers& offsets = g.scales.offsets;
  for (std::size_t i = 0; i < g.n; i += kLanes) {
    const std::size_t count = g.n - i < kLanes ? g.n - i : kLanes;
    const Lanes which = lanes(0, count);
    const EachScale scale(g.scales, i, count);
    const Floats addend =
        offsets.stored == nullptr ? splat(-0.0f) : subtract(splat(-0.0f), group_numbers(offsets, i, which));
    const Words codes = count < kLanes ? load_bytes(g.codes + i, count) : load_bytes(g.codes + i);
    store(g.out + i, fma(scale.value, subtract(value(codes), scale.zero), addend), which);
  }
}

/// Groups with offsets: scale * (value(codes) - zero) - offset, fused. By itself, so that what those without offsets do
/// is compiled as if there were none.
template <class Value>
[[gnu::noinline]] void decode_shifted(const DecodeArgs& g, Value value) noexcept {
  for_each_scale(g.scales, g.n, [&](std::size_t first, std::size_t n, const GroupScale& s) {
    float offset[kLanes];
    store(offset, group_numbers(g.scales.offsets, first / g.scales.group, lanes(0, 1)));
    const Floats scale = splat(s.value), zero_point = splat(static_cast<float>(s.zero)), addend = splat(-offset[0]);
    decode_group(g.codes, g.out, first, n,
                 [&](Words code) { return fma(scale, subtract(value(code), zero_point), addend); });
  });
}

/// Codes of up to 4 bits: the 16 results of a group, looked up.
inline void decode_small(const DecodeArgs& g) noexcept {
  float values[16];
  for (std::size_t i = 0; i < 16; ++i) values[i] = g.format->values[i & ((1u << g.format->bits) - 1u)];
  Floats levels[kParts];
  for (std::size_t part = 0; part < kParts; ++part) levels[part] = load(values + part * kLanes);
  if (g.scales.group == 1 || g.scales.offsets.stored != nullptr) {
    const Table16 table(levels);
    const auto value = [&](Words code) { return table[code]; };
    return g.scales.group == 1 ? decode_each(g, value) : decode_shifted(g, value);
  }
  for_each_scale(
      g.scales, g.n, [&, codes = g.codes, out = g.out](std::size_t first, std::size_t n, const GroupScale& s) {
        Floats results[kParts];
        for (std::size_t part = 0; part < kParts; ++part)
          results[part] = multiply(splat(s.value), subtract(levels[part], splat(static_cast<float>(s.zero))));
        const Table16 table(results);
        decode_group(codes, out, first, n, [&](Words code) { return table[code]; });
      });
}

/// Any codes: scale * (value(codes) - zero), less an offset where there are any.
template <class Value>
inline void decode_with(const DecodeArgs& g, Value value) noexcept {
  if (g.scales.group == 1) return decode_each(g, value);
  if (g.scales.offsets.stored != nullptr) return decode_shifted(g, value);
  for_each_scale(g.scales, g.n,
                 [=, codes = g.codes, out = g.out](std::size_t first, std::size_t n, const GroupScale& s) {
                   const Floats scale = splat(s.value);
                   const Floats zero_point = splat(static_cast<float>(s.zero));
                   decode_group(codes, out, first, n,
                                [&](Words code) { return multiply(scale, subtract(value(code), zero_point)); });
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
  } else if (f.kind == CodeKind::integer) {
    decode_integer(g);
  } else if (f.kind == CodeKind::minifloat) {
    decode_minifloat(g);
  } else {
    decode_with(g, [&](Words code) { return look_up(f.values, 1u << f.bits, code); });
  }
}

// ---- 16-bit floats --------------------------------------------------------------------------------------------------

/// Some numbers at a time; those with NaN among them again, with care for NaN.
template <class Code>
inline void narrow(const NarrowArgs& g, Code code, std::int32_t nan) noexcept {
  constexpr std::size_t kPiece = 256;
  constexpr std::size_t kAhead = 2048;  // what a processor asks for by itself comes too late
  std::uint16_t* const codes = g.codes;
  for (std::size_t first = 0; first < g.n; first += kPiece) {
    const std::size_t n = g.n - first < kPiece ? g.n - first : kPiece;
    Words most = splat_word(0);
    for_each_vector(g.x, first, n, [&, codes](Floats x, std::size_t i, std::size_t count) {
      prefetch(g.x + i + kAhead);
      most = larger(most, absolute_bits(x));
      store_halfs(codes + i, code(x), count);
    });
    if (!any(greater(most, splat_word(0x7f800000)))) continue;
    for_each_vector(g.x, first, n, [&, codes](Floats x, std::size_t i, std::size_t count) {
      store_halfs(codes + i, quiet_nan_or(x, code(x), nan), count);
    });
  }
}
inline void narrow_fp16(const NarrowArgs& g) noexcept {
  narrow(
      g, [](Floats x) { return half_code(x); }, kNanFp16);
}
inline void narrow_bf16(const NarrowArgs& g) noexcept {
  narrow(
      g, [](Floats x) { return bfloat16_code(x); }, kNanBf16);
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
