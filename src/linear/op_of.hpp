// SPDX-License-Identifier: Apache-2.0
// Which kernel a packed layer runs on.
#pragma once

#include <array>
#include <cstddef>
#include <variant>

#include "kernels/ops.hpp"
#include "kvant/linear/linear.hpp"

namespace kvant {

/// The kernel that Linear::multiply calls.
[[nodiscard]] inline const kernels::Op& op_of(const Linear& layer) {
  using kernels::WeightLayout;
  constexpr std::array kLayoutsInOrder{WeightLayout::f32, WeightLayout::bf16, WeightLayout::w8,
                                       WeightLayout::w4,  WeightLayout::w2,   WeightLayout::w1};
  const WeightLayout layout = kLayoutsInOrder[static_cast<std::size_t>(layer.packed().layout)];
  for (const kernels::Op& op : kernels::kOps)
    if (op.weights == layout && std::holds_alternative<kernels::Gemm kernels::Kernels::*>(op.slot) &&
        (op.activations == kernels::ActivationType::s8) == layer.runs_on_integers())
      return op;
  return kernels::kOps[0];
}

}  // namespace kvant
