// SPDX-License-Identifier: Apache-2.0
// The NEON tier: vectors of 4 columns, and int8 products by the dot product instructions of ARMv8.2.
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>

#include "kvant/kernels/kernels.hpp"

namespace kvant::kernels {
namespace {

// ---- vectors -------------------------------------------------------------------------------------------------------

using Floats = float32x4_t;
using Words = int32x4_t;
using Lanes = uint32x4_t;  // all ones where a lane takes part
constexpr std::size_t kLanes = 4;

inline Words splat_word(std::int32_t x) noexcept { return vdupq_n_s32(x); }

/// Lanes begin, begin + 1, … up to but not including end.
inline Lanes lanes(std::size_t begin, std::size_t end) noexcept {
  const Lanes index = {0, 1, 2, 3};
  const Lanes from = vdupq_n_u32(static_cast<std::uint32_t>(begin < kLanes ? begin : kLanes));
  const Lanes to = vdupq_n_u32(static_cast<std::uint32_t>(end < kLanes ? end : kLanes));
  return vandq_u32(vcgeq_u32(index, from), vcltq_u32(index, to));
}

[[gnu::always_inline]] inline void prefetch(const unsigned char* p) noexcept { __builtin_prefetch(p); }

inline Words to_bits(Floats x) noexcept { return vreinterpretq_s32_f32(x); }
inline Floats from_bits(Words x) noexcept { return vreinterpretq_f32_s32(x); }
inline Words to_words(Lanes x) noexcept { return vreinterpretq_s32_u32(x); }

inline Floats zero() noexcept { return vdupq_n_f32(0.0f); }
inline Floats splat(float x) noexcept { return vdupq_n_f32(x); }
inline Floats load(const float* p) noexcept { return vld1q_f32(p); }
inline Floats load(const float* p, Lanes which) noexcept {
  float x[kLanes] = {};
  for (std::size_t i = 0; i < kLanes; ++i)
    if (which[i] != 0) x[i] = p[i];
  return vld1q_f32(x);
}
inline void store(float* p, Floats x) noexcept { vst1q_f32(p, x); }
inline void store(float* p, Floats x, Lanes which) noexcept {
  for (std::size_t i = 0; i < kLanes; ++i)
    if (which[i] != 0) p[i] = x[i];
}
inline Floats add(Floats a, Floats b) noexcept { return vaddq_f32(a, b); }
inline Floats fma(Floats a, Floats b, Floats c) noexcept { return vfmaq_f32(c, a, b); }
inline Floats minus_fma(Floats a, Floats b, Floats c) noexcept { return vfmsq_f32(c, a, b); }
inline Floats load_f32(const unsigned char* p) noexcept { return vreinterpretq_f32_u8(vld1q_u8(p)); }
inline Floats load_f16(const unsigned char* p) noexcept { return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(p))); }

inline Words load_words(const unsigned char* p) noexcept { return vreinterpretq_s32_u8(vld1q_u8(p)); }
inline Words load_u8(const unsigned char* p) noexcept {
  std::uint32_t four;
  __builtin_memcpy(&four, p, sizeof four);
  return to_words(vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four))))));
}
inline Words subtract(Words a, Words b) noexcept { return vsubq_s32(a, b); }
inline Words multiply_words(Words a, Words b) noexcept { return vmulq_s32(a, b); }
inline Floats to_floats(Words x) noexcept { return vcvtq_f32_s32(x); }
inline Words shift_right(Words x, std::size_t count) noexcept {
  return to_words(vshlq_u32(vreinterpretq_u32_s32(x), vdupq_n_s32(-static_cast<std::int32_t>(count))));
}
template <int kCount>
inline Words shift_right_signed(Words x) noexcept {
  return vshrq_n_s32(x, kCount);
}
inline Words shift_left(Words x, std::size_t count) noexcept {
  return vshlq_s32(x, vdupq_n_s32(static_cast<std::int32_t>(count)));
}

// ---- activations ---------------------------------------------------------------------------------------------------

inline Words add_words(Words a, Words b) noexcept { return vaddq_s32(a, b); }
inline Words larger(Words a, Words b) noexcept { return vmaxq_s32(a, b); }
inline std::int32_t sum_of_lanes(Words x) noexcept { return vaddvq_s32(x); }
inline float largest_lane(Words magnitudes) noexcept { return __builtin_bit_cast(float, vmaxvq_s32(magnitudes)); }
/// The bits of |x|, which as integers are ordered as the numbers are; 0 for NaN and Inf.
inline Words finite_magnitude(Floats x) noexcept {
  const Words magnitude = to_bits(vabsq_f32(x));
  return vandq_s32(to_words(vcgtq_s32(splat_word(0x7f800000), magnitude)), magnitude);
}
/// x / divisor as an integer in -128 … 127, ties to even; NaN is 0.
inline Words round_to_int8(Floats x, Floats divisor) noexcept {
  const Words code = vcvtnq_s32_f32(vdivq_f32(x, divisor));  // saturates
  return vminq_s32(vmaxq_s32(code, splat_word(-128)), splat_word(127));
}
inline void store_bytes(std::int8_t* p, Words x, std::size_t count) noexcept {
  const int16x4_t halfs = vmovn_s32(x);
  const int8x8_t bytes = vmovn_s16(vcombine_s16(halfs, halfs));
  __builtin_memcpy(p, &bytes, count < kLanes ? count : kLanes);
}

// ---- weights as floats: see gemm.inl --------------------------------------------------------------------------------

/// 16 numbers, looked up by the low four bits of each word.
struct Table16 {
  uint8x16x4_t bytes;
  explicit Table16(const float* p) noexcept : Table16({load(p), load(p + 4), load(p + 8), load(p + 12)}) {}
  explicit Table16(const Floats (&v)[4]) noexcept {
    for (std::size_t i = 0; i < 4; ++i) bytes.val[i] = vreinterpretq_u8_f32(v[i]);
  }
  Floats operator[](Words index) const noexcept {
    const uint32x4_t low = vandq_u32(vreinterpretq_u32_s32(index), vdupq_n_u32(15));
    const uint32x4_t places = vmlaq_n_u32(vdupq_n_u32(0x03020100), low, 0x04040404);
    return vreinterpretq_f32_u8(vqtbl4q_u8(bytes, vreinterpretq_u8_u32(places)));
  }
};

/// Where codes have fewer than four bits, the levels stand there again and again.
template <std::size_t kBits>
struct Packed {
  static constexpr std::size_t kInputs = 32 / kBits, kColumns = 32;
  Table16 levels;
  explicit Packed(const GemmArgs& g) noexcept : levels(g.shape->levels) {}
  Floats value(Words v, std::size_t i) const noexcept { return levels[shift_right(v, 8 * (i % 4) + kBits * (i / 4))]; }
};
using W4 = Packed<4>;
using W2 = Packed<2>;
using W1 = Packed<1>;

// ---- int8 products -------------------------------------------------------------------------------------------------

struct Dot {
  using Sums = Words;
  using Codes = int8x16_t;
  static constexpr std::size_t kDepth = 0;
  static Words begin(Words total) noexcept { return total; }
  static Words end(Words, Words sum) noexcept { return sum; }
  static int8x16_t activations(const std::int8_t* a) noexcept {
    std::int32_t four;
    __builtin_memcpy(&four, a, sizeof four);
    return vreinterpretq_s8_s32(splat_word(four));
  }
  static Words add(Words sum, Codes codes, int8x16_t a) noexcept { return vdotq_s32(sum, codes, a); }
};
/// Codes less 128 are signed bytes.
struct DotW8 : Dot {
  static constexpr std::size_t kInputs = 4, kColumns = 64;
  static constexpr std::int32_t kOffset = 128;
  static constexpr bool kMayDouble = false;
  static Codes codes(Words v, std::size_t) noexcept { return veorq_s8(vreinterpretq_s8_s32(v), vdupq_n_s8(-128)); }
};
template <std::size_t kBits>
struct DotPacked : Dot {
  static constexpr std::size_t kInputs = 32 / kBits, kColumns = 32;
  static constexpr std::int32_t kOffset = 0;
  static constexpr bool kMayDouble = kBits < 4;
  static Codes codes(Words v, std::size_t quad) noexcept {
    const Words shifted = quad == 0 ? v : shift_right(v, kBits * quad);
    return vandq_s8(vreinterpretq_s8_s32(shifted), vdupq_n_s8((1 << kBits) - 1));
  }
};
using DotW4 = DotPacked<4>;
using DotW2 = DotPacked<2>;
using DotW1 = DotPacked<1>;

// ---- encoding and fitting ------------------------------------------------------------------------------------------

inline Floats subtract(Floats a, Floats b) noexcept { return vsubq_f32(a, b); }
inline Floats multiply(Floats a, Floats b) noexcept { return vmulq_f32(a, b); }
inline Floats divide(Floats a, Floats b) noexcept { return vdivq_f32(a, b); }
/// b where one of them is NaN, as on the other processors.
inline Floats larger(Floats a, Floats b) noexcept { return vbslq_f32(vcgtq_f32(a, b), a, b); }
inline Floats smaller(Floats a, Floats b) noexcept { return vbslq_f32(vcltq_f32(a, b), a, b); }
inline Floats round_even(Floats x) noexcept { return vrndnq_f32(x); }
inline Words smaller(Words a, Words b) noexcept { return vminq_s32(a, b); }
inline Words to_words(Floats x) noexcept { return vcvtnq_s32_f32(x); }
inline Words and_words(Words a, Words b) noexcept { return vandq_s32(a, b); }
inline Words or_words(Words a, Words b) noexcept { return vorrq_s32(a, b); }
inline Words xor_words(Words a, Words b) noexcept { return veorq_s32(a, b); }
inline Lanes greater(Words a, Words b) noexcept { return vcgtq_s32(a, b); }
inline Lanes ordered(Floats x) noexcept { return vceqq_f32(x, x); }
inline Lanes is_above(Floats a, Floats b) noexcept { return vcgtq_f32(a, b); }
inline bool any(Lanes which) noexcept { return vmaxvq_u32(which) != 0; }
inline Lanes both(Lanes a, Lanes b) noexcept { return vandq_u32(a, b); }
inline Words select(Lanes which, Words yes, Words no) noexcept { return vbslq_s32(which, yes, no); }
inline Floats select(Lanes which, Floats yes, Floats no) noexcept { return vbslq_f32(which, yes, no); }
inline Words keep(Lanes which, Words x) noexcept { return vandq_s32(to_words(which), x); }
inline Words and_not(Lanes which, Words x) noexcept { return vbicq_s32(x, to_words(which)); }
inline Words count_up(Words count, Lanes which) noexcept { return vsubq_s32(count, to_words(which)); }
/// Element `index` of a table, for indices below `count`.
inline Words look_up(const std::int32_t* words, std::uint32_t, Words index) noexcept {
  const std::int32_t found[kLanes] = {words[index[0]], words[index[1]], words[index[2]], words[index[3]]};
  return vld1q_s32(found);
}
inline Floats look_up(const float* values, std::uint32_t, Words index) noexcept {
  const float found[kLanes] = {values[index[0]], values[index[1]], values[index[2]], values[index[3]]};
  return vld1q_f32(found);
}
struct Table32 {
  std::int32_t words[32];
  explicit Table32(const Words (&v)[8]) noexcept { __builtin_memcpy(words, v, sizeof words); }
  Words operator[](Words index) const noexcept { return look_up(words, 32, index); }
};
inline Words load_bytes(const std::uint8_t* p) noexcept { return load_u8(p); }
inline Words load_bytes(const std::uint8_t* p, std::size_t count) noexcept {
  std::uint8_t bytes[kLanes] = {};
  __builtin_memcpy(bytes, p, count);
  return load_u8(bytes);
}
inline Words load_halfs(const std::uint16_t* p) noexcept { return to_words(vmovl_u16(vld1_u16(p))); }
inline Words load_halfs(const std::uint16_t* p, std::size_t count) noexcept {
  std::uint16_t halfs[kLanes] = {};
  __builtin_memcpy(halfs, p, 2 * count);
  return load_halfs(halfs);
}
/// The low half of each word.
inline void store_halfs(std::uint16_t* p, Words x, std::size_t count) noexcept {
  const uint16x4_t halfs = vmovn_u32(vreinterpretq_u32_s32(x));
  __builtin_memcpy(p, &halfs, 2 * (count < kLanes ? count : kLanes));
}
inline Words half_code(Floats x) noexcept { return to_words(vmovl_u16(vreinterpret_u16_f16(vcvt_f16_f32(x)))); }
inline Floats half_value(Words code) noexcept {
  return vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(vreinterpretq_u32_s32(code))));
}
/// The low byte of each word.
inline void store_codes(std::uint8_t* p, Words x, std::size_t count) noexcept {
  store_bytes(reinterpret_cast<std::int8_t*>(p), x, count);
}
/// Lanes added 2 apart, then 1.
inline float sum_of_floats(Floats x) noexcept { return (x[0] + x[2]) + (x[1] + x[3]); }
/// Lane i: the lanes of v[i], folded 2 apart, then 1.
template <class Fold>
inline Floats fold_each(const Floats (&v)[kLanes], Fold fold) noexcept {
  const auto by_two = [&](Floats a, Floats b) {
    const float64x2_t x = vreinterpretq_f64_f32(a);
    const float64x2_t y = vreinterpretq_f64_f32(b);
    return fold(vreinterpretq_f32_f64(vtrn1q_f64(x, y)), vreinterpretq_f32_f64(vtrn2q_f64(x, y)));
  };
  const Floats ab = by_two(v[0], v[1]);
  const Floats cd = by_two(v[2], v[3]);
  return fold(vuzp1q_f32(ab, cd), vuzp2q_f32(ab, cd));
}
constexpr std::size_t kTrialsAtOnce = 2;

// ---- how large tiles are -------------------------------------------------------------------------------------------

struct Tiles {
  static constexpr std::size_t kMaxRows = 4;
  static constexpr std::size_t kBlockRows = kMaxRows;
  static constexpr std::size_t vectors(std::size_t rows) noexcept { return rows < 3 ? 8 : 4; }
  static constexpr std::size_t blocks(std::size_t) noexcept { return 1; }
};

template <class W>
using FloatTiles = Tiles;
template <class D>
using Int8Tiles = Tiles;

constexpr std::size_t kSyrkRows = 6, kSyrkVectors = 2;

#include "slots.inl"

}  // namespace

void use_neon(Kernels& table) noexcept {
  fill(table);
  table.tier = "neon";
}

}  // namespace kvant::kernels
