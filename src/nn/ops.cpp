// SPDX-License-Identifier: Apache-2.0
#include "kvant/nn/ops.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kvant/core/checked.hpp"
#include "kvant/core/contract.hpp"

namespace kvant::nn {
namespace {

/// Four floats at a time, as SSE2 and NEON have them. Spelled out, because GCC 12 makes slow code of sums over a
/// `float lanes[16]` (it vectorizes across iterations and keeps shuffling) and none of exponentials.
using Float4 = float __attribute__((vector_size(16)));
using UInt4 = std::uint32_t __attribute__((vector_size(16)));

Float4 load4(const float* x) noexcept {
  Float4 v;
  std::memcpy(&v, x, sizeof v);
  return v;
}
Float4 larger(Float4 x, Float4 y) noexcept { return x < y ? y : x; }
Float4 smaller(Float4 x, Float4 y) noexcept { return y < x ? y : x; }

/// e^x within 3 units in the last place for x in [-87, 88], and the value at the nearer end outside; NaN gives NaN.
/// x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its Taylor polynomial of degree 6, 2^n from its bits.
Float4 exp4(Float4 x) noexcept {
  constexpr float kRoundToInteger = 0x1.8p23f;  // adding it rounds to an integer, which stands in the low bits then
  constexpr float kLn2High = 0x1.62e4p-1f;      // short, so that its product with n is exact
  constexpr float kLn2Low = 0x1.7f7d1cp-20f;
  x = smaller(larger(x, Float4{} - 87.0f), Float4{} + 88.0f);
  const Float4 shifted = x * 0x1.715476p0f + kRoundToInteger;
  const Float4 n = shifted - kRoundToInteger;
  const Float4 r = (x - n * kLn2High) - n * kLn2Low;
  Float4 p = r * (1.0f / 720) + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * std::bit_cast<Float4>((std::bit_cast<UInt4>(shifted) << 23) + (127u << 23));
}

/// Sixteen numbers side by side, mostly partial sums.
struct Lanes {
  Float4 a, b, c, d;
};
constexpr std::size_t kLanes = 16;
static_assert(kCacheLanes == kLanes);

/// Lanes of f(x) and of f(x, y).
template <class F>
Lanes each(F f, const Lanes& x) noexcept {
  return {f(x.a), f(x.b), f(x.c), f(x.d)};
}
template <class F>
Lanes each(F f, const Lanes& x, const Lanes& y) noexcept {
  return {f(x.a, y.a), f(x.b, y.b), f(x.c, y.c), f(x.d, y.d)};
}
Lanes operator+(const Lanes& x, const Lanes& y) noexcept { return {x.a + y.a, x.b + y.b, x.c + y.c, x.d + y.d}; }
Lanes operator*(float x, const Lanes& y) noexcept { return {x * y.a, x * y.b, x * y.c, x * y.d}; }

/// The sum of all lanes, in a fixed order.
float total(const Lanes& x) noexcept {
  const Float4 quarters = (x.a + x.b) + (x.c + x.d);
  return (quarters[0] + quarters[1]) + (quarters[2] + quarters[3]);
}

/// Elements [first, first + 16) of x, and `fill` behind its end.
Lanes load(std::span<const float> x, std::size_t first, float fill) noexcept {
  const float* from = x.data() + first;
  float rest[kLanes];
  if (x.size() - first < kLanes) {
    std::fill_n(rest, kLanes, fill);
    std::copy(from, x.data() + x.size(), rest);
    from = rest;
  }
  return {load4(from), load4(from + 4), load4(from + 8), load4(from + 12)};
}

/// Writes lanes to x[first …], as many as there is room for.
void store(const Lanes& lanes, std::span<float> x, std::size_t first) noexcept {
  if (x.size() - first >= kLanes)
    std::memcpy(x.data() + first, &lanes, sizeof lanes);
  else
    std::memcpy(x.data() + first, &lanes, (x.size() - first) * sizeof(float));
}

float max_of(std::span<const float> x) noexcept {
  Lanes max = load(x, 0, x[0]);
  for (std::size_t i = kLanes; i < x.size(); i += kLanes) max = each(larger, max, load(x, i, x[0]));
  const Float4 quarters = larger(larger(max.a, max.b), larger(max.c, max.d));
  return std::max({quarters[0], quarters[1], quarters[2], quarters[3]});
}

/// out[l] = sum over r of weights[r] * matrix[r * stride + l], for 16 columns l: both products of attention.
Lanes weighted_sum(std::span<const float> weights, const float* matrix, std::size_t stride) noexcept {
  Lanes sum{};
  for (std::size_t r = 0; r < weights.size(); ++r) sum = sum + weights[r] * load({matrix + r * stride, kLanes}, 0, 0);
  return sum;
}

}  // namespace

void rms_norm(std::span<const float> x, std::span<const float> weight, float epsilon, std::span<float> out) {
  expects(weight.size() == x.size() && out.size() == x.size() && !x.empty(), "a weight and a result per element");
  Lanes squares{};
  for (std::size_t i = 0; i < x.size(); i += kLanes)
    squares = squares + each([](Float4 v) { return v * v; }, load(x, i, 0.0f));
  const float factor = 1.0f / std::sqrt(total(squares) / static_cast<float>(x.size()) + epsilon);
  for (std::size_t i = 0; i < x.size(); ++i) out[i] = x[i] * factor * weight[i];
}

std::vector<double> rope_frequencies(double theta, std::size_t head_dim) {
  std::vector<double> frequencies(head_dim / 2);
  for (std::size_t i = 0; i < frequencies.size(); ++i)
    frequencies[i] = std::pow(theta, -static_cast<double>(2 * i) / static_cast<double>(head_dim));
  return frequencies;
}

void rope_angles(std::size_t position, std::span<const double> frequencies, std::span<float> cosines,
                 std::span<float> sines) {
  expects(cosines.size() == frequencies.size() && sines.size() == frequencies.size(), "one angle per frequency");
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const double angle = static_cast<double>(position) * frequencies[i];
    cosines[i] = static_cast<float>(std::cos(angle));
    sines[i] = static_cast<float>(std::sin(angle));
  }
}

void rope(std::span<float> row, std::span<const float> cosines, std::span<const float> sines) {
  const std::size_t half = cosines.size();
  expects(sines.size() == half && half != 0 && row.size() % (2 * half) == 0, "whole heads of two elements per angle");
  for (std::size_t head = 0; head < row.size(); head += 2 * half) {
    float* const a = row.data() + head;
    float* const b = a + half;
    for (std::size_t i = 0; i < half; ++i) {
      const float x = a[i];
      const float y = b[i];
      a[i] = x * cosines[i] - y * sines[i];
      b[i] = y * cosines[i] + x * sines[i];
    }
  }
}

void softmax(std::span<float> x) {
  expects(!x.empty(), "something to normalize");
  const float max = max_of(x);
  Lanes sum{};
  for (std::size_t i = 0; i < x.size(); i += kLanes) {
    const Lanes powers = each([&](Float4 v) { return exp4(v - max); }, load(x, i, -INFINITY));
    store(powers, x, i);
    sum = sum + powers;  // what stands behind the end adds e^-87, which no sum >= 1 notices
  }
  const float factor = 1.0f / total(sum);
  for (float& v : x) v *= factor;
}

void silu_multiply(std::span<float> gate, std::span<const float> up) {
  expects(gate.size() == up.size(), "as many factors as gates");
  for (std::size_t i = 0; i < gate.size(); i += kLanes)
    store(each([](Float4 g, Float4 u) { return g / (1.0f + exp4(-g)) * u; }, load(gate, i, 0.0f), load(up, i, 0.0f)),
          gate, i);
}

void attention(std::span<const float> q, const CachedHead& head, std::size_t positions, std::span<float> scores,
               std::span<float> out) {
  const std::size_t d = head.head_dim;
  expects(q.size() == d && out.size() == d, "one head");
  expects(positions != 0 && scores.size() >= round_up(positions, kCacheLanes), "room for a score per position");
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  for (std::size_t first = 0; first < positions; first += kLanes)
    store(scale * weighted_sum(q, head.keys + first * d, kLanes), scores, first);
  softmax(scores.first(positions));
  for (std::size_t first = 0; first < d; first += kLanes)
    store(weighted_sum(scores.first(positions), head.values + first, round_up(d, kLanes)), out, first);
}

}  // namespace kvant::nn
