// SPDX-License-Identifier: Apache-2.0
// What is known of a layer's inputs: gathered over the rows that a model feeds it, and read by methods.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kvant/core/contract.hpp"
#include "kvant/core/fp_environment.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/numeric/rounding.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant {

/// What a method has to know of its layer's inputs: a set.
enum class Needs : std::uint8_t {
  nothing = 0,
  channels = 1,  ///< magnitudes and squares of each input feature
  gram = 2,      ///< X^T X
  samples = 4,   ///< rows of inputs
};
[[nodiscard]] constexpr Needs operator|(Needs a, Needs b) noexcept {
  return static_cast<Needs>(static_cast<unsigned>(a) | static_cast<unsigned>(b));
}
[[nodiscard]] constexpr bool contains(Needs all, Needs some) noexcept {
  return (static_cast<unsigned>(all) & static_cast<unsigned>(some)) == static_cast<unsigned>(some);
}

/// The inputs of one layer, X [tokens, features]. What was not asked for is empty.
struct LayerStatistics {
  std::uint64_t tokens = 0;
  std::vector<float> amax;         ///< of each feature
  std::vector<double> sum_abs;     ///< likewise
  std::vector<double> sum_square;  ///< likewise
  Matrix<float> gram;              ///< X^T X, its upper triangle; the rest is 0
  Matrix<float> samples;           ///< the first rows

  /// sum_square / tokens as float: what an error in each column of the weight costs.
  [[nodiscard]] std::vector<float> mean_square() const {
    const DefaultFpEnvironment standard;
    std::vector<float> mean(sum_square.size());
    for (std::size_t c = 0; c < mean.size(); ++c)
      mean[c] = tokens != 0 ? static_cast<float>(sum_square[c] / static_cast<double>(tokens)) : 0.0f;
    return mean;
  }
};

/// Adds rows of a layer's inputs. Of samples, no more than `most_samples` rows are kept. Rows are added up in their
/// order, whatever the context. Contract: all of x is finite, and as wide as what was added before.
inline void add_inputs(LayerStatistics& s, Needs needs, MatrixView<const float> x, const Context& context = {},
                       std::size_t most_samples = 1024) {
  const DefaultFpEnvironment standard;
  const std::size_t features = x.cols();
  if (contains(needs, Needs::channels)) {
    if (s.amax.empty()) {
      s.amax.resize(features);
      s.sum_abs.resize(features);
      s.sum_square.resize(features);
    }
    expects(s.amax.size() == features, "rows as wide as those before");
    for (std::size_t r = 0; r < x.rows(); ++r)
      for (std::size_t c = 0; c < features; ++c) {
        const float a = magnitude(x(r, c));
        s.amax[c] = std::max(s.amax[c], a);
        s.sum_abs[c] += static_cast<double>(a);
        s.sum_square[c] += static_cast<double>(a) * static_cast<double>(a);  // exact before it is added, fused or not
      }
  }
  if (contains(needs, Needs::gram)) {
    if (s.gram.rows() == 0) s.gram = Matrix<float>(features, features);
    expects(s.gram.cols() == features, "rows as wide as those before");
    constexpr std::size_t kRows = 16;
    context.for_each((features + kRows - 1) / kRows, [&](std::size_t i) noexcept {
      context.kernels().syrk_f32({x.data(), x.rows(), features, x.stride(), s.gram.data(), features, i * kRows,
                                  std::min(features, (i + 1) * kRows)});
    });
  }
  if (contains(needs, Needs::samples)) {
    const std::size_t held = s.samples.rows();
    const std::size_t added = std::min(x.rows(), most_samples - std::min(held, most_samples));
    Matrix<float> all(held + added, features);
    for (std::size_t r = 0; r < held + added; ++r) {
      const auto from = r < held ? std::span<const float>(s.samples.row(r)) : x.row(r - held);
      std::copy(from.begin(), from.end(), all.row(r).begin());
    }
    s.samples = std::move(all);
  }
  s.tokens += x.rows();
}

}  // namespace kvant
