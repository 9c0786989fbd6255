// SPDX-License-Identifier: Apache-2.0
// What a decoder computes between its linear layers, in float32, one row or one head at a time.
//
// Each function is a fixed sequence of additions (sums run over 16 lanes and a fixed tree), so that a result depends on
// its arguments only: not on the number of threads, and not on how many tokens are handled at once.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "kvant/io/debug_mode.hpp"

namespace kvant::nn {

/// out[i] = x[i] * weight[i] / sqrt(mean(x^2) + epsilon). `out` may be `x`.
/// Source: Zhang & Sennrich 2019, "Root Mean Square Layer Normalization".
void rms_norm(std::span<const float> x, std::span<const float> weight, float epsilon, std::span<float> out);

/// theta^(-2 i / head_dim) for the head_dim / 2 pairs of a head. Source: Su et al. 2021, "RoFormer".
[[nodiscard]] std::vector<double> rope_frequencies(double theta, std::size_t head_dim);

/// cosines[i] and sines[i] of position * frequencies[i].
void rope_angles(std::size_t position, std::span<const double> frequencies, std::span<float> cosines,
                 std::span<float> sines);

/// Rotates each head of `row` (heads of 2 n elements side by side) in place; element i of a head pairs with element
/// i + n, as in Hugging Face's checkpoints.
void rope(std::span<float> row, std::span<const float> cosines, std::span<const float> sines);

/// x[i] = exp(x[i] - max) / sum, in place. Contract: not empty. NaN where every x is -infinity or one is NaN.
void softmax(std::span<float> x);

/// gate[i] = silu(gate[i]) * up[i], where silu(x) = x / (1 + exp(-x)).
void silu_multiply(std::span<float> gate, std::span<const float> up);

/// Positions in a panel of keys, and what a row of values is padded to.
inline constexpr std::size_t kCacheLanes = 16;

/// Keys and values of one head, position by position, in the order in which attention reads them:
///   keys    [ceil(positions / 16)][head_dim][16]    scores of 16 positions at once, without sums across lanes
///   values  [positions][head_dim, rounded up to 16]
struct CachedHead {
  const float* keys = nullptr;
  const float* values = nullptr;
  std::size_t head_dim = 0;
};

/// out = softmax(q . K^T / sqrt(head_dim)) . V over the first `positions` positions, for one head of one token.
/// `q` and `out` have head_dim elements; `scores` is room for `positions` floats, rounded up to 16.
void attention(std::span<const float> q, const CachedHead& head, std::size_t positions, std::span<float> scores,
               std::span<float> out);

}  // namespace kvant::nn
