// SPDX-License-Identifier: Apache-2.0
// The list of kernel slots, for everything that goes over all of them: conformance tests, benchmarks, `kvant doctor`.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <variant>

#include "kvant/kernels/kernels.hpp"

namespace kvant::kernels {

enum class WeightLayout : std::uint8_t { none, f32, bf16, w8, w4, w2, w1 };
inline constexpr std::array<std::string_view, 7> kWeightLayoutNames{"none", "f32", "bf16", "w8", "w4", "w2", "w1"};
enum class ActivationType : std::uint8_t { none, f32, s8 };
inline constexpr std::array<std::string_view, 3> kActivationNames{"none", "f32", "s8"};

/// One slot: its name, what it reads, and which member of `Kernels` it is.
struct Op {
  using Slot =
      std::variant<Gemm Kernels::*, Gather Kernels::*, decltype(&Kernels::quantize_rows_s8),
                   decltype(&Kernels::sum_groups_f32), decltype(&Kernels::syrk_f32), decltype(&Kernels::encode_integer),
                   decltype(&Kernels::decode), decltype(&Kernels::range_f32), decltype(&Kernels::plain_scales),
                   decltype(&Kernels::narrow_fp16), decltype(&Kernels::widen_fp16), decltype(&Kernels::fit_integer)>;
  std::string_view name;
  WeightLayout weights;
  ActivationType activations;
  Slot slot;
};

inline constexpr std::array kOps{
    Op{"gemm_f32_f32", WeightLayout::f32, ActivationType::f32, &Kernels::gemm_f32_f32},
    Op{"gemm_bf16_f32", WeightLayout::bf16, ActivationType::f32, &Kernels::gemm_bf16_f32},
    Op{"gemm_w8_f32", WeightLayout::w8, ActivationType::f32, &Kernels::gemm_w8_f32},
    Op{"gemm_w4_f32", WeightLayout::w4, ActivationType::f32, &Kernels::gemm_w4_f32},
    Op{"gemm_w2_f32", WeightLayout::w2, ActivationType::f32, &Kernels::gemm_w2_f32},
    Op{"gemm_w1_f32", WeightLayout::w1, ActivationType::f32, &Kernels::gemm_w1_f32},
    Op{"gemm_w8_s8", WeightLayout::w8, ActivationType::s8, &Kernels::gemm_w8_s8},
    Op{"gemm_w4_s8", WeightLayout::w4, ActivationType::s8, &Kernels::gemm_w4_s8},
    Op{"gemm_w2_s8", WeightLayout::w2, ActivationType::s8, &Kernels::gemm_w2_s8},
    Op{"gemm_w1_s8", WeightLayout::w1, ActivationType::s8, &Kernels::gemm_w1_s8},
    Op{"gather_f32", WeightLayout::f32, ActivationType::none, &Kernels::gather_f32},
    Op{"gather_bf16", WeightLayout::bf16, ActivationType::none, &Kernels::gather_bf16},
    Op{"gather_w8", WeightLayout::w8, ActivationType::none, &Kernels::gather_w8},
    Op{"gather_w4", WeightLayout::w4, ActivationType::none, &Kernels::gather_w4},
    Op{"gather_w2", WeightLayout::w2, ActivationType::none, &Kernels::gather_w2},
    Op{"gather_w1", WeightLayout::w1, ActivationType::none, &Kernels::gather_w1},
    Op{"quantize_rows_s8", WeightLayout::none, ActivationType::f32, &Kernels::quantize_rows_s8},
    Op{"sum_groups_f32", WeightLayout::none, ActivationType::f32, &Kernels::sum_groups_f32},
    Op{"syrk_f32", WeightLayout::none, ActivationType::f32, &Kernels::syrk_f32},
    Op{"encode_integer", WeightLayout::none, ActivationType::none, &Kernels::encode_integer},
    Op{"encode_minifloat", WeightLayout::none, ActivationType::none, &Kernels::encode_minifloat},
    Op{"encode_codebook", WeightLayout::none, ActivationType::none, &Kernels::encode_codebook},
    Op{"decode", WeightLayout::none, ActivationType::none, &Kernels::decode},
    Op{"range_f32", WeightLayout::none, ActivationType::none, &Kernels::range_f32},
    Op{"plain_scales", WeightLayout::none, ActivationType::none, &Kernels::plain_scales},
    Op{"narrow_fp16", WeightLayout::none, ActivationType::none, &Kernels::narrow_fp16},
    Op{"narrow_bf16", WeightLayout::none, ActivationType::none, &Kernels::narrow_bf16},
    Op{"widen_fp16", WeightLayout::none, ActivationType::none, &Kernels::widen_fp16},
    Op{"widen_bf16", WeightLayout::none, ActivationType::none, &Kernels::widen_bf16},
    Op{"fit_integer", WeightLayout::none, ActivationType::none, &Kernels::fit_integer},
    Op{"fit_minifloat", WeightLayout::none, ActivationType::none, &Kernels::fit_minifloat},
    Op{"fit_codebook", WeightLayout::none, ActivationType::none, &Kernels::fit_codebook},
};

}  // namespace kvant::kernels
