// SPDX-License-Identifier: Apache-2.0
#include "kvant/nn/rope.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "kvant/core/contract.hpp"

namespace kvant::nn {
namespace {

constexpr double kTurn = 2 * std::numbers::pi;

std::vector<double> plain(double theta, std::size_t dims) {
  std::vector<double> frequencies(dims / 2);
  for (std::size_t i = 0; i < frequencies.size(); ++i)
    frequencies[i] = std::pow(theta, -static_cast<double>(2 * i) / static_cast<double>(dims));
  return frequencies;
}

/// The base at which the lowest frequency turns as far over `context` as it did over the original context.
double stretched_theta(const Rope& rope, std::size_t context) {
  const double ratio = static_cast<double>(std::max(context, rope.original)) / static_cast<double>(rope.original);
  const double dims = static_cast<double>(rope.dims);
  return rope.theta * std::pow(rope.factor * ratio - (rope.factor - 1), dims / (dims - 2));
}

double llama3(const Rope& rope, double frequency) {
  const double turns = static_cast<double>(rope.original) * frequency / kTurn;
  const double kept = std::clamp((turns - rope.low_frequency) / (rope.high_frequency - rope.low_frequency), 0.0, 1.0);
  return (1 - kept) * frequency / rope.factor + kept * frequency;
}

/// The dimension whose frequency turns `turns` times over the original context.
double dimension_of(const Rope& rope, double turns) {
  return static_cast<double>(rope.dims) * std::log(static_cast<double>(rope.original) / (turns * kTurn)) /
         (2 * std::log(rope.theta));
}

void yarn(const Rope& rope, std::vector<double>& frequencies) {
  double low = dimension_of(rope, rope.fast);
  double high = dimension_of(rope, rope.slow);
  if (rope.whole_dims) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(rope.dims - 1));
  if (low == high) high += 0.001;
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const double divided = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] = divided * frequencies[i] / rope.factor + (1 - divided) * frequencies[i];
  }
}

}  // namespace

bool depends_on_context(const Rope& rope) noexcept {
  return rope.scaling == RopeScaling::dynamic || rope.scaling == RopeScaling::longrope;
}

std::vector<double> rope_frequencies(const Rope& rope, std::size_t context) {
  std::vector<double> frequencies =
      plain(rope.scaling == RopeScaling::dynamic ? stretched_theta(rope, context) : rope.theta, rope.dims);
  switch (rope.scaling) {
    case RopeScaling::none:
    case RopeScaling::dynamic:
      break;
    case RopeScaling::linear:
      for (double& f : frequencies) f /= rope.factor;
      break;
    case RopeScaling::llama3:
      for (double& f : frequencies) f = llama3(rope, f);
      break;
    case RopeScaling::yarn:
      yarn(rope, frequencies);
      break;
    case RopeScaling::longrope: {
      const auto& divisors = context > rope.original ? rope.long_factors : rope.short_factors;
      expects(divisors.size() == frequencies.size(), "a divisor for each frequency");
      for (std::size_t i = 0; i < frequencies.size(); ++i) frequencies[i] /= divisors[i];
      break;
    }
  }
  return frequencies;
}

}  // namespace kvant::nn
