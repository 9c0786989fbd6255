// SPDX-License-Identifier: Apache-2.0
#include "kvant/nn/ops.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

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

TEST(Rope, KeepsPositionZeroAndTurnsPairsOfHalves) {
  const auto frequencies = rope_frequencies(10000, 4);
  EXPECT_EQ(frequencies, (std::vector<double>{1, 0.01}));
  std::vector<float> cosines(2), sines(2);
  std::vector<float> row{1, 2, 3, 4, 5, 6, 7, 8};
  const auto original = row;
  rope_angles(0, frequencies, cosines, sines);
  rope(row, cosines, sines);
  EXPECT_EQ(row, original);
  rope_angles(7, frequencies, cosines, sines);
  rope(row, cosines, sines);
  for (std::size_t head = 0; head < 8; head += 4)
    for (std::size_t i = 0; i < 2; ++i) {
      const double angle = 7 * frequencies[i];
      const double x = to_double(original[head + i]);
      const double y = to_double(original[head + i + 2]);
      EXPECT_NEAR(to_double(row[head + i]), x * std::cos(angle) - y * std::sin(angle), 1e-6 * (std::abs(x) + y));
      EXPECT_NEAR(to_double(row[head + i + 2]), y * std::cos(angle) + x * std::sin(angle), 1e-6 * (std::abs(x) + y));
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

TEST(SiluMultiply, AgreesWithDoublesOverItsWholeRange) {
  std::vector<float> gate;
  for (float x = -200; x <= 200; x += 0.37f) gate.push_back(x);
  std::vector<float> result = gate;
  silu_multiply(result, std::vector<float>(gate.size(), 0.5f));
  for (std::size_t i = 0; i < gate.size(); ++i) {
    const double x = to_double(gate[i]);
    const double expected = 0.5 * x / (1 + std::exp(-x));
    EXPECT_NEAR(to_double(result[i]), expected, 8 * 0x1p-24 * std::abs(expected) + 1e-36) << x;
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

TEST(Attention, AgreesWithDoublesForEveryLengthAndWidth) {
  for (const std::size_t d : {2u, 6u, 8u, 16u, 24u, 32u, 80u})
    for (const std::size_t positions : {1u, 2u, 15u, 16u, 17u, 40u}) {
      const Head head(positions, d);
      const auto q = random_uniform(d, 3, 5);
      std::vector<double> weights(positions);
      double sum = 0;
      for (std::size_t t = 0; t < positions; ++t) {
        double dot = 0;
        for (std::size_t i = 0; i < d; ++i) dot += to_double(q[i]) * to_double(head.k[t * d + i]);
        sum += weights[t] = std::exp(dot / std::sqrt(static_cast<double>(d)));
      }
      std::vector<float> scores(48), out(d, -1.0f);
      attention(q, {head.panels.data(), head.rows.data(), d}, positions, scores, out);
      for (std::size_t i = 0; i < d; ++i) {
        double expected = 0;
        for (std::size_t t = 0; t < positions; ++t) expected += weights[t] / sum * to_double(head.v[t * d + i]);
        // Chains of d and of `positions` additions of terms below 3 and 1.
        EXPECT_NEAR(to_double(out[i]), expected, static_cast<double>(3 * d + positions + 60) * 0x1p-24) << d;
      }
    }
}

TEST(Attention, IgnoresWhatStandsBehindItsPositions) {
  Head head(20, 6);
  const auto q = random_uniform(6, 3, 5);
  std::vector<float> scores(32), expected(6), out(6);
  attention(q, {head.panels.data(), head.rows.data(), 6}, 18, scores, expected);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (std::size_t t = 18; t < 20; ++t)
    for (std::size_t i = 0; i < 6; ++i) head.panels[16 * 6 + i * 16 + t % 16] = head.rows[t * 16 + i] = nan;
  attention(q, {head.panels.data(), head.rows.data(), 6}, 18, scores, out);
  EXPECT_EQ(out, expected);
}

}  // namespace
}  // namespace kvant::nn
