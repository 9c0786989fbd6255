// SPDX-License-Identifier: Apache-2.0
// What contenders work on, and the part of their results that is checked.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kvant/core/rng.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/tensor/matrix.hpp"
#include "pages.hpp"

namespace kvant::measure {

/// Of weights so small that they stay in caches anyway.
inline constexpr std::size_t kMostCopies = 4096;

/// Evenly distributed numbers, the same on every machine.
inline Matrix<float> synthetic(std::size_t rows, std::size_t cols, std::uint64_t seed, const Context& context) {
  Matrix<float> out(rows, cols);
  ask_for_huge_pages(out.data(), rows * cols * sizeof(float));
  context.for_each(rows, [&](std::size_t r) {
    Rng random(mix64(seed + r));
    for (float& x : out.row(r)) x = random.uniform() - 0.5f;
  });
  return out;
}

/// At most `most` of 0 … count - 1, in thirds from the start, the middle and the end, ascending.
inline std::vector<std::size_t> spread(std::size_t count, std::size_t most) {
  std::vector<std::size_t> chosen;
  const std::size_t third = std::max<std::size_t>(most / 3, 1);
  for (std::size_t i = 0; i < count; ++i) {
    const bool middle = i >= count / 2 && i - count / 2 < third;
    if (count <= most || i < third || middle || i + third >= count) chosen.push_back(i);
  }
  return chosen;
}

}  // namespace kvant::measure
