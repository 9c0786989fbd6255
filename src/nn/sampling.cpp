// SPDX-License-Identifier: Apache-2.0
#include "kvant/nn/sampling.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "core/guard.hpp"
#include "kvant/core/contract.hpp"
#include "kvant/core/number_text.hpp"

namespace kvant::nn {

std::int32_t greedy(std::span<const float> logits) {
  expects(!logits.empty(), "a logit per token");
  std::size_t best = 0;
  for (std::size_t i = 1; i < logits.size(); ++i)
    if (logits[i] > logits[best] || (std::isnan(logits[best]) && !std::isnan(logits[i]))) best = i;
  return static_cast<std::int32_t>(best);
}

Result<Sampler> Sampler::make(const SamplingConfig& config) {
  if (!std::isfinite(config.temperature) || config.temperature < 0)
    return fail(ErrorCode::usage, "temperature " + number_text(config.temperature) + ", expected a number >= 0");
  if (!(config.top_p >= 0 && config.top_p <= 1))
    return fail(ErrorCode::usage, "top-p " + number_text(config.top_p) + ", expected a number from 0 to 1");
  return Sampler(config);
}

Result<std::int32_t> Sampler::next(std::span<const float> logits) {
  const double u = static_cast<double>(rng_.uniform());
  const std::int32_t best = greedy(logits);
  const float max = logits[static_cast<std::size_t>(best)];
  if (config_.temperature == 0 || !std::isfinite(max)) return best;
  return guarded([&]() -> Result<std::int32_t> {
    weights_.resize(logits.size());
    for (std::size_t i = 0; i < logits.size(); ++i) {
      const double distance = static_cast<double>(logits[i]) - static_cast<double>(max);
      weights_[i] = std::isnan(distance) ? 0 : std::exp(distance / static_cast<double>(config_.temperature));
    }
    order_.resize(logits.size());
    std::iota(order_.begin(), order_.end(), 0);
    const auto weight = [&](std::int32_t id) { return weights_[static_cast<std::size_t>(id)]; };
    std::sort(order_.begin(), order_.end(),
              [&](std::int32_t a, std::int32_t b) { return weight(a) != weight(b) ? weight(a) > weight(b) : a < b; });
    double total = 0;
    for (const std::int32_t id : order_) total += weight(id);
    const double enough = static_cast<double>(config_.top_p) * total;
    double kept = 0;
    std::size_t count = 0;
    do kept += weight(order_[count++]);
    while (count < order_.size() && kept < enough);
    double sum = 0;
    for (std::size_t i = 0; i + 1 < count; ++i)
      if (sum += weight(order_[i]); u * kept < sum) return order_[i];
    return order_[count - 1];
  });
}

}  // namespace kvant::nn
