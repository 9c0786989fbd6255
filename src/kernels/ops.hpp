// SPDX-License-Identifier: Apache-2.0
// The list of kernel slots, for everything that goes over all of them: conformance tests, benchmarks, `kvant doctor`.
// Slots of layouts follow from kLayouts (kvant/kernels/layout.hpp).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <variant>

#include "kvant/kernels/kernels.hpp"
#include "kvant/kernels/layout.hpp"

namespace kvant::kernels {

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
  ActivationType activations = ActivationType::none;
  Slot slot;
  const LayoutInfo* layout = nullptr;  ///< of the weights that it reads, if any
  [[nodiscard]] constexpr std::string_view weights() const noexcept {
    return layout != nullptr ? layout->name : "none";
  }
};

namespace detail {

inline constexpr std::array kOtherOps{
    Op{"quantize_rows_s8", ActivationType::f32, &Kernels::quantize_rows_s8},
    Op{"sum_groups_f32", ActivationType::f32, &Kernels::sum_groups_f32},
    Op{"syrk_f32", ActivationType::f32, &Kernels::syrk_f32},
    Op{"encode_integer", ActivationType::none, &Kernels::encode_integer},
    Op{"encode_minifloat", ActivationType::none, &Kernels::encode_minifloat},
    Op{"encode_codebook", ActivationType::none, &Kernels::encode_codebook},
    Op{"decode", ActivationType::none, &Kernels::decode},
    Op{"range_f32", ActivationType::none, &Kernels::range_f32},
    Op{"plain_scales", ActivationType::none, &Kernels::plain_scales},
    Op{"narrow_fp16", ActivationType::none, &Kernels::narrow_fp16},
    Op{"narrow_bf16", ActivationType::none, &Kernels::narrow_bf16},
    Op{"widen_fp16", ActivationType::none, &Kernels::widen_fp16},
    Op{"widen_bf16", ActivationType::none, &Kernels::widen_bf16},
    Op{"fit_integer", ActivationType::none, &Kernels::fit_integer},
    Op{"fit_minifloat", ActivationType::none, &Kernels::fit_minifloat},
    Op{"fit_codebook", ActivationType::none, &Kernels::fit_codebook},
};

/// Calls body(op) for the slots of all layouts, products with floats first, then those with int8, then rows.
template <class Body>
constexpr void for_each_layout_op(Body body) {
  for (const LayoutInfo& info : kLayouts)
    body(Op{info.gemm_f32.name, ActivationType::f32, info.gemm_f32.member, &info});
  for (const LayoutInfo& info : kLayouts)
    if (info.gemm_s8.member != nullptr) body(Op{info.gemm_s8.name, ActivationType::s8, info.gemm_s8.member, &info});
  for (const LayoutInfo& info : kLayouts) body(Op{info.gather.name, ActivationType::none, info.gather.member, &info});
}

constexpr std::size_t layout_op_count() {
  std::size_t count = 0;
  for_each_layout_op([&](const Op&) { ++count; });
  return count;
}

}  // namespace detail

inline constexpr auto kOps = [] {
  std::array<Op, detail::layout_op_count() + detail::kOtherOps.size()> ops{};
  std::size_t count = 0;
  detail::for_each_layout_op([&](const Op& op) { ops[count++] = op; });
  for (const Op& op : detail::kOtherOps) ops[count++] = op;
  return ops;
}();

}  // namespace kvant::kernels
