// SPDX-License-Identifier: Apache-2.0
// What a decoder computes between its linear layers, in float32, one row or one head at a time.
//
// Each function is a fixed sequence of additions (sums run over 16 lanes and a fixed tree), so that a result depends on
// its arguments only: not on the number of threads, and not on how many tokens are handled at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kvant/io/debug_mode.hpp"

namespace kvant::nn {

/// out[i] = x[i] * weight[i] / sqrt(mean(x^2) + epsilon). `out` may be `x`; no weight is 1.
/// Source: Zhang & Sennrich 2019, "Root Mean Square Layer Normalization".
void rms_norm(std::span<const float> x, std::span<const float> weight, float epsilon, std::span<float> out);

/// out[i] = (x[i] - mean(x)) * weight[i] / sqrt(variance(x) + epsilon) + bias[i]. `out` may be `x`; no weight is 1, no
/// bias 0. Source: Ba et al. 2016, "Layer Normalization".
void layer_norm(std::span<const float> x, std::span<const float> weight, std::span<const float> bias, float epsilon,
                std::span<float> out);

/// cosines[i] and sines[i] of position * frequencies[i], times `magnitude`.
void rope_angles(std::size_t position, std::span<const double> frequencies, double magnitude, std::span<float> cosines,
                 std::span<float> sines);

/// Rotates a head of 2 n elements in place; element i pairs with element i + n, as in most of Hugging Face's
/// checkpoints, or where pairs are `interleaved` 2 i with 2 i + 1.
void rope(std::span<float> head, std::span<const float> cosines, std::span<const float> sines, bool interleaved);

/// x[i] = exp(x[i] - max) / sum, in place. Contract: not empty. NaN where every x is -infinity or one is NaN.
void softmax(std::span<float> x);

/// What stands between linear layers.
///   silu          x / (1 + e^-x)
///   gelu          x Phi(x), Phi the normal distribution
///   gelu_tanh     x / (1 + e^-2u), u = sqrt(2 / pi) (x + 0.044715 x^3): gelu with a tanh in place of Phi
///   quick_gelu    x / (1 + e^-1.702x)
///   relu_squared  max(x, 0)^2
///   sigmoid       1 / (1 + e^-x)
enum class Activation : std::uint8_t { silu, gelu, gelu_tanh, quick_gelu, relu, relu_squared, sigmoid, tanh };
inline constexpr std::string_view kActivationNames[]{"silu", "gelu",         "gelu_tanh", "quick_gelu",
                                                     "relu", "relu_squared", "sigmoid",   "tanh"};

/// x[i] = f(x[i]), within 4 units in the last place of the larger of |f| and, for gelu and tanh, 2^-3.
void activate(Activation function, std::span<float> x);

/// x[i] *= by[i], and x[i] += scale * by[i].
void multiply(std::span<float> x, std::span<const float> by);
void add(std::span<float> x, std::span<const float> by, float scale);

/// x[i] = c * tanh(x[i] / c).
void softcap(std::span<float> x, float c);

/// Positions in a panel of keys, and what a row of values is padded to.
inline constexpr std::size_t kCacheLanes = 16;

/// Keys and values of one head, position by position, in the order in which attention reads them:
///   keys    [ceil(positions / 16)][key_dim][16]     scores of 16 positions at once, without sums across lanes
///   values  [positions][value_dim, rounded up to 16]
struct CachedHead {
  const float* keys = nullptr;
  const float* values = nullptr;
  std::size_t key_dim = 0;
  std::size_t value_dim = 0;
};

/// What attention makes of the product of a query with a key.
struct ScoreRule {
  float scale = 1;
  float softcap = 0;      ///< of scores; 0: none
  std::size_t first = 0;  ///< the first position that is seen
  std::size_t end = 0;    ///< behind the last one
  float slope = 0;        ///< score += slope * (position - own)
  std::size_t own = 0;
  const float* sink = nullptr;  ///< one more score, whose value is 0
  /// score += distances[position - own], the distance being limited to `farthest` on either side; null: nothing.
  const float* distances = nullptr;
  std::size_t farthest = 0;
};

/// out = softmax(scores) . V over positions [first, end), for one head of one token, where scores are scale * q . K^T
/// and what the rule makes of them. `q` has key_dim elements, `out` value_dim; `scores` is room for end - first + 15
/// floats, rounded up to 16. Contract: first < end.
void attention(std::span<const float> q, const CachedHead& head, const ScoreRule& rule, std::span<float> scores,
               std::span<float> out);

}  // namespace kvant::nn
