// SPDX-License-Identifier: Apache-2.0
#include "kvant/nn/ops.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "kvant/nn/rope.hpp"
#include "reference/check.hpp"

namespace kvant::nn {
namespace {

using reference::random_uniform;

double to_double(float x) { return static_cast<double>(x); }

TEST(RmsNorm, AgreesWithDoublesForEveryLength) {
  for (std::size_t n = 1; n < 70; ++n) {
    const auto x = random_uniform(n, 3, 1);
    const auto weight = random_uniform(n, 2, 2);
    double squares = 0;
    for (const float v : x) squares += to_double(v) * to_double(v);
    const double factor = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
    std::vector<float> out(n);
    rms_norm(x, weight, 1e-5f, out);
    for (std::size_t i = 0; i < n; ++i) {
      const double expected = to_double(x[i]) * factor * to_double(weight[i]);
      EXPECT_NEAR(to_double(out[i]), expected, 16 * 0x1p-24 * std::abs(expected)) << n;
    }
  }
}

TEST(RmsNorm, MapsZerosToZerosAndWorksInPlace) {
  std::vector<float> x(20, 0.0f);
  rms_norm(x, random_uniform(20, 1, 1), 1e-5f, x);
  EXPECT_EQ(x, std::vector<float>(20, 0.0f));
}

TEST(LayerNorm, AgreesWithDoublesForEveryLength) {
  for (std::size_t n = 1; n < 70; ++n) {
    auto x = random_uniform(n, 3, static_cast<std::uint32_t>(n));
    for (float& v : x) v += 5;  // a mean to be taken away
    const auto weight = random_uniform(n, 2, 7);
    const auto bias = random_uniform(n, 2, 8);
    std::vector<float> out(n);
    layer_norm(x, weight, bias, 1e-3f, out);
    double mean = 0, variance = 0;
    for (const float v : x) mean += to_double(v) / static_cast<double>(n);
    for (const float v : x) variance += (to_double(v) - mean) * (to_double(v) - mean) / static_cast<double>(n);
    // Sums of n terms below 8, of which a rounding each stays in the mean, before a factor of up to 1 / sqrt(1e-3).
    for (std::size_t i = 0; i < n; ++i)
      EXPECT_NEAR(to_double(out[i]),
                  (to_double(x[i]) - mean) / std::sqrt(variance + 1e-3) * to_double(weight[i]) + to_double(bias[i]),
                  static_cast<double>(n + 20) * 0x1p-24 * 8 * 2 * 32)
          << n;
    std::vector<float> plain(n);
    layer_norm(x, {}, {}, 1e-3f, plain);
    layer_norm(x, std::vector<float>(n, 1.0f), std::vector<float>(n, 0.0f), 1e-3f, x);
    EXPECT_EQ(plain, x);
  }
}

TEST(Rope, KeepsPositionZeroAndTurnsPairs) {
  Rope rotation;
  rotation.dims = 4;
  const auto frequencies = rope_frequencies(rotation, 1);
  EXPECT_EQ(frequencies, (std::vector<double>{1, 0.01}));
  for (const bool interleaved : {false, true}) {
    std::vector<float> cosines(2), sines(2);
    std::vector<float> head{1, 2, 3, 4};
    const auto original = head;
    rope_angles(0, frequencies, 1, cosines, sines);
    rope(head, cosines, sines, interleaved);
    EXPECT_EQ(head, original);
    rope_angles(7, frequencies, 1.5, cosines, sines);
    rope(head, cosines, sines, interleaved);
    for (std::size_t i = 0; i < 2; ++i) {
      const double angle = 7 * frequencies[i];
      const std::size_t a = interleaved ? 2 * i : i;
      const std::size_t b = interleaved ? 2 * i + 1 : i + 2;
      const double x = 1.5 * to_double(original[a]);
      const double y = 1.5 * to_double(original[b]);
      EXPECT_NEAR(to_double(head[a]), x * std::cos(angle) - y * std::sin(angle), 1e-6 * (std::abs(x) + y));
      EXPECT_NEAR(to_double(head[b]), y * std::cos(angle) + x * std::sin(angle), 1e-6 * (std::abs(x) + y));
    }
  }
}

TEST(Softmax, AgreesWithDoublesForEveryLength) {
  for (std::size_t n = 1; n < 70; ++n) {
    auto x = random_uniform(n, 20, static_cast<std::uint32_t>(n));
    std::vector<double> expected(x.begin(), x.end());
    const double max = *std::max_element(expected.begin(), expected.end());
    for (double& v : expected) v = std::exp(v - max);
    const double sum = std::accumulate(expected.begin(), expected.end(), 0.0);
    softmax(x);
    // x - max is rounded: an error of 40 * 2^-24 there is a relative one of the exponential.
    for (std::size_t i = 0; i < n; ++i)
      EXPECT_NEAR(to_double(x[i]), expected[i] / sum, 60 * 0x1p-24 * expected[i] / sum) << n;
  }
}

TEST(Softmax, IsDefinedAtTheEnds) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  std::vector<float> x{-kInf, 0, -1e30f};
  softmax(x);
  EXPECT_LT(x[0], 1e-37f);
  EXPECT_EQ(x[1], 1.0f);
  EXPECT_LT(x[2], 1e-37f);
  std::vector<float> equal(3, 3e38f);
  softmax(equal);
  for (const float v : equal) EXPECT_FLOAT_EQ(v, 1.0f / 3);
  // A NaN is passed on, whatever its payload and wherever it stands.
  for (const std::uint32_t bits : {0x7fc00000u, 0x7f800001u, 0x7fc00155u, 0xffffffffu})
    for (std::size_t at = 0; at < 20; ++at) {
      std::vector<float> y(20, 0.0f);
      y[at] = reference::from_bits(bits);
      softmax(y);
      for (const float v : y) EXPECT_TRUE(std::isnan(v));
    }
}

double activated(Activation function, double x) {
  const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  switch (function) {
    case Activation::silu:
      return x * sigmoid(x);
    case Activation::gelu:
      return x * 0.5 * std::erfc(-x / std::sqrt(2.0));
    case Activation::gelu_tanh:
      return x * sigmoid(2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x));
    case Activation::quick_gelu:
      return x * sigmoid(1.702 * x);
    case Activation::relu:
      return std::max(x, 0.0);
    case Activation::relu_squared:
      return std::max(x, 0.0) * std::max(x, 0.0);
    case Activation::sigmoid:
      return sigmoid(x);
    case Activation::tanh:
      return std::tanh(x);
  }
  return 0;
}

/// An absolute error of an exponent, which has some five roundings, is a relative one of its power. Below e^-87 there
/// is none.
TEST(Activations, AgreeWithDoublesOverTheirWholeRange) {
  for (std::size_t f = 0; f < std::size(kActivationNames); ++f) {
    const auto function = static_cast<Activation>(f);
    std::vector<float> x;
    for (float v = -200; v <= 200; v += 0.37f) x.push_back(v);
    for (float v = -9; v <= 9; v += 0.0037f) x.push_back(v);
    for (float v = 1; v > 1e-30f; v *= 0.37f) x.insert(x.end(), {v, -v});
    std::vector<float> result = x;
    activate(function, result);
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double v = to_double(x[i]);
      const double expected = activated(function, v);
      const double exponent = function == Activation::gelu        ? v * v / 2
                              : function == Activation::gelu_tanh ? std::min(88.0, std::abs(v) * (2 + v * v / 10))
                                                                  : 2 * std::abs(v);
      const double roundings = 16 + 5 * exponent;
      EXPECT_NEAR(to_double(result[i]), expected, roundings * 0x1p-24 * std::abs(expected) + 200 * 0x1p-125)
          << kActivationNames[f] << " " << v;
    }
  }
}

TEST(Softcap, IsAScaledTangent) {
  std::vector<float> x;
  for (float v = -300; v <= 300; v += 0.37f) x.push_back(v);
  auto result = x;
  softcap(result, 30);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double expected = 30 * std::tanh(to_double(x[i]) / 30);
    EXPECT_NEAR(to_double(result[i]), expected, 16 * 0x1p-24 * std::abs(expected));
  }
}

/// Keys and values of one head in both layouts.
struct Head {
  std::size_t positions, d;
  std::vector<float> k, v, panels, rows;

  Head(std::size_t positions_, std::size_t d_)
      : positions(positions_), d(d_), k(random_uniform(positions * d, 1, 1)), v(random_uniform(positions * d, 1, 2)) {
    const std::size_t stride = (d + 15) / 16 * 16;
    panels.resize((positions + 15) / 16 * 16 * d);
    rows.resize(positions * stride);
    for (std::size_t t = 0; t < positions; ++t)
      for (std::size_t i = 0; i < d; ++i) {
        panels[t / 16 * 16 * d + i * 16 + t % 16] = k[t * d + i];
        rows[t * stride + i] = v[t * d + i];
      }
  }
};

struct Case {
  float softcap = 0;
  std::size_t window = 0;
  float slope = 0;
  const float* sink = nullptr;
};

/// Chains of d and of `positions` additions of terms below 3 and 1; a cap, a slope and a sink add a few.
void expect_attention(std::size_t d, std::size_t width, std::size_t positions, const Case& with) {
  const Head keys(positions, d);
  const Head values(positions, width);
  const auto q = random_uniform(d, 3, 5);
  const std::size_t first = with.window != 0 && positions > with.window ? positions - with.window : 0;
  const double scale = 1 / std::sqrt(static_cast<double>(d));
  std::vector<double> weights(positions);
  double sum = with.sink != nullptr ? std::exp(to_double(*with.sink)) : 0;
  for (std::size_t t = first; t < positions; ++t) {
    double score = 0;
    for (std::size_t i = 0; i < d; ++i) score += scale * to_double(q[i]) * to_double(keys.k[t * d + i]);
    if (with.softcap != 0) score = to_double(with.softcap) * std::tanh(score / to_double(with.softcap));
    score -= to_double(with.slope) * static_cast<double>(positions - 1 - t);
    sum += weights[t] = std::exp(score);
  }
  std::vector<float> scores(64), out(width, -1.0f);
  const ScoreRule rule{static_cast<float>(scale), with.softcap, first, positions, with.slope, positions - 1, with.sink};
  attention(q, {keys.panels.data(), values.rows.data(), d, width}, rule, scores, out);
  for (std::size_t i = 0; i < width; ++i) {
    double expected = 0;
    for (std::size_t t = first; t < positions; ++t) expected += weights[t] / sum * to_double(values.v[t * width + i]);
    EXPECT_NEAR(to_double(out[i]), expected, static_cast<double>(3 * d + 3 * positions + 80) * 0x1p-24) << d;
  }
}

TEST(Attention, AgreesWithDoublesForEveryLengthAndWidth) {
  const float sink = 0.7f;
  for (const std::size_t d : {2u, 6u, 8u, 16u, 24u, 32u, 80u})
    for (const std::size_t positions : {1u, 2u, 15u, 16u, 17u, 40u}) {
      expect_attention(d, d, positions, {});
      expect_attention(d, d + 5, positions, {});
      expect_attention(d, d, positions, {.softcap = 0.8f});
      for (const std::size_t window : {1u, 3u, 16u, 17u}) expect_attention(d, d, positions, {.window = window});
      expect_attention(d, d, positions, {.slope = 0.25f});
      expect_attention(d, d, positions, {.sink = &sink});
      expect_attention(d, d, positions, {.softcap = 2, .window = 5, .slope = 0.1f, .sink = &sink});
    }
}

TEST(Attention, IgnoresWhatStandsOutsideItsPositions) {
  Head head(40, 6);
  const auto q = random_uniform(6, 3, 5);
  std::vector<float> scores(32), expected(6), out(6);
  const ScoreRule rule{.scale = 0.4f, .first = 19, .end = 38, .own = 37};
  attention(q, {head.panels.data(), head.rows.data(), 6, 6}, rule, scores, expected);
  for (const std::size_t t : {0u, 15u, 16u, 18u, 38u, 39u})
    for (std::size_t i = 0; i < 6; ++i) {
      head.panels[t / 16 * 16 * 6 + i * 16 + t % 16] = 1e30f;
      head.rows[t * 16 + i] = 1e30f;
    }
  attention(q, {head.panels.data(), head.rows.data(), 6, 6}, rule, scores, out);
  EXPECT_EQ(out, expected);
}

}  // namespace
}  // namespace kvant::nn
