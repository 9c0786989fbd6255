// SPDX-License-Identifier: Apache-2.0
// What this processor multiplies at most: one loop per instruction, on random data held in registers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace kvant::measure {

enum class Arithmetic : std::uint8_t { f32, bf16, s8 };

struct Peak {
  std::string_view name;
  std::string_view needs;  ///< processor features, as in kernels/cpu_features.hpp
  Arithmetic arithmetic;
  double operations;  ///< multiplications and additions of one turn of the loop
  void (*loop)(std::size_t turns, const void* data) noexcept;
};

/// All loops of this build, for each arithmetic the slowest first. Those whose features are missing must not run.
[[nodiscard]] std::span<const Peak> peaks() noexcept;

/// Runs a loop on the calling thread; `peak.operations * turns` operations.
void run_peak(const Peak& peak, std::size_t turns) noexcept;

}  // namespace kvant::measure
