// SPDX-License-Identifier: Apache-2.0
// The objective of torch's HistogramObserver, bin by bin, and its greedy walk
// (torch/ao/quantization/observer.py).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <utility>
#include <vector>

namespace reference {

/// Squared error of values that are uniform within their bins, when [begin, end] is cut into `cells` and each value
/// goes to the centre of its cell, or of the outermost one; in units of one bin.
inline double uniform_error(std::span<const std::uint64_t> counts, double begin, double end, std::size_t cells) {
  const double width = (end - begin) / static_cast<double>(cells);
  const auto border = [&](double k) { return begin + k * width; };
  const auto last = static_cast<double>(cells) - 1;
  double sum = 0;
  for (std::size_t b = 0; b < counts.size(); ++b) {
    if (counts[b] == 0) continue;
    const auto stop = static_cast<double>(b + 1);
    for (double x = static_cast<double>(b); x < stop;) {
      double cell = std::clamp(std::floor((x - begin) / width), 0.0, last);
      if (cell < last && border(cell + 1) <= x) ++cell;  // the quotient was rounded down
      const double to = cell < last ? std::min(stop, border(cell + 1)) : stop;
      const double centre = border(cell) + width / 2;
      const double p = x - centre;
      const double q = to - centre;
      sum += static_cast<double>(counts[b]) * (q * q * q - p * p * p) / 3;
      x = to;
    }
  }
  return sum;
}

/// Where torch's walk stops: the first and one past the last bin.
inline std::pair<std::size_t, std::size_t> torch_walk(std::span<const std::uint64_t> counts, std::size_t cells) {
  constexpr double kStep = 1e-5;
  std::vector<double> up_to;  // the count in bins 0 … i
  for (const std::uint64_t n : counts) up_to.push_back(static_cast<double>(n) + (up_to.empty() ? 0 : up_to.back()));
  const double total = up_to.back();
  std::size_t start = 0;
  std::size_t end = counts.size() - 1;
  double alpha = 0;
  double beta = 1;
  double least = std::numeric_limits<double>::infinity();
  while (alpha < beta) {
    std::size_t left = start;
    std::size_t right = end;
    while (left < end && up_to[left] < (alpha + kStep) * total) ++left;
    while (right > start && up_to[right] > (beta - kStep) * total) --right;
    const bool moves_left = left - start > end - right;
    (moves_left ? alpha : beta) += moves_left ? kStep : -kStep;
    const std::size_t next_start = moves_left ? left : start;
    const std::size_t next_end = moves_left ? end : right;
    if (next_start == start && next_end == end) continue;
    const double error =
        uniform_error(counts, static_cast<double>(next_start), static_cast<double>(next_end + 1), cells);
    if (error > least) break;
    least = error;
    start = next_start;
    end = next_end;
  }
  return {start, end + 1};
}

}  // namespace reference
