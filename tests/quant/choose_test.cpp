// SPDX-License-Identifier: Apache-2.0
// The search for scales: never worse than the plain scale, close to what brute force finds, exact for one-bit and
// ternary codes.
#include "kvant/quant/choose.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "../reference/check.hpp"
#include "../reference/quantize.hpp"
#include "../reference/weights.hpp"
#include "kvant/quant/encode.hpp"
#include "support/test_cases.hpp"

namespace {

std::vector<float> quantized(const std::vector<float>& x, const std::string& scheme, bool search) {
  const auto q = kvant::quantize({x.data(), 1, x.size()}, *kvant::parse_scheme(scheme), {search, {}});
  EXPECT_TRUE(q.has_value()) << scheme;
  const kvant::Matrix<float> values = kvant::dequantize(*q);
  return {values.data(), values.data() + values.size()};
}

double error_of(const std::vector<float>& x, const std::string& scheme, bool search) {
  return reference::squared_distance(x, quantized(x, scheme, search));
}

struct Group {
  const char* name;
  std::vector<float> x;
};

/// Groups of all characters: smooth, heavy-tailed, with outliers, one-sided, on a lattice, constant, tiny, short.
std::vector<Group> groups(double sigma) {
  std::vector<Group> all;
  for (std::uint32_t seed = 0; seed < 6; ++seed) {
    const std::vector<float> normal = reference::normal_weights(64, 70 + seed, sigma);
    const auto changed = [&](const std::function<float(float, std::size_t)>& f) {
      std::vector<float> x = normal;
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = f(x[i], i);
      return x;
    };
    const auto s = static_cast<float>(sigma);
    all.push_back({"normal", normal});
    all.push_back({"heavy tails", changed([&](float v, std::size_t) { return v / s * (v / s) * v; })});
    all.push_back({"an outlier", changed([](float v, std::size_t i) { return i == 9 ? 12 * v : v; })});
    all.push_back({"one sign", changed([](float v, std::size_t) { return std::fabs(v); })});
    all.push_back({"lattice", changed([&](float v, std::size_t) { return std::round(v / s * 3) * s; })});
    all.push_back({"mostly zero", changed([](float v, std::size_t i) { return i % 7 == 0 ? v : 0.0f; })});
    all.push_back({"shifted", changed([&](float v, std::size_t) { return v + 2 * s; })});
    all.push_back({"constant", changed([&](float, std::size_t) { return -s; })});
    all.push_back({"short", {normal[0], normal[1], normal[2]}});
    all.push_back({"single", {normal[3]}});
  }
  return all;
}

const char* const kSchemes[] = {"int8-channel",      "int6-channel",       "int4-channel",      "int3-channel",
                                "int2-channel",      "uint4-channel",      "uint8-channel",     "int4-channel-asym",
                                "int2-channel-asym", "uint4-channel-asym", "int8-channel-asym", "uint1-channel-asym",
                                "int4-channel-full", "int2-channel-full",  "int8-channel-full", "fp8_e4m3fn-channel",
                                "fp8_e5m2-channel",  "fp4_e2m1-channel",   "nf4-channel"};

TEST(Search, IsNeverWorseThanThePlainScale) {
  // The search compares sums of 64 squares in float: 4 additions a lane and 4 of the tree, 8 * 2^-24 relative each.
  constexpr double kRounding = 2 * 8 * 0x1p-24;
  for (const char* scheme : kSchemes)
    for (const Group& g : groups(0.02)) {
      const double plain = error_of(g.x, scheme, false);
      const double searched = error_of(g.x, scheme, true);
      EXPECT_LE(searched, plain * (1 + kRounding)) << scheme << ", " << g.name;
    }
}

TEST(Search, IsNeverWorseForHugeAndTinyWeightsEither) {
  for (const char* scheme : kSchemes)
    for (const char* scale : {"-scale:bf16", "-scale:fp32"})
      for (const double sigma : {1e-36, 1e-23, 1e-21, 1e-19, 1e-10, 1e10, 1e17, 1e19, 1e21, 1e34})
        for (const Group& g : groups(sigma)) {
          const std::string text = std::string(scheme) + scale;
          const double plain = error_of(g.x, text, false);
          const double searched = error_of(g.x, text, true);
          EXPECT_LE(searched, plain * (1 + 2 * 8 * 0x1p-24)) << text << ", " << g.name << ", sigma " << sigma;
        }
}

/// The least error over every positive fp16 scale from 0.3 to 1.3 of the plain one.
double brute_force(const std::vector<float>& x, const std::string& format) {
  const reference::Quantizer oracle(format, reference::Zero::symmetric);
  const reference::NumberFormat& half = *reference::find_format("fp16");
  const reference::Encoder to_half(half);
  const float plain = oracle.choose(x).scale;
  double least = HUGE_VAL;
  for (std::uint32_t code = to_half(0.3f * plain); code <= to_half(1.3f * plain); ++code) {
    const reference::Group g{static_cast<float>(reference::decode(half, code)), 0, false};
    std::vector<double> values;
    for (const float v : x) values.push_back(oracle.value(oracle.code(v, g), g));
    least = std::min(least, reference::squared_distance(x, values));
  }
  return least;
}

TEST(Search, ClosesMostOfTheGapToBruteForce) {
  for (const char* format : {"int4", "int3", "int2", "fp4_e2m1", "nf4"}) {
    double plain = 0, searched = 0, optimum = 0;
    for (std::uint32_t seed = 0; seed < 40; seed += kvant::test::test_stride()) {
      const std::vector<float> x = reference::normal_weights(32, 200 + seed);
      plain += error_of(x, std::string(format) + "-channel", false);
      searched += error_of(x, std::string(format) + "-channel", true);
      optimum += brute_force(x, format);
    }
    EXPECT_LT(optimum, 0.98 * plain) << format << ": there is something to gain";
    EXPECT_GE(searched, optimum * (1 - 1e-9)) << format << ": nothing beats brute force";
    EXPECT_LE(searched - optimum, 0.25 * (plain - optimum)) << format;
  }
}

/// The error of the best {-s, 0, +s} (or {-s, +s}) approximation, by trying every number of non-zeros: the k largest
/// magnitudes at their mean remove (their sum)^2 / k.
struct Optimum {
  double error;
  double energy;  ///< removed
};
Optimum best_signs(const std::vector<float>& x, bool with_zero) {
  std::vector<double> m;
  double total = 0;
  for (const float v : x) {
    m.push_back(std::fabs(static_cast<double>(v)));
    total += m.back() * m.back();
  }
  std::sort(m.begin(), m.end(), std::greater<>());
  double best = 0;
  double sum = 0;
  for (std::size_t k = 0; k < m.size(); ++k) {
    sum += m[k];
    if (with_zero || k + 1 == m.size()) best = std::max(best, sum * sum / static_cast<double>(k + 1));
  }
  return {total - best, best};
}

void expect_optimal(const std::string& scheme, bool with_zero, const std::vector<float>& x, const std::string& what) {
  const Optimum optimum = best_signs(x, with_zero);
  // k (s - s')^2 <= k s^2 2^-22 for a scale rounded to 11 bits, and k s^2 is the energy removed; the rest is double.
  const double rounding = optimum.energy * (0x1p-22 + 1e-12);
  for (const bool search : {false, true})
    EXPECT_LE(error_of(x, scheme, search), optimum.error + rounding) << scheme << ", " << what;
}

TEST(Search, FindsTheLeastSquaresTernaryAndOneBitScale) {
  for (const Group& g : groups(0.5)) {
    expect_optimal("ternary-channel", true, g.x, g.name);
    expect_optimal("int1-channel", false, g.x, g.name);
  }
  for (const std::size_t n : {1u, 2u, 3u, 5u, 17u, 128u, 1000u, 20000u})
    for (const float outlier : {1.0f, 10.0f, 100.0f}) {
      std::vector<float> x = reference::normal_weights(n, static_cast<std::uint32_t>(300 + n), 0.5);
      x[n / 2] *= outlier;
      expect_optimal("ternary-channel", true, x,
                     std::to_string(n) + " weights, outlier times " + std::to_string(outlier));
      expect_optimal("int1-channel", false, x, std::to_string(n) + " weights");
    }
}

struct half_ternary : kvant::Integer<2, -1, 1, 1> {  // {-0.5, 0, +0.5}
  static constexpr std::string_view kName = "half_ternary";
};

TEST(Search, OfSignsCountsInStepsOfTheFormat) {
  const kvant::Matrix<float> w(1, 6, std::vector<float>{1, -1, 1, 1, 0, -1});
  const auto q = kvant::quantize<half_ternary>(w.view(), kvant::PerChannel{});
  ASSERT_TRUE(q);
  EXPECT_EQ(q->scales[0].values[0], 2.0f);
  const kvant::Matrix<float> back = kvant::dequantize(*q);
  for (std::size_t c = 0; c < 6; ++c) EXPECT_EQ(back(0, c), w(0, c));
}

TEST(Search, OfSignsWorksForHugeAndTinyWeights) {
  for (const double sigma : {1e-36, 1e-23, 1e19, 1e34})
    for (const Group& g : groups(sigma)) {
      // fp32 scales: relative rounding far below the fp16 allowance, except that the sums leave float's range.
      expect_optimal("ternary-channel-scale:fp32", true, g.x, g.name);
      expect_optimal("int1-channel-scale:fp32", false, g.x, g.name);
    }
}

TEST(Search, GivesMoreBitsABetterResult) {
  const std::vector<float> x = reference::normal_weights(4096, 90);
  for (const bool search : {false, true})
    for (const char* suffix : {"-g32", "-g32-asym", "-g128-full"}) {
      double before = HUGE_VAL;
      for (const char* format : {"int2", "int3", "int4", "int5", "int6", "int7", "int8"}) {
        const double error = error_of(x, std::string(format) + suffix, search);
        EXPECT_LT(error, before) << format << suffix;
        before = error;
      }
    }
}

TEST(Plain, MeasuresNothingButTheExtremes) {
  const kvant::Grid grid(*kvant::parse_scheme("int4-channel"));
  const std::vector<float> x{0.1f, NAN, -3.0f, INFINITY, 2.0f, -INFINITY};
  const kvant::GroupParameters p = kvant::choose_plain(grid, x);
  EXPECT_EQ(p.scale, 0.39990234375f);  // 3 / 7.5 in fp16
  EXPECT_FALSE(p.clamped);
  EXPECT_EQ(kvant::choose_plain(grid, {}).scale, 0.0f);
  EXPECT_EQ(kvant::choose_searched(grid, {}).scale, 0.0f);
}

TEST(Plain, OfARangeIsThatOfAGroupWithTheseExtremes) {
  for (const char* scheme : kSchemes) {
    const kvant::Grid grid(*kvant::parse_scheme(scheme));
    for (const Group& g : groups(0.02)) {
      const auto [low, high] = std::minmax_element(g.x.begin(), g.x.end());
      const kvant::GroupParameters range = kvant::parameters_for_range(grid, {*low, *high});
      const kvant::GroupParameters group = kvant::choose_plain(grid, g.x);
      EXPECT_EQ(range.scale, group.scale) << scheme << ", " << g.name;
      EXPECT_EQ(range.zero, group.zero) << scheme << ", " << g.name;
    }
  }
}

TEST(Plain, OfARangeCoversZeroAndIsDefinedForEveryRange) {
  const kvant::Grid asymmetric(*kvant::parse_scheme("uint8-tensor-asym-scale:fp32"));
  EXPECT_EQ(kvant::parameters_for_range(asymmetric, {2, 3}).scale, 3.0f / 255);
  EXPECT_EQ(kvant::parameters_for_range(asymmetric, {2, 3}).zero, 0);
  EXPECT_EQ(kvant::parameters_for_range(asymmetric, {-3, -2}).zero, 255);
  const float ends[] = {0.0f, -0.0f, 1.0f, -1.0f, 1e-45f, 3.4e38f, -3.4e38f, INFINITY, -INFINITY, NAN, -NAN};
  for (const char* scheme : kSchemes) {
    const kvant::Grid grid(*kvant::parse_scheme(scheme));
    for (const float low : ends)
      for (const float high : ends) {
        const kvant::GroupParameters p = kvant::parameters_for_range(grid, {low, high});
        EXPECT_TRUE(std::isfinite(p.scale)) << scheme << " " << low << ".." << high;
        EXPECT_TRUE(p.zero >= grid.format().low && p.zero <= grid.format().high)
            << scheme << " " << low << ".." << high;
      }
  }
}

}  // namespace
