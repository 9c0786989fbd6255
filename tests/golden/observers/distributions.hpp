// SPDX-License-Identifier: Apache-2.0
// The distributions of make.py, draw for draw, and what was recorded of them.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "kvant/core/rng.hpp"
#include "kvant/quant/scheme.hpp"

namespace golden::observers {

struct Hash {
  std::string_view distribution;
  std::size_t count;
  std::uint64_t hash;
};

/// The bits of the range that an observer gives after `batches` equal batches.
struct Threshold {
  std::string_view distribution;
  std::size_t batches;
  std::string_view observer, options, format;
  kvant::Symmetry symmetry;
  std::uint32_t low, high;
};

#include "real_tensors.inc"
#include "thresholds.inc"

/// Draws made of +, -, *, / and square roots alone: the same bits as in Python.
class Stream {
 public:
  explicit Stream(std::uint64_t seed) : state_(seed) {}

  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }
  double sign() { return next() >> 63 != 0 ? -1.0 : 1.0; }

  /// von Neumann 1951: comparisons alone.
  double exponential() {
    for (double whole = 0;; whole += 1) {
      const double first = uniform();
      double last = first;
      int n = 1;
      for (double u = uniform(); u < last; u = uniform(), ++n) last = u;
      if (n % 2 == 1) return whole + first;
    }
  }
  /// |z| is exponential where a second exponential exceeds (|z| - 1)^2 / 2.
  double normal() {
    for (;;) {
      const double a = exponential();
      const double b = exponential();
      const double d = a - 1;
      if (2 * b >= d * d) return sign() * a;
    }
  }
  double student4() {
    const double z = normal();
    const double a = exponential();
    const double b = exponential();
    return z / std::sqrt((a + b) / 2);
  }
  double lognormal() {
    double y = 1 + normal() / 1024;
    for (int i = 0; i < 10; ++i) y = y * y;
    return y;
  }
  double laplace() {
    const double s = sign();
    return s * exponential() * 0.1;
  }
  double bimodal() {
    const double s = sign();
    return s + normal() / 4;
  }
  double with_outliers() {
    const bool far = uniform() < 0.001;
    const double z = normal();
    return far ? z * 20 : z;
  }
  double sparse() { return uniform() < 0.9 ? 0.0 : normal(); }

 private:
  std::uint64_t next() {
    const std::uint64_t x = kvant::mix64(state_);
    state_ += 0x9e3779b97f4a7c15u;
    return x;
  }
  std::uint64_t state_;
};

/// The values of a distribution of kHashes.
inline std::vector<float> values(std::string_view name, std::size_t count) {
  std::vector<float> x(count);
  const auto recorded = [&](const auto& bf16) {
    for (std::size_t i = 0; i < count; ++i) x[i] = std::bit_cast<float>(std::uint32_t{bf16[i]} << 16);
    return x;
  };
  if (name == "weights") return recorded(kWeights);
  if (name == "activations") return recorded(kActivations);
  constexpr std::array<std::string_view, 9> kNames{"normal",  "laplace",   "student4", "uniform", "exponential",
                                                   "bimodal", "lognormal", "outliers", "sparse"};
  std::uint64_t seed = 1;
  while (kNames[seed - 1] != name) ++seed;
  Stream s(seed);
  for (float& v : x) {
    double draw = 0;
    switch (seed) {
      case 1:
        draw = s.normal() * 0.02;
        break;
      case 2:
        draw = s.laplace();
        break;
      case 3:
        draw = s.student4();
        break;
      case 4:
        draw = s.uniform() * 2 - 1;
        break;
      case 5:
        draw = s.exponential();
        break;
      case 6:
        draw = s.bimodal();
        break;
      case 7:
        draw = s.lognormal();
        break;
      case 8:
        draw = s.with_outliers();
        break;
      default:
        draw = s.sparse();
    }
    v = static_cast<float>(draw);
  }
  return x;
}

/// FNV-1a 64 over the values' bytes, little-endian.
inline std::uint64_t hash_of(const std::vector<float>& x) {
  std::uint64_t state = 0xcbf29ce484222325u;
  for (const float v : x)
    for (unsigned i = 0; i < 4; ++i)
      state = (state ^ (std::bit_cast<std::uint32_t>(v) >> 8 * i & 0xffu)) * 0x100000001b3u;
  return state;
}

}  // namespace golden::observers
