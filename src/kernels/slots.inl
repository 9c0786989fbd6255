// SPDX-License-Identifier: Apache-2.0
// What tiers with vectors share: the loops over their vectors, and the slots that these fill. Included as gemm.inl is.

#include "formats.inl"

#include "gemm.inl"

#include "encode.inl"

#include "decode.inl"
#include "quantize_rows.inl"
#include "search.inl"
#include "syrk.inl"

inline void fill(Kernels& table) noexcept {
  table.gemm_f32_f32 = &gemm_f32<F32>;
  table.gemm_bf16_f32 = &gemm_f32<Bf16>;
  table.gemm_w8_f32 = &gemm_w8_f32;
  table.gemm_w4_f32 = &gemm_f32<W4>;
  table.gemm_w2_f32 = &gemm_f32<W2>;
  table.gemm_w1_f32 = &gemm_f32<W1>;
  table.gemm_w8_s8 = &gemm_s8<DotW8>;
  table.gemm_w4_s8 = &gemm_s8<DotW4>;
  table.gemm_w2_s8 = &gemm_s8<DotW2>;
  table.gemm_w1_s8 = &gemm_s8<DotW1>;
  table.quantize_rows_s8 = &quantize_rows;
  table.sum_groups_f32 = &sum_groups;
  table.syrk_f32 = &syrk;
  table.encode_integer = &encode_integer;
  table.encode_minifloat = &encode_minifloat;
  table.encode_codebook = &encode_codebook;
  table.decode = &decode;
  table.range_f32 = &range;
  table.plain_scales = &plain_scales;
  table.narrow_fp16 = &narrow_fp16;
  table.narrow_bf16 = &narrow_bf16;
  table.widen_fp16 = &widen_fp16;
  table.widen_bf16 = &widen_bf16;
  table.fit_integer = &fit<IntegerFormat>;
  table.fit_minifloat = &fit<MinifloatFormat>;
  table.fit_codebook = &fit_codebook;
}
