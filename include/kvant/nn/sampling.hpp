// SPDX-License-Identifier: Apache-2.0
// From logits to the next token: the most likely one, or a seeded draw.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/core/rng.hpp"
#include "kvant/io/debug_mode.hpp"

namespace kvant::nn {

/// The id of the largest logit; the lowest such id, and 0 where all are NaN. Contract: not empty.
[[nodiscard]] std::int32_t greedy(std::span<const float> logits);

struct SamplingConfig {
  float temperature = 0;  ///< 0 is greedy
  float top_p = 1;        ///< keep the fewest, most likely tokens whose probabilities reach this sum; at least one
  std::uint64_t seed = 0;
};

/// Draws tokens; the i-th draw depends on the seed, i and the logits only.
class Sampler {
 public:
  /// `usage` unless temperature is finite and >= 0, and top_p is in [0, 1].
  [[nodiscard]] static Result<Sampler> make(const SamplingConfig& config);

  /// Probabilities are softmax(logits / temperature) over the kept tokens; NaN counts as -infinity, equal
  /// probabilities rank by id, and an infinite logit wins outright. Errors: out_of_memory. Contract: not empty.
  [[nodiscard]] Result<std::int32_t> next(std::span<const float> logits);

 private:
  explicit Sampler(const SamplingConfig& config) : config_(config), rng_(config.seed) {}

  SamplingConfig config_;
  Rng rng_;
  std::vector<double> weights_;
  std::vector<std::int32_t> order_;
};

}  // namespace kvant::nn
