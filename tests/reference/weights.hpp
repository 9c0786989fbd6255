// SPDX-License-Identifier: Apache-2.0
// Synthetic weights for tests.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "kvant/tensor/matrix.hpp"

namespace reference {

/// Roughly normal, like trained weights: sum of four uniform numbers, standard deviation `sigma`.
inline std::vector<float> normal_weights(std::size_t count, std::uint32_t seed, double sigma = 0.02) {
  std::mt19937 engine(seed);
  const auto uniform = [&] { return static_cast<double>(engine()) / 4294967296.0 - 0.5; };
  std::vector<float> x(count);
  for (float& v : x) v = static_cast<float>((uniform() + uniform() + uniform() + uniform()) * sigma * std::sqrt(3.0));
  return x;
}

inline kvant::Matrix<float> normal_matrix(std::size_t rows, std::size_t cols, std::uint32_t seed) {
  return {rows, cols, normal_weights(rows * cols, seed)};
}

/// sum (a - b)^2 in long double.
template <class A, class B>
double squared_distance(const A& a, const B& b) {
  long double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const long double e = static_cast<long double>(a[i]) - static_cast<long double>(b[i]);
    sum += e * e;
  }
  return static_cast<double>(sum);
}

}  // namespace reference
