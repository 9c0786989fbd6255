// SPDX-License-Identifier: Apache-2.0
// The AVX2 tier: vectors of 8 columns. Also needs FMA and F16C, which every processor with AVX2 has.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kvant/kernels/kernels.hpp"

namespace kvant::kernels {
namespace {

// ---- vectors -------------------------------------------------------------------------------------------------------

using Floats = __m256;
using Words = __m256i;  // 8 x 32 bits
using Lanes = __m256i;  // all ones where a lane takes part
using Shiftable [[gnu::vector_size(32)]] = std::uint32_t;
constexpr std::size_t kLanes = 8;

inline Words splat_word(std::int32_t x) noexcept { return _mm256_set1_epi32(x); }

/// Lanes begin, begin + 1, … up to but not including end.
inline Lanes lanes(std::size_t begin, std::size_t end) noexcept {
  const Words index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const Words from = splat_word(static_cast<std::int32_t>(begin < kLanes ? begin : kLanes));
  const Words to = splat_word(static_cast<std::int32_t>(end < kLanes ? end : kLanes));
  return _mm256_andnot_si256(_mm256_cmpgt_epi32(from, index), _mm256_cmpgt_epi32(to, index));
}

[[gnu::always_inline]] inline void prefetch(const unsigned char* p) noexcept {
  _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
}

inline Floats zero() noexcept { return _mm256_setzero_ps(); }
inline Floats splat(float x) noexcept { return _mm256_set1_ps(x); }
inline Floats load(const float* p) noexcept { return _mm256_loadu_ps(p); }
inline Floats load(const float* p, Lanes which) noexcept { return _mm256_maskload_ps(p, which); }
inline void store(float* p, Floats x) noexcept { _mm256_storeu_ps(p, x); }
inline void store(float* p, Floats x, Lanes which) noexcept { _mm256_maskstore_ps(p, which, x); }
inline Floats add(Floats a, Floats b) noexcept { return _mm256_add_ps(a, b); }
inline Floats fma(Floats a, Floats b, Floats c) noexcept { return _mm256_fmadd_ps(a, b, c); }
inline Floats minus_fma(Floats a, Floats b, Floats c) noexcept { return _mm256_fnmadd_ps(a, b, c); }
inline Floats load_f32(const unsigned char* p) noexcept {
  return _mm256_castsi256_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Floats load_f16(const unsigned char* p) noexcept {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

inline Words load_words(const unsigned char* p) noexcept {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
inline Words load_u8(const unsigned char* p) noexcept {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
inline Words subtract(Words a, Words b) noexcept { return _mm256_sub_epi32(a, b); }
inline Words multiply_words(Words a, Words b) noexcept { return _mm256_mullo_epi32(a, b); }
inline Floats to_floats(Words x) noexcept { return _mm256_cvtepi32_ps(x); }
inline Floats from_bits(Words x) noexcept { return _mm256_castsi256_ps(x); }
inline Words shift_right(Words x, std::size_t count) noexcept {
  return reinterpret_cast<Words>(reinterpret_cast<Shiftable>(x) >> static_cast<std::uint32_t>(count));
}
template <int kCount>
inline Words shift_right_signed(Words x) noexcept {
  return _mm256_srai_epi32(x, kCount);
}
inline Words shift_left(Words x, std::size_t count) noexcept {
  return reinterpret_cast<Words>(reinterpret_cast<Shiftable>(x) << static_cast<std::uint32_t>(count));
}

// ---- activations ---------------------------------------------------------------------------------------------------

inline Words add_words(Words a, Words b) noexcept { return _mm256_add_epi32(a, b); }
inline Words larger(Words a, Words b) noexcept { return _mm256_max_epi32(a, b); }
inline std::int32_t sum_of_lanes(Words x) noexcept {
  std::int32_t lane[kLanes];
  __builtin_memcpy(lane, &x, sizeof lane);
  return lane[0] + lane[1] + lane[2] + lane[3] + lane[4] + lane[5] + lane[6] + lane[7];
}
inline float largest_lane(Words magnitudes) noexcept {
  float lane[kLanes];
  __builtin_memcpy(lane, &magnitudes, sizeof lane);
  float most = 0.0f;
  for (const float x : lane) most = x > most ? x : most;
  return most;
}
/// The bits of |x|, which as integers are ordered as the numbers are; 0 for NaN and Inf.
inline Words finite_magnitude(Floats x) noexcept {
  const Words magnitude = _mm256_and_si256(_mm256_castps_si256(x), splat_word(0x7fffffff));
  return _mm256_and_si256(_mm256_cmpgt_epi32(splat_word(0x7f800000), magnitude), magnitude);
}
/// x / divisor as an integer in -128 … 127, ties to even; NaN is 0.
inline Words round_to_int8(Floats x, Floats divisor) noexcept {
  const Floats y = _mm256_div_ps(x, divisor);
  const Floats limited = _mm256_min_ps(_mm256_max_ps(y, splat(-128.0f)), splat(127.0f));
  return _mm256_cvtps_epi32(_mm256_and_ps(limited, _mm256_cmp_ps(y, y, _CMP_ORD_Q)));
}
inline void store_bytes(std::int8_t* p, Words x, std::size_t count) noexcept {
  const __m128i half = _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  const __m128i bytes = _mm_packs_epi16(half, half);
  if (count == kLanes) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), bytes);
  } else {
    __builtin_memcpy(p, &bytes, count);
  }
}

// ---- weights as floats: see gemm.inl --------------------------------------------------------------------------------

/// Two permutations look up by the low three bits of each word, whatever lies above them; the fourth bit, moved to the
/// sign's place, chooses.
struct W4 {
  static constexpr std::size_t kInputs = 8, kColumns = 32;
  Floats low, high;
  explicit W4(const GemmArgs& g) noexcept
      : low(_mm256_loadu_ps(g.shape->levels)), high(_mm256_loadu_ps(g.shape->levels + 8)) {}
  Floats value(Words v, std::size_t i) const noexcept {
    const std::size_t place = 8 * (i % 4) + (i < 4 ? 0 : 4);
    const Words index = shift_right(v, place);
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, index), _mm256_permutevar8x32_ps(high, index),
                            from_bits(shift_left(v, 28 - place)));
  }
};
/// Fewer levels stand there again and again, so one permutation does.
template <std::size_t kBits>
struct Packed {
  static constexpr std::size_t kInputs = 32 / kBits, kColumns = 32;
  Floats levels;
  explicit Packed(const GemmArgs& g) noexcept : levels(_mm256_loadu_ps(g.shape->levels)) {}
  Floats value(Words v, std::size_t i) const noexcept {
    return _mm256_permutevar8x32_ps(levels, shift_right(v, 8 * (i % 4) + kBits * (i / 4)));
  }
};
using W2 = Packed<2>;
using W1 = Packed<1>;

// ---- int8 products -------------------------------------------------------------------------------------------------

inline Words four_activations(const std::int8_t* a) noexcept {
  std::int32_t four;
  __builtin_memcpy(&four, a, sizeof four);
  return splat_word(four);
}

/// A pair of products of codes up to 15 is at least -2 * 15 * 128 = -3840, so eight of them fit in 16 bits; of codes up
/// to 3, 42 do, and of codes up to 1, 128.
template <std::size_t kBits>
struct DotPacked {
  static constexpr std::size_t kInputs = 32 / kBits, kColumns = 32;
  static constexpr std::size_t kDepth = kBits == 4 ? 4 : kBits == 2 ? 10 : 16;
  static constexpr std::int32_t kOffset = 0;
  static constexpr bool kMayDouble = kBits < 4;
  using Sums = Words;  // 16 x 16 bits
  using Codes = Words;
  static Sums begin(Words) noexcept { return _mm256_setzero_si256(); }
  static Words end(Words total, Sums sum) noexcept {
    return _mm256_add_epi32(total, _mm256_madd_epi16(sum, _mm256_set1_epi16(1)));
  }
  static Codes codes(Words v, std::size_t quad) noexcept {
    return _mm256_and_si256(quad == 0 ? v : shift_right(v, kBits * quad), splat_word(0x01010101 * ((1 << kBits) - 1)));
  }
  static Words activations(const std::int8_t* a) noexcept { return four_activations(a); }
  static Sums add(Sums sum, Codes codes, Words a) noexcept {
    return _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, a));
  }
};
using DotW4 = DotPacked<4>;
using DotW2 = DotPacked<2>;
using DotW1 = DotPacked<1>;

/// Pairs of products of codes up to 255 would not fit in 16 bits, but those of codes less 128 do: at most
/// 2 * 128 * 127 = 32512. The instruction wants an unsigned factor, so the code's sign goes over to the activation; all
/// but that of an activation of -128, which has no opposite: -|w| * 128 is added for |w| * 128 where w < 0. That is
/// rare (a row has one where its largest magnitude is negative) and is put right by what is missing.
struct DotW8 {
  static constexpr std::size_t kInputs = 4, kColumns = 64;
  static constexpr std::size_t kDepth = 0;
  static constexpr std::int32_t kOffset = 128;
  static constexpr bool kMayDouble = false;
  static constexpr bool kMissesLowest = true;
  /// What is missing where the activation of input `place` of a step is -128.
  static Words missing(Words v, std::size_t place) noexcept {
    const Words w = _mm256_sub_epi32(_mm256_and_si256(shift_right(v, 8 * place), splat_word(0xff)), splat_word(128));
    return _mm256_slli_epi32(_mm256_sub_epi32(_mm256_setzero_si256(), _mm256_min_epi32(w, _mm256_setzero_si256())), 8);
  }
  struct SignedCodes {
    Words code, magnitude;
  };
  using Sums = Words;
  using Codes = SignedCodes;
  static Sums begin(Words total) noexcept { return total; }
  static Words end(Words, Sums sum) noexcept { return sum; }
  static Codes codes(Words v, std::size_t) noexcept {
    const Words code = _mm256_xor_si256(v, _mm256_set1_epi8(-128));
    return {code, _mm256_abs_epi8(code)};
  }
  static Words activations(const std::int8_t* a) noexcept { return four_activations(a); }
  static Sums add(Sums sum, const Codes& codes, Words a) noexcept {
    const Words pairs = _mm256_maddubs_epi16(codes.magnitude, _mm256_sign_epi8(a, codes.code));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
  }
};

// ---- encoding and fitting ------------------------------------------------------------------------------------------

inline Floats subtract(Floats a, Floats b) noexcept { return _mm256_sub_ps(a, b); }
inline Floats multiply(Floats a, Floats b) noexcept { return _mm256_mul_ps(a, b); }
inline Floats divide(Floats a, Floats b) noexcept { return _mm256_div_ps(a, b); }
inline Floats larger(Floats a, Floats b) noexcept { return _mm256_max_ps(a, b); }
inline Floats smaller(Floats a, Floats b) noexcept { return _mm256_min_ps(a, b); }
inline Floats round_even(Floats x) noexcept {
  return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline Words smaller(Words a, Words b) noexcept { return _mm256_min_epi32(a, b); }
inline Words to_words(Floats x) noexcept { return _mm256_cvtps_epi32(x); }
inline Words to_bits(Floats x) noexcept { return _mm256_castps_si256(x); }
inline Words and_words(Words a, Words b) noexcept { return _mm256_and_si256(a, b); }
inline Words or_words(Words a, Words b) noexcept { return _mm256_or_si256(a, b); }
inline Words xor_words(Words a, Words b) noexcept { return _mm256_xor_si256(a, b); }
inline Lanes greater(Words a, Words b) noexcept { return _mm256_cmpgt_epi32(a, b); }
inline Lanes ordered(Floats x) noexcept { return to_bits(_mm256_cmp_ps(x, x, _CMP_ORD_Q)); }
inline Lanes is_above(Floats a, Floats b) noexcept { return to_bits(_mm256_cmp_ps(a, b, _CMP_GT_OQ)); }
inline bool any(Lanes which) noexcept { return _mm256_movemask_ps(from_bits(which)) != 0; }
inline Lanes both(Lanes a, Lanes b) noexcept { return and_words(a, b); }
inline Words select(Lanes which, Words yes, Words no) noexcept { return _mm256_blendv_epi8(no, yes, which); }
inline Floats select(Lanes which, Floats yes, Floats no) noexcept {
  return _mm256_blendv_ps(no, yes, from_bits(which));
}
inline Words keep(Lanes which, Words x) noexcept { return and_words(which, x); }
inline Words and_not(Lanes which, Words x) noexcept { return _mm256_andnot_si256(which, x); }
inline Words count_up(Words count, Lanes which) noexcept { return subtract(count, which); }
/// Element `index` of a table, for indices below `count`.
inline Floats look_up(const float* values, std::uint32_t, Words index) noexcept {
  return _mm256_i32gather_ps(values, index, 4);
}
inline Words look_up(const std::int32_t* words, std::uint32_t, Words index) noexcept {
  return _mm256_i32gather_epi32(words, index, 4);
}
struct Table16 {
  Floats low, high;
  explicit Table16(const Floats (&v)[2]) noexcept : low(v[0]), high(v[1]) {}
  Floats operator[](Words index) const noexcept {
    return _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, index), _mm256_permutevar8x32_ps(high, index),
                            from_bits(shift_left(index, 28)));
  }
};
struct Table32 {
  std::int32_t words[32];
  explicit Table32(const Words (&v)[4]) noexcept { __builtin_memcpy(words, v, sizeof words); }
  Words operator[](Words index) const noexcept { return look_up(words, 32, index); }
};
inline Words load_bytes(const std::uint8_t* p) noexcept {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
inline Words load_bytes(const std::uint8_t* p, std::size_t count) noexcept {
  std::uint8_t bytes[8] = {};
  __builtin_memcpy(bytes, p, count);
  return load_bytes(bytes);
}
inline Words load_halfs(const std::uint16_t* p) noexcept {
  return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Words load_halfs(const std::uint16_t* p, std::size_t count) noexcept {
  std::uint16_t halfs[8] = {};
  __builtin_memcpy(halfs, p, 2 * count);
  return load_halfs(halfs);
}
/// The low half of each word, all of which are below 65536.
inline void store_halfs(std::uint16_t* p, Words x, std::size_t count) noexcept {
  const __m128i halfs = _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  if (count == kLanes) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), halfs);
  } else {
    __builtin_memcpy(p, &halfs, 2 * count);
  }
}
inline Words half_code(Floats x) noexcept {
  return _mm256_cvtepu16_epi32(_mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline Floats half_value(Words code) noexcept {
  return _mm256_cvtph_ps(_mm_packus_epi32(_mm256_castsi256_si128(code), _mm256_extracti128_si256(code, 1)));
}
/// The low byte of each word, all of which are below 256.
inline void store_codes(std::uint8_t* p, Words x, std::size_t count) noexcept {
  const __m128i half = _mm_packus_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  const __m128i bytes = _mm_packus_epi16(half, half);
  if (count == kLanes) {
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), bytes);
  } else {
    __builtin_memcpy(p, &bytes, count);
  }
}
/// Lanes added 4 apart, then 2, 1.
inline float sum_of_floats(Floats x) noexcept {
  const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
  const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}
/// Lane i: the lanes of v[i], folded 4 apart, then 2, 1.
template <class Fold>
inline Floats fold_each(const Floats (&v)[kLanes], Fold fold) noexcept {
  Floats by_four[4];  // 4 lanes each of v[2 * i], v[2 * i + 1]
  for (std::size_t i = 0; i < 4; ++i)
    by_four[i] = fold(_mm256_permute2f128_ps(v[2 * i], v[2 * i + 1], 0x20),
                      _mm256_permute2f128_ps(v[2 * i], v[2 * i + 1], 0x31));
  const auto by_two = [&](Floats a, Floats b) {
    const __m256d x = _mm256_castps_pd(a);
    const __m256d y = _mm256_castps_pd(b);
    return fold(_mm256_castpd_ps(_mm256_unpacklo_pd(x, y)), _mm256_castpd_ps(_mm256_unpackhi_pd(x, y)));
  };
  const Floats even = by_two(by_four[0], by_four[1]);
  const Floats odd = by_two(by_four[2], by_four[3]);
  const Floats all = fold(_mm256_shuffle_ps(even, odd, 0x88), _mm256_shuffle_ps(even, odd, 0xdd));
  return _mm256_permutevar8x32_ps(all, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
constexpr std::size_t kTrialsAtOnce = 2;

// ---- how large tiles are: blocks(rows) of vectors(rows); decoding needs registers of its own -----------------------

template <class W>
struct FloatTiles {
  static constexpr bool kDecodes = W::kInputs > 1;
  static constexpr std::size_t kMaxRows = kDecodes ? 4 : 3;
  static constexpr std::size_t kBlockRows = kMaxRows;
  static constexpr std::size_t vectors(std::size_t rows) noexcept { return rows > 2 && kDecodes ? 2 : 4; }
  static constexpr std::size_t blocks(std::size_t rows) noexcept { return rows == 1 && W::kInputs < 8 ? 2 : 1; }
};

template <class D>
struct Int8Tiles {
  static constexpr std::size_t kMaxRows = 4;
  static constexpr std::size_t kBlockRows = kMaxRows;
  static constexpr std::size_t vectors(std::size_t rows) noexcept { return rows < 3 ? 4 : 2; }
  static constexpr std::size_t blocks(std::size_t) noexcept { return 1; }
};

constexpr std::size_t kSyrkRows = 6, kSyrkVectors = 2;

#include "slots.inl"

}  // namespace

void use_avx2(Kernels& table) noexcept {
  fill(table);
  table.tier = "avx2";
}

}  // namespace kvant::kernels
