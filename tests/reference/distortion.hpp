// SPDX-License-Identifier: Apache-2.0
// Error measures from their definitions, in long double.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <vector>

namespace reference {

struct Measures {
  long double mse, sqnr_db, relative_error, max_abs_error, cosine;
};

inline Measures measure(const std::vector<float>& x, const std::vector<float>& y) {
  long double signal = 0, other = 0, noise = 0, dot = 0, largest = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const long double a = static_cast<long double>(x[i]);
    const long double b = static_cast<long double>(y[i]);
    signal += a * a;
    other += b * b;
    dot += a * b;
    noise += (a - b) * (a - b);
    largest = std::max(largest, std::fabs(a - b));
  }
  const auto n = static_cast<long double>(x.size());
  return {noise / n, 10 * std::log10(signal / noise), std::sqrt(noise / signal), largest,
          dot / std::sqrt(signal * other)};
}

}  // namespace reference
