// SPDX-License-Identifier: Apache-2.0
// Which buffers of a model share memory: those that are never alive at once.
#pragma once

#include <cstddef>
#include <vector>

#include "kvant/nn/steps.hpp"

namespace kvant::nn {

/// The slices that a step reads, and those that it writes; what it changes is among both. Those inside experts' steps
/// are not among them.
struct StepAccess {
  std::vector<Slice> reads, writes;
};
[[nodiscard]] StepAccess access_of(const Step& step, const ModelConfig& config);

/// All lists of a model, in the order of computation. Those of experts are not among them.
[[nodiscard]] std::vector<const std::vector<Step>*> lists_of(const ModelConfig& config);

struct BufferPlan {
  std::vector<std::size_t> slot_of;  ///< by BufferId
  std::vector<std::size_t> widths;   ///< of slots
  [[nodiscard]] std::size_t columns() const noexcept {
    std::size_t sum = 0;
    for (const std::size_t w : widths) sum += w;
    return sum;
  }
};

/// A buffer lives from its first mention in a list of steps to its last one. What a list reads before it writes it, and
/// what the model carries from list to list, lives always.
[[nodiscard]] BufferPlan plan_buffers(const ModelConfig& config);

}  // namespace kvant::nn
