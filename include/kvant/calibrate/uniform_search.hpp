// SPDX-License-Identifier: Apache-2.0
// The pair of clipping values of least squared error under uniform quantization, over all pairs of a histogram's edges.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "kvant/core/contract.hpp"

namespace kvant::detail {

/// The objective of torch's HistogramObserver: values are uniform within a bin; [edge(s), edge(e)] is cut into `cells`
/// of equal width, and each value goes to the centre of its cell, what lies outside to that of the outermost one. torch
/// walks greedily from both ends and stops at the first increase; `best` looks at every pair.
///
/// In units of one bin, from edge(0) on: with C(u) the count below u and G(u) the integral of C from 0 to u,
/// integrating by parts twice leaves one term for each border between two cells,
///
///     error(s, e) = sum n (x - c)^2 - 2 w * (G(s + w) + G(s + 2 w) + … + G(e - w)),
///
/// w = (e - s) / cells the width of a cell, c = e - w / 2 the centre of the last one. All borders lie on multiples of
/// 1 / cells, so G is tabulated there: a pair costs cells - 1 additions, the table 8 bytes for each bin and cell.
/// Rounding: 1e-16 of the sum of squares at most, some 1e-9 of the least errors of 256 cells.
class UniformSearch {
 public:
  struct Pair {
    std::size_t begin;
    std::size_t end;
    double error;  ///< in squared bin widths, summed over the counts
  };

  /// Contract: at least one bin and one cell.
  UniformSearch(std::span<const std::uint64_t> counts, std::size_t cells)
      : bins_(counts.size()), cells_(cells), below_(bins_ + 1), above_(bins_ + 1), table_(bins_ * cells + 1) {
    expects(bins_ >= 1 && cells_ >= 1, "a search over at least one bin and one cell");
    Integrals left;
    Integrals right;
    for (std::size_t b = 0; b < bins_; ++b) {
      for (std::size_t k = 0; k < cells_; ++k)
        table_[b * cells_ + k] = left.at(static_cast<double>(k) / static_cast<double>(cells_), counts[b]);
      left.pass(counts[b]);
      below_[b + 1] = left.squares;
      right.pass(counts[bins_ - 1 - b]);
      above_[bins_ - 1 - b] = right.squares;
    }
    table_.back() = left.once;
    total_ = left.count;
  }

  /// error(s, e). Contract: s < e <= bins.
  [[nodiscard]] double error(std::size_t s, std::size_t e) const noexcept {
    const double width = static_cast<double>(e - s) / static_cast<double>(cells_);
    double borders = 0.0;
    for (std::size_t k = 1, at = s * cells_; k < cells_; ++k) borders += table_[at += e - s];
    // sum n (x - c)^2 from its value at the upper end, N: (N - x)^2 less what moving from N to c takes off.
    const double off = static_cast<double>(bins_) - (static_cast<double>(e) - width / 2);
    const double squares = std::fma(off, std::fma(off, total_, -2 * table_.back()), below_.back());
    return std::fma(-2 * width, borders, squares);
  }

  /// The pair of least error with begin <= last_begin and end >= first_end, between which zero lies: a scale always
  /// covers it. Of equal ones the first found, wider ones first. Contract: last_begin < bins, 1 <= first_end <= bins.
  [[nodiscard]] Pair best(std::size_t last_begin, std::size_t first_end) const noexcept {
    Pair best{0, bins_, error(0, bins_)};
    const std::size_t coarse = bins_ / 64;
    if (coarse > 1) scan(coarse, last_begin, first_end, best);  // an early good pair spares most of the others
    scan(1, last_begin, first_end, best);
    return best;
  }

 private:
  /// What lies on one side of an edge, walking away from the end there: the count C, its integral G = sum n |x - edge|,
  /// and twice the integral of that, sum n (x - edge)^2.
  struct Integrals {
    double count = 0.0;
    double once = 0.0;
    double squares = 0.0;
    /// G a part f of the next bin further.
    [[nodiscard]] double at(double f, std::uint64_t n) const noexcept {
      return std::fma(f, std::fma(f, static_cast<double>(n) / 2, count), once);
    }
    void pass(std::uint64_t bin) noexcept {
      const double n = static_cast<double>(bin);
      squares += 2 * once + count + n / 3;
      once += count + n / 2;
      count += n;
    }
  };

  /// What lies outside a pair costs at least its squared distance to the pair: below_ and above_, which grow inwards.
  void scan(std::size_t step, std::size_t last_begin, std::size_t first_end, Pair& best) const noexcept {
    for (std::size_t s = 0; s <= last_begin && below_[s] < best.error; s += step)
      for (std::size_t e = bins_; e >= first_end && e > s && below_[s] + above_[e] < best.error; e -= step) {
        const double candidate = error(s, e);
        if (candidate < best.error) best = {s, e, candidate};
        if (e < step) break;
      }
  }

  std::size_t bins_;
  std::size_t cells_;
  double total_ = 0.0;
  std::vector<double> below_;  ///< sum n (s - x)^2 over x < s, for each edge s
  std::vector<double> above_;  ///< sum n (x - e)^2 over x > e
  std::vector<double> table_;  ///< G at multiples of 1 / cells
};

}  // namespace kvant::detail
