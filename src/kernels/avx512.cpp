// SPDX-License-Identifier: Apache-2.0
// The AVX-512 tier: vectors of 16 columns, and int8 products by VNNI.
#pragma GCC diagnostic push
// GCC 12 warns about its own undefined vectors (bug 105593).
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <cstddef>
#include <cstdint>

#include "kvant/kernels/kernels.hpp"

namespace kvant::kernels {
namespace {

// ---- vectors -------------------------------------------------------------------------------------------------------

using Floats = __m512;
using Words = __m512i;  // 16 x 32 bits
using Lanes = __mmask16;
using Shiftable [[gnu::vector_size(64)]] = std::uint32_t;
constexpr std::size_t kLanes = 16;

/// Lanes begin, begin + 1, … up to but not including end.
inline Lanes lanes(std::size_t begin, std::size_t end) noexcept {
  const std::uint32_t from = begin < kLanes ? 0xffffu << begin : 0;
  const std::uint32_t to = end < kLanes ? (1u << end) - 1 : 0xffffu;
  return static_cast<Lanes>(from & to);
}

[[gnu::always_inline]] inline void prefetch(const unsigned char* p) noexcept {
  _mm_prefetch(reinterpret_cast<const char*>(p), _MM_HINT_T0);
}

inline Floats zero() noexcept { return _mm512_setzero_ps(); }
inline Floats splat(float x) noexcept { return _mm512_set1_ps(x); }
inline Floats load(const float* p) noexcept { return _mm512_loadu_ps(p); }
inline Floats load(const float* p, Lanes which) noexcept { return _mm512_maskz_loadu_ps(which, p); }
inline void store(float* p, Floats x) noexcept { _mm512_storeu_ps(p, x); }
inline void store(float* p, Floats x, Lanes which) noexcept { _mm512_mask_storeu_ps(p, which, x); }
inline Floats add(Floats a, Floats b) noexcept { return _mm512_add_ps(a, b); }
inline Floats fma(Floats a, Floats b, Floats c) noexcept { return _mm512_fmadd_ps(a, b, c); }
inline Floats load_f32(const unsigned char* p) noexcept { return _mm512_loadu_ps(p); }
inline Floats load_f16(const unsigned char* p) noexcept {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}

inline Words splat_word(std::int32_t x) noexcept { return _mm512_set1_epi32(x); }
inline Words load_words(const unsigned char* p) noexcept { return _mm512_loadu_si512(p); }
inline Words load_u8(const unsigned char* p) noexcept {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Floats minus_fma(Floats a, Floats b, Floats c) noexcept { return _mm512_fnmadd_ps(a, b, c); }
inline Words subtract(Words a, Words b) noexcept { return _mm512_sub_epi32(a, b); }
inline Words multiply_words(Words a, Words b) noexcept { return _mm512_mullo_epi32(a, b); }
inline Floats to_floats(Words x) noexcept { return _mm512_cvtepi32_ps(x); }
inline Floats from_bits(Words x) noexcept { return _mm512_castsi512_ps(x); }
inline Words shift_left(Words x, std::size_t count) noexcept {
  return reinterpret_cast<Words>(reinterpret_cast<Shiftable>(x) << static_cast<std::uint32_t>(count));
}
template <unsigned kCount>
inline Words shift_right_signed(Words x) noexcept {
  return _mm512_srai_epi32(x, kCount);
}
inline Words shift_right(Words x, std::size_t count) noexcept {
  return reinterpret_cast<Words>(reinterpret_cast<Shiftable>(x) >> static_cast<std::uint32_t>(count));
}

// ---- activations ---------------------------------------------------------------------------------------------------

inline Words add_words(Words a, Words b) noexcept { return _mm512_add_epi32(a, b); }
inline Words larger(Words a, Words b) noexcept { return _mm512_max_epi32(a, b); }
inline std::int32_t sum_of_lanes(Words x) noexcept { return _mm512_reduce_add_epi32(x); }
inline float largest_lane(Words magnitudes) noexcept {
  return __builtin_bit_cast(float, _mm512_reduce_max_epi32(magnitudes));
}
/// The bits of |x|, which as integers are ordered as the numbers are; 0 for NaN and Inf.
inline Words finite_magnitude(Floats x) noexcept {
  const Words magnitude = _mm512_and_si512(_mm512_castps_si512(x), splat_word(0x7fffffff));
  return _mm512_maskz_mov_epi32(_mm512_cmplt_epi32_mask(magnitude, splat_word(0x7f800000)), magnitude);
}
/// x / divisor as an integer in -128 … 127, ties to even; NaN is 0.
inline Words round_to_int8(Floats x, Floats divisor) noexcept {
  const Floats y = _mm512_div_ps(x, divisor);
  const Floats limited = _mm512_min_ps(_mm512_max_ps(y, splat(-128.0f)), splat(127.0f));
  return _mm512_maskz_cvtps_epi32(_mm512_cmp_ps_mask(y, y, _CMP_ORD_Q), limited);
}
inline void store_bytes(std::int8_t* p, Words x, std::size_t count) noexcept {
  // With a mask this instruction is slow on Zen, and into memory too.
  if (count == kLanes) return _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x));
  _mm512_mask_cvtepi32_storeu_epi8(p, lanes(0, count), x);
}

// ---- weights as floats: see gemm.inl --------------------------------------------------------------------------------

/// A permutation looks up 16 levels by the low four bits of each word, whatever lies above them: where codes have fewer
/// bits, the levels stand there again and again.
template <std::size_t kBits>
struct Packed {
  static constexpr std::size_t kInputs = 32 / kBits, kColumns = 32;
  Floats levels;
  explicit Packed(const GemmArgs& g) noexcept : levels(_mm512_loadu_ps(g.shape->levels)) {}
  Floats value(Words v, std::size_t i) const noexcept {
    return _mm512_permutexvar_ps(shift_right(v, 8 * (i % 4) + kBits * (i / 4)), levels);
  }
};
using W4 = Packed<4>;
using W2 = Packed<2>;
using W1 = Packed<1>;

// ---- int8 products -------------------------------------------------------------------------------------------------

struct Vnni {
  using Sums = Words;
  using Codes = Words;
  static constexpr std::size_t kDepth = 0;
  static constexpr std::int32_t kOffset = 0;
  static Words begin(Words total) noexcept { return total; }
  static Words end(Words, Words sum) noexcept { return sum; }
  static Words activations(const std::int8_t* a) noexcept {
    std::int32_t four;
    __builtin_memcpy(&four, a, sizeof four);
    return splat_word(four);
  }
  static Words add(Words sum, Words codes, Words a) noexcept {
    // As an intrinsic, GCC 12 keeps every accumulator twice and spills a 24-accumulator tile.
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(a));
    return sum;
  }
};
struct DotW8 : Vnni {
  static constexpr std::size_t kInputs = 4, kColumns = 64;
  static constexpr bool kMayDouble = false;
  static Words codes(Words v, std::size_t) noexcept { return v; }
};
template <std::size_t kBits>
struct DotPacked : Vnni {
  static constexpr std::size_t kInputs = 32 / kBits, kColumns = 32;
  static constexpr bool kMayDouble = kBits < 4;
  static Words codes(Words v, std::size_t quad) noexcept {
    return _mm512_and_si512(quad == 0 ? v : shift_right(v, kBits * quad), splat_word(0x01010101 * ((1 << kBits) - 1)));
  }
};
using DotW4 = DotPacked<4>;
using DotW2 = DotPacked<2>;
using DotW1 = DotPacked<1>;

// ---- encoding and fitting ------------------------------------------------------------------------------------------

inline Floats subtract(Floats a, Floats b) noexcept { return _mm512_sub_ps(a, b); }
inline Floats multiply(Floats a, Floats b) noexcept { return _mm512_mul_ps(a, b); }
inline Floats divide(Floats a, Floats b) noexcept { return _mm512_div_ps(a, b); }
inline Floats larger(Floats a, Floats b) noexcept { return _mm512_max_ps(a, b); }
inline Floats smaller(Floats a, Floats b) noexcept { return _mm512_min_ps(a, b); }
inline Floats round_even(Floats x) noexcept {
  return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline Words smaller(Words a, Words b) noexcept { return _mm512_min_epi32(a, b); }
inline Words to_words(Floats x) noexcept { return _mm512_cvtps_epi32(x); }
inline Words to_bits(Floats x) noexcept { return _mm512_castps_si512(x); }
inline Words and_words(Words a, Words b) noexcept { return _mm512_and_si512(a, b); }
inline Words or_words(Words a, Words b) noexcept { return _mm512_or_si512(a, b); }
inline Words xor_words(Words a, Words b) noexcept { return _mm512_xor_si512(a, b); }
inline Lanes greater(Words a, Words b) noexcept { return _mm512_cmpgt_epi32_mask(a, b); }
inline Lanes ordered(Floats x) noexcept { return _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q); }
inline Lanes is_above(Floats a, Floats b) noexcept { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
inline bool any(Lanes which) noexcept { return which != 0; }
inline Lanes both(Lanes a, Lanes b) noexcept { return static_cast<Lanes>(a & b); }
inline Words select(Lanes which, Words yes, Words no) noexcept { return _mm512_mask_mov_epi32(no, which, yes); }
inline Floats select(Lanes which, Floats yes, Floats no) noexcept { return _mm512_mask_mov_ps(no, which, yes); }
inline Words keep(Lanes which, Words x) noexcept { return _mm512_maskz_mov_epi32(which, x); }
inline Words and_not(Lanes which, Words x) noexcept { return _mm512_maskz_mov_epi32(static_cast<Lanes>(~which), x); }
inline Words count_up(Words count, Lanes which) noexcept {
  return _mm512_mask_add_epi32(count, which, count, splat_word(1));
}
/// Element `index` of a table, for indices below `count`.
inline Words look_up(const std::int32_t* words, std::uint32_t count, Words index) noexcept {
  if (count <= kLanes) return _mm512_permutexvar_epi32(index, _mm512_maskz_loadu_epi32(lanes(0, count), words));
  if (count == 2 * kLanes)
    return _mm512_permutex2var_epi32(_mm512_loadu_si512(words), index, _mm512_loadu_si512(words + kLanes));
  return _mm512_i32gather_epi32(index, words, 4);
}
inline Floats look_up(const float* values, std::uint32_t count, Words index) noexcept {
  if (count <= kLanes) return _mm512_permutexvar_ps(index, load(values, lanes(0, count)));
  if (count == 2 * kLanes) return _mm512_permutex2var_ps(load(values), index, load(values + kLanes));
  return _mm512_i32gather_ps(index, values, 4);
}
struct Table16 {
  Floats values;
  explicit Table16(const Floats (&v)[1]) noexcept : values(v[0]) {}
  Floats operator[](Words index) const noexcept { return _mm512_permutexvar_ps(index, values); }
};
struct Table32 {
  Words low, high;
  explicit Table32(const Words (&v)[2]) noexcept : low(v[0]), high(v[1]) {}
  Words operator[](Words index) const noexcept { return _mm512_permutex2var_epi32(low, index, high); }
};
inline Words load_bytes(const std::uint8_t* p) noexcept {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Words load_bytes(const std::uint8_t* p, std::size_t count) noexcept {
  return _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes(0, count), p));
}
inline Words load_halfs(const std::uint16_t* p) noexcept {
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Words load_halfs(const std::uint16_t* p, std::size_t count) noexcept {
  return _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes(0, count), p));
}
/// The low half of each word.
inline void store_halfs(std::uint16_t* p, Words x, std::size_t count) noexcept {
  if (count == kLanes) return _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(x));
  _mm512_mask_cvtepi32_storeu_epi16(p, lanes(0, count), x);
}
inline Words half_code(Floats x) noexcept {
  return _mm512_cvtepu16_epi32(_mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
inline Floats half_value(Words code) noexcept { return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(code)); }
/// The low byte of each word.
inline void store_codes(std::uint8_t* p, Words x, std::size_t count) noexcept {
  if (count == kLanes) return _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x));
  _mm512_mask_cvtepi32_storeu_epi8(p, lanes(0, count), x);
}
/// Lanes added 8 apart, then 4, 2, 1.
inline float sum_of_floats(Floats x) noexcept {
  const __m256 s8 = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  const __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
  const __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
  return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}
/// Lane i: the lanes of v[i], folded 8 apart, then 4, 2, 1.
template <class Fold>
inline Floats fold_each(const Floats (&v)[kLanes], Fold fold) noexcept {
  Floats by_four[4];  // 4 lanes each of v[4 * i] … v[4 * i + 3]
  for (std::size_t i = 0; i < 4; ++i) {
    const Floats* w = v + 4 * i;
    const Floats ab = fold(_mm512_shuffle_f32x4(w[0], w[1], 0x44), _mm512_shuffle_f32x4(w[0], w[1], 0xee));
    const Floats cd = fold(_mm512_shuffle_f32x4(w[2], w[3], 0x44), _mm512_shuffle_f32x4(w[2], w[3], 0xee));
    by_four[i] = fold(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
  }
  const auto by_two = [&](Floats a, Floats b) {
    const __m512d x = _mm512_castps_pd(a);
    const __m512d y = _mm512_castps_pd(b);
    return fold(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)), _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
  };
  const Floats even = by_two(by_four[0], by_four[1]);
  const Floats odd = by_two(by_four[2], by_four[3]);
  const Floats all = fold(_mm512_shuffle_ps(even, odd, 0x88), _mm512_shuffle_ps(even, odd, 0xdd));
  const Words transposed = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  return _mm512_permutexvar_ps(transposed, all);
}
constexpr std::size_t kTrialsAtOnce = 4;

// ---- how large tiles are: blocks(rows) of vectors(rows), so that there are at least 8 accumulators ------------------

template <class W>
struct FloatTiles {
  static constexpr std::size_t kMaxRows = W::kColumns == 64 ? 6 : 8;
  static constexpr std::size_t kBlockRows = kMaxRows;
  static constexpr std::size_t vectors(std::size_t) noexcept { return 2; }
  static constexpr std::size_t blocks(std::size_t rows) noexcept {
    return rows == 1 ? 4 : rows < 5 || W::kColumns == 64 ? 2 : 1;
  }
};

template <class D>
struct Int8Tiles {
  static constexpr std::size_t kMaxRows = D::kColumns == 64 ? 6 : 8;
  static constexpr std::size_t kBlockRows = 6;
  static constexpr std::size_t vectors(std::size_t) noexcept { return 2; }
  static constexpr std::size_t blocks(std::size_t rows) noexcept { return rows < 4 || D::kColumns == 64 ? 2 : 1; }
};

constexpr std::size_t kSyrkRows = 12, kSyrkVectors = 2;

#include "slots.inl"

}  // namespace

void use_avx512(Kernels& table) noexcept {
  fill(table);
  table.tier = "avx512";
}

}  // namespace kvant::kernels
