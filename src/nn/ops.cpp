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
  expects(out.size() == x.size() && !x.empty(), "a result per element");
  expects(weight.empty() || weight.size() == x.size(), "a weight per element");
  Lanes squares{};
  for (std::size_t i = 0; i < x.size(); i += kLanes)
    squares = squares + each([](Float4 v) { return v * v; }, load(x, i, 0.0f));
  const float factor = 1.0f / std::sqrt(total(squares) / static_cast<float>(x.size()) + epsilon);
  if (weight.empty())
    for (std::size_t i = 0; i < x.size(); ++i) out[i] = x[i] * factor;
  else
    for (std::size_t i = 0; i < x.size(); ++i) out[i] = x[i] * factor * weight[i];
}

void layer_norm(std::span<const float> x, std::span<const float> weight, std::span<const float> bias, float epsilon,
                std::span<float> out) {
  expects(out.size() == x.size() && !x.empty(), "a result per element");
  expects((weight.empty() || weight.size() == x.size()) && (bias.empty() || bias.size() == x.size()),
          "a weight and a bias per element");
  const float count = static_cast<float>(x.size());
  Lanes sum{};
  for (std::size_t i = 0; i < x.size(); i += kLanes) sum = sum + load(x, i, 0.0f);
  const float mean = total(sum) / count;
  Lanes squares{};
  for (std::size_t i = 0; i < x.size(); i += kLanes)
    squares = squares + each([&](Float4 v) { return (v - mean) * (v - mean); }, load(x, i, mean));
  const float factor = 1.0f / std::sqrt(total(squares) / count + epsilon);
  for (std::size_t i = 0; i < x.size(); ++i)
    out[i] = (x[i] - mean) * factor * (weight.empty() ? 1.0f : weight[i]) + (bias.empty() ? 0.0f : bias[i]);
}

void rope_angles(std::size_t position, std::span<const double> frequencies, double magnitude, std::span<float> cosines,
                 std::span<float> sines) {
  expects(cosines.size() == frequencies.size() && sines.size() == frequencies.size(), "one angle per frequency");
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const double angle = static_cast<double>(position) * frequencies[i];
    cosines[i] = static_cast<float>(magnitude * std::cos(angle));
    sines[i] = static_cast<float>(magnitude * std::sin(angle));
  }
}

void rope(std::span<float> head, std::span<const float> cosines, std::span<const float> sines, bool interleaved) {
  const std::size_t half = cosines.size();
  expects(sines.size() == half && head.size() == 2 * half, "two elements per angle");
  const std::size_t step = interleaved ? 2 : 1;
  float* const a = head.data();
  float* const b = a + (interleaved ? 1 : half);
  for (std::size_t i = 0; i < half; ++i) {
    const float x = a[i * step];
    const float y = b[i * step];
    a[i * step] = x * cosines[i] - y * sines[i];
    b[i * step] = y * cosines[i] + x * sines[i];
  }
}

namespace {

/// x[i] = exp(x[i] - max) / sum, where one more score, the sink, may belong to both.
void normalize(std::span<float> x, const float* sink) {
  const float max = sink != nullptr ? std::max(max_of(x), *sink) : max_of(x);
  Lanes sum{};
  for (std::size_t i = 0; i < x.size(); i += kLanes) {
    const Lanes powers = each([&](Float4 v) { return exp4(v - max); }, load(x, i, -INFINITY));
    store(powers, x, i);
    sum = sum + powers;  // what stands behind the end adds e^-87, which no sum >= 1 notices
  }
  const float all = sink != nullptr ? total(sum) + exp4(Float4{} + (*sink - max))[0] : total(sum);
  const float factor = 1.0f / all;
  for (float& v : x) v *= factor;
}

Float4 magnitude(Float4 x) noexcept { return larger(x, -x); }

/// By its exponential, and by its Taylor polynomial where that loses digits.
Float4 tanh4(Float4 x) noexcept {
  const Float4 e = exp4(-2.0f * magnitude(x));
  const Float4 large = (1.0f - e) / (1.0f + e);
  const Float4 s = x * x;
  Float4 p = s * (-1382.0f / 155925) + 62.0f / 2835;
  p = p * s - 17.0f / 315;
  p = p * s + 2.0f / 15;
  p = p * s - 1.0f / 3;
  const Float4 small = x + x * s * p;
  return magnitude(x) < 0.25f ? small : x < 0.0f ? -large : large;
}

/// The normal distribution. With z = |x| / sqrt(2) and t = 1 / (1 + z / 2), erfc(z) = t e^(P(t) - z^2); P is a least
/// squares fit of degree 9 through Chebyshev's points, within 5e-8.
Float4 normal4(Float4 x) noexcept {
  constexpr float kFit[]{1.366167509e-1f, -6.352103539e-1f, 1.048484211e0f,  -5.508241042e-1f, -2.018278988e-1f,
                         6.660860695e-2f, 1.208208435e-2f,  3.914240890e-1f, 9.980662133e-1f,  -1.265419557e0f};
  const Float4 z = magnitude(x) * 0x1.6a09e6p-1f;
  const Float4 t = 1.0f / (1.0f + 0.5f * z);
  Float4 p = Float4{} + kFit[0];
  for (std::size_t i = 1; i < std::size(kFit); ++i) p = p * t + kFit[i];
  const Float4 tail = 0.5f * t * exp4(p - z * z);
  return x < 0.0f ? tail : 1.0f - tail;
}

Float4 sigmoid4(Float4 x) noexcept { return 1.0f / (1.0f + exp4(-x)); }

template <class F>
void map(std::span<float> x, F f) {
  for (std::size_t i = 0; i < x.size(); i += kLanes) store(each(f, load(x, i, 0.0f)), x, i);
}

}  // namespace

void softmax(std::span<float> x) {
  expects(!x.empty(), "something to normalize");
  normalize(x, nullptr);
}

void activate(Activation function, std::span<float> x) {
  switch (function) {
    case Activation::silu:
      return map(x, [](Float4 v) { return v / (1.0f + exp4(-v)); });
    case Activation::gelu:
      return map(x, [](Float4 v) { return v * normal4(v); });
    case Activation::gelu_tanh:
      return map(x, [](Float4 v) {
        const Float4 u = 1.59576912f * (v + 0.044715f * (v * v * v));
        return v / (1.0f + exp4(-u));
      });
    case Activation::quick_gelu:
      return map(x, [](Float4 v) { return v / (1.0f + exp4(-1.702f * v)); });
    case Activation::relu:
      return map(x, [](Float4 v) { return larger(v, Float4{}); });
    case Activation::relu_squared:
      return map(x, [](Float4 v) { return larger(v, Float4{}) * larger(v, Float4{}); });
    case Activation::sigmoid:
      return map(x, [](Float4 v) { return sigmoid4(v); });
    case Activation::tanh:
      return map(x, [](Float4 v) { return tanh4(v); });
  }
}

void multiply(std::span<float> x, std::span<const float> by) {
  expects(by.size() == x.size(), "as many factors as elements");
  for (std::size_t i = 0; i < x.size(); ++i) x[i] *= by[i];
}

void add(std::span<float> x, std::span<const float> by, float scale) {
  expects(by.size() == x.size(), "as many terms as elements");
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += scale * by[i];
}

void softcap(std::span<float> x, float c) {
  map(x, [c](Float4 v) { return c * tanh4(v / c); });
}

namespace {

/// scores[i] += the bias of position begin + i.
void add_distances(const ScoreRule& rule, std::size_t begin, std::span<float> scores) noexcept {
  const auto farthest = static_cast<std::ptrdiff_t>(rule.farthest);
  const auto first = static_cast<std::ptrdiff_t>(begin) - static_cast<std::ptrdiff_t>(rule.own);
  for (std::size_t i = 0; i < scores.size(); ++i)
    scores[i] += rule.distances[std::clamp(first + static_cast<std::ptrdiff_t>(i), -farthest, farthest)];
}

}  // namespace

void attention(std::span<const float> q, const CachedHead& head, const ScoreRule& rule, std::span<float> scores,
               std::span<float> out) {
  expects(q.size() == head.key_dim && out.size() == head.value_dim, "one head");
  expects(rule.first < rule.end, "a position to see");
  const std::size_t begin = rule.first / kCacheLanes * kCacheLanes;  // of a panel
  const std::size_t count = rule.end - begin;
  expects(scores.size() >= round_up(count, kCacheLanes), "room for a score per position");
  for (std::size_t at = 0; at < count; at += kLanes)
    store(rule.scale * weighted_sum(q, head.keys + (begin + at) * head.key_dim, kLanes), scores, at);
  const std::span<float> seen = scores.first(count);
  if (rule.softcap != 0) softcap(seen, rule.softcap);
  if (rule.slope != 0)
    for (std::size_t i = 0; i < count; ++i)
      seen[i] += rule.slope * (static_cast<float>(begin + i) - static_cast<float>(rule.own));
  if (rule.distances != nullptr) add_distances(rule, begin, seen);
  std::fill_n(seen.begin(), rule.first - begin, -INFINITY);
  normalize(seen, rule.sink);
  std::fill_n(seen.begin(), rule.first - begin, 0.0f);
  const std::size_t stride = round_up(head.value_dim, kLanes);
  for (std::size_t first = 0; first < head.value_dim; first += kLanes)
    store(weighted_sum(seen, head.values + begin * stride + first, stride), out, first);
}

}  // namespace kvant::nn
