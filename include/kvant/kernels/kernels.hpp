// SPDX-License-Identifier: Apache-2.0
// The kernel seam: a struct of function pointers over plain arguments. No scheme, no shape policy, no allocation.
//
// A slot's name is operation_weights_activations. `generic` (generic.hpp) defines what each computes; every better
// tier gives the same bits, because integer sums are exact and every float output is one chain of fused multiply-adds
// in the order given there.
//
// Weight layouts (all streams 64-byte aligned, columns = output features, missing columns zero-filled):
//   f32.p32   panel of 32 columns: [K][32] float
//   bf16.p32  panel of 32 columns: [K/2][32][2] bfloat16, K padded to 2 with zeros
//   wB.p32    B = 4, 2, 1 bits; panel of 32 columns; per group, per step of 32 / B inputs, 2 x 64 bytes:
//             [column half][16 columns][4 bytes], byte i = codes of the inputs i, 4 + i, 8 + i, … in B bits each, the
//             first one lowest; after the steps of a group one record: 32 scales (float16 = 64 bytes, or float32 =
//             128), then if `has_zeros` 32 zero points (uint8) + 32 bytes, or if `has_offsets` 32 offsets as the scales
//   w8.p64    5 to 8 bits; panel of 64 columns; per group, per step of 4 inputs, 256 bytes: [64 columns][4 bytes];
//             then one record: 64 scales (128 or 256 bytes), then if `has_zeros` 64 zero points (uint8), or if
//             `has_offsets` 64 offsets as the scales
// Codes of integers are unsigned (offset binary where the format is signed), so u8 x s8 dot instructions need no sign
// work; those of floats and codebooks have levels. A group is a multiple of a step's inputs, or all of them; the last
// one may be short and is padded to its step.
#pragma once

#include <cstddef>
#include <cstdint>

namespace kvant::kernels {

/// Inputs that a step may have at most: rows of activations are padded with zeros to a multiple of it.
inline constexpr std::size_t kActivationPadding = 32;

/// What the numbers of a result are stored as. A sum is rounded to nearest even, once; beyond 16 bits' range to Inf.
enum class OutputType : std::uint8_t { f32, bf16, fp16 };

/// How weights lie in memory: a row of kLayouts (layout.hpp). The id of a layout never changes its meaning; a change is
/// a new id.
enum class Layout : std::uint8_t { f32_p32, bf16_p32, w8_p64, w4_p32, w2_p32, w1_p32 };

/// What a kernel has to know about a packed matrix [n, k]: plain data, without pointers.
struct PackedShape {
  Layout layout = Layout::f32_p32;
  bool scales_f32 = false;         ///< scales and offsets in the records are float32, not float16
  bool has_zeros = false;          ///< the records hold zero points; otherwise every one is `zero`
  bool has_offsets = false;        ///< the records hold offsets, and no zero points; otherwise every one is 0
  std::uint64_t n = 0;             ///< output features; columns of panels beyond it are padding and not written
  std::uint64_t k = 0;             ///< stored inputs
  std::uint64_t inputs = 0;        ///< input features; fewer than are stored where groups are filled up to whole steps
  std::uint64_t group = 0;         ///< inputs per record (wB); 0: there are none
  std::uint64_t panel_stride = 0;  ///< bytes from one panel to the next
  /// A weight is scale * (code_step * stored code - zero) - offset; where code_step is 0, scale * (its level - zero) -
  /// offset.
  std::int32_t zero = 0;
  std::int32_t code_step = 1;
  /// w8_f32 with levels: where it is not 0, codes are a sign and the fields of a minifloat of so many mantissa bits,
  /// and a level is the float32 with that sign and those fields in the places of its own, times `level_unit`.
  std::uint32_t mantissa_bits = 0;
  float level_unit = 1.0f;
  /// f32 slots, where codes have 4 bits at most or a code_step of 0: the value of each stored code, again and again
  /// until all places are filled.
  float levels[256] = {};
};

/// y[m, n] = scale * (a[m, k] * W[n, k]^T + bias), for the panels [panel_begin, panel_end); where `accumulate` is set,
/// that plus what y holds. Each operation is rounded to float32 once.
/// Contract: rows of `a` are readable and zero from k up to the next multiple of kActivationPadding (of 8, where no
/// layout of fewer than 4 bits is used).
struct GemmArgs {
  const unsigned char* weights;  ///< panel 0
  const PackedShape* shape;
  std::size_t panel_begin;
  std::size_t panel_end;

  std::size_t m;
  const float* a_f32;       ///< [m, k], row stride `lda` elements
  const std::int8_t* a_s8;  ///< likewise, for s8 slots
  std::size_t lda;
  const float* a_scales;    ///< s8 slots: one per row
  const float* a_sums_f32;  ///< f32 slots with zero points or offsets: sum of each group's activations, [m, groups]
  const std::int32_t* a_sums_s32;  ///< s8 slots: likewise, exact

  float* y;            ///< [m, n], row stride `ldy`; null where y_type is not f32
  std::uint16_t* y16;  ///< likewise, of bf16 or fp16
  OutputType y_type;
  std::size_t ldy;
  const float* bias;  ///< [n], or null
  float scale = 1.0f;
  bool accumulate;
};

/// sums[row, g] = the sum of a group's floats: element i of the group is added to lane i % 16, then lanes are added 8
/// apart, then 4, 2, 1.
struct SumGroupsArgs {
  const float* x;
  std::size_t rows, k, ldx;
  std::size_t group;
  float* sums;  ///< [rows, groups]
};

/// c[i, j] += sum over rows r of x[r, i] * x[r, j], for j >= i: X^T X of a `rows` x `n` matrix, upper triangle.
struct SyrkArgs {
  const float* x;
  std::size_t rows, n, ldx;
  float* c;
  std::size_t ldc;
  std::size_t row_begin, row_end;  ///< rows i of c to compute
};

/// Dynamic activation quantization, one scale a row, as compressed-tensors' symmetric rule has it: scale = amax /
/// 127.5, q = round(x / scale) in -128 … 127.
struct QuantizeRowsArgs {
  const float* x;
  std::size_t rows, k, ldx;
  std::size_t group;  ///< inputs per sum
  std::int8_t* q;     ///< [rows, k], zero-padded to ldq
  std::size_t ldq;
  float* scales;       ///< [rows]
  std::int32_t* sums;  ///< [rows, groups]
};

/// out[i, :] = row ids[i] of W in its packed layout, as floats.
struct GatherArgs {
  const unsigned char* weights;
  const PackedShape* shape;
  const std::int32_t* ids;  ///< each in [0, n)
  std::size_t count;
  float* out;  ///< [count, k], row stride `ldo`
  std::size_t ldo;
};

/// How a format's codes are read and found. `other`: by the values alone.
enum class CodeKind : std::uint8_t { integer, minifloat, codebook, other };

/// A number format as kernels see it: at most 8 bits.
struct FormatArgs {
  CodeKind kind;
  std::uint32_t bits;
  std::int32_t low, high;          ///< integers: least and largest one,
  std::int32_t fraction_bits;      ///< in units of 2^-fraction_bits
  std::int32_t mantissa_bits;      ///< minifloats: stored mantissa bits,
  std::int32_t min_exponent;       ///< least exponent of normal numbers,
  float max;                       ///< largest value
  const std::int32_t* thresholds;  ///< codebooks: index = number of thresholds below the value's order key,
  std::uint32_t threshold_count;
  const std::uint8_t* codes;      ///< code of each index; null where that is the index
  const float* values;            ///< value of every code, [2^bits]
  std::uint8_t (*encode)(float);  ///< minifloats: the format's definition
};

/// How a group's number follows from the one that is stored for it, rounded once per operation.
enum class ScaleOp : std::uint8_t {
  product,   ///< stored * factor
  quotient,  ///< stored / factor
  affine,    ///< fma(stored, factor, addend)
};

/// One number for each of some groups that lie one after the other.
struct GroupNumbers {
  const float* stored = nullptr;
  ScaleOp op = ScaleOp::product;
  float factor = 1.0f, addend = 0.0f;
};

/// What stands between codes and values of such groups: value = scale * (level - zero) - offset.
struct GroupScales {
  GroupNumbers scales;
  const std::int16_t* zeros;  ///< or null: all zero
  std::size_t group;          ///< elements of a group; the last one may be short; 1: one for each, as of a column
  GroupNumbers offsets{};     ///< `stored` may be null: all zero
};

/// codes[i] = code of x[i] / scale, where offsets have been added to x and are not looked at; the quotient rounded to
/// float32 first. Integers: round to nearest even, then add the zero point, then saturate. Codebooks: the level nearest
/// to the quotient plus the zero point. A scale of 0 encodes quotients of 0; none is Inf or NaN. NaN is what the format
/// makes of it (integers: 0, codebooks: the zero point).
struct EncodeArgs {
  const FormatArgs* format;
  const float* x;
  std::size_t n;
  GroupScales scales;
  std::uint8_t* codes;
};

/// out[i] = scale * (value of codes[i] - zero point), rounded once per operation; where there are offsets, the product
/// less the offset, as one fused operation.
struct DecodeArgs {
  const FormatArgs* format;
  const std::uint8_t* codes;
  std::size_t n;
  GroupScales scales;
  float* out;
};

/// The least and the largest finite number among x and 0.
struct RangeArgs {
  const float* x;
  std::size_t n;
  float low, high;  ///< results
};

/// How scales that are powers of two follow from the largest magnitude of a block, where none is searched. With
/// e = floor(log2 amax) and E = floor(log2 of the format's largest value):
enum class PowerRule : std::uint8_t {
  floor,    ///< 2^(e - E), as the OCP MX specification: up to half of the block's range saturates
  up,       ///< the least power of two that saturates nothing
  nearest,  ///< the power of two nearest to amax / largest value, the upper one of two
  ct,       ///< 2^(e - E), and twice that where amax >= 1.75 * 2^e, as compressed-tensors and vLLM
};

/// The plain symmetric scale of each group, as choose_plain() chooses it (quant/choose.hpp): its largest magnitude over
/// `unit`, rounded to the type that scales are stored in. A kernel may decline any part of the work, and the generic
/// one declines all of it: false means that groups are to be looked at one by one, and that nothing in `stored` counts.
struct PlainScalesArgs {
  const float* x;
  std::size_t n, group;
  float unit;                  ///< what the largest magnitude becomes
  std::int32_t unit_exponent;  ///< floor(log2(unit)), for powers of two
  std::int32_t mantissa_bits;  ///< of the storage type, a minifloat; 23: float32
  std::int32_t min_exponent;   ///< of its normal numbers
  float max;                   ///< its largest number
  float super;                 ///< stored = scale * super where `reciprocal`, else scale / super
  bool reciprocal;
  bool powers_of_two;  ///< by `power_rule`
  PowerRule power_rule;
  float* stored;
};

/// Between float32 and 16-bit floats: rounds to nearest even, overflows to Inf; a NaN becomes the quiet one of its sign
/// on the way down, and is made quiet on the way up.
struct NarrowArgs {
  const float* x;
  std::size_t n;
  std::uint16_t* codes;
};
struct WidenArgs {
  const std::uint16_t* codes;
  std::size_t n;
  float* out;
};

/// Sums over a group for each trial t, where v(i) is the format's value nearest to x[i] * inverse[t] + zero, less the
/// zero (integers: rounded first, as they are encoded): xv = sum w*x*v, vv = sum w*v*v, and where `scales` are given
/// ee = sum w*(x - scale*v)^2, with w = 1 where there are no `weights`. Element i goes to lane i % 16 by fused
/// multiply-add of (x or v or the error) and (v or the error, times w); lanes are added 8 apart, then 4, 2, 1.
/// Contract: x, inverse and weights are finite.
struct FitArgs {
  const FormatArgs* format;
  const float* x;
  std::size_t n;
  std::size_t trials;
  const float* inverse;
  const float* zero;     ///< the zero point of each trial, an integer
  const float* scales;   ///< or null
  const float* weights;  ///< of each element, or null
  float* xv;
  float* vv;
  float* ee;
};

using Gemm = void (*)(const GemmArgs&) noexcept;
using Gather = void (*)(const GatherArgs&) noexcept;

/// One tier's table. A better tier copies the table below it and overwrites what it does better.
struct Kernels {
  const char* tier;
  /// Whether matrices of codes of so many bits under groups of so many inputs (0: of whole rows) are packed in a
  /// layout; of several the first in kLayouts is taken.
  bool (*prefers)(Layout layout, unsigned bits, std::size_t group) noexcept;
  Gemm gemm_f32_f32;
  Gemm gemm_bf16_f32;
  Gemm gemm_w8_f32;
  Gemm gemm_w4_f32;
  Gemm gemm_w2_f32;
  Gemm gemm_w1_f32;
  Gemm gemm_w8_s8;
  Gemm gemm_w4_s8;
  Gemm gemm_w2_s8;
  Gemm gemm_w1_s8;
  Gather gather_f32;
  Gather gather_bf16;
  Gather gather_w8;
  Gather gather_w4;
  Gather gather_w2;
  Gather gather_w1;
  void (*quantize_rows_s8)(const QuantizeRowsArgs&) noexcept;
  void (*sum_groups_f32)(const SumGroupsArgs&) noexcept;
  void (*syrk_f32)(const SyrkArgs&) noexcept;
  void (*encode_integer)(const EncodeArgs&) noexcept;
  void (*encode_minifloat)(const EncodeArgs&) noexcept;
  void (*encode_codebook)(const EncodeArgs&) noexcept;
  void (*decode)(const DecodeArgs&) noexcept;
  void (*range_f32)(RangeArgs&) noexcept;
  bool (*plain_scales)(const PlainScalesArgs&) noexcept;
  void (*narrow_fp16)(const NarrowArgs&) noexcept;
  void (*narrow_bf16)(const NarrowArgs&) noexcept;
  void (*widen_fp16)(const WidenArgs&) noexcept;
  void (*widen_bf16)(const WidenArgs&) noexcept;
  void (*fit_integer)(const FitArgs&) noexcept;
  void (*fit_minifloat)(const FitArgs&) noexcept;
  void (*fit_codebook)(const FitArgs&) noexcept;
};

}  // namespace kvant::kernels
