// SPDX-License-Identifier: Apache-2.0
// Blocks with offsets and scales that are small integers under one of their row: ggml's q4_1, q5_1 and K-quants, and
// -fzero. Against the plain rule written down again in double precision, and a search against the plain rule.
#include "kvant/quant/nested_scales.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "../reference/weights.hpp"
#include "kvant/quant/encode.hpp"

namespace {

using kvant::Matrix;
using kvant::QMatrix;

/// One block format in numbers: levels low … high, groups, the integers of scales (and offsets), columns under an outer
/// number; 0 columns: fp16 scales and offsets.
struct Block {
  const char* text;
  int low, high;
  std::size_t group;
  int scale_low, scale_high, offset_high;
  std::size_t columns;
};
constexpr std::array kBlocks{
    Block{"q4_1", 0, 15, 32, 0, 0, 0, 0},
    Block{"q5_1", 0, 31, 32, 0, 0, 0, 0},
    Block{"uint4-g48-fzero", 0, 15, 48, 0, 0, 0, 0},
    Block{"q2_k", 0, 3, 16, 0, 15, 15, 256},
    Block{"q3_k", -4, 3, 16, -32, 31, 0, 256},
    Block{"q4_k", 0, 15, 32, 0, 63, 63, 256},
    Block{"q5_k", 0, 31, 32, 0, 63, 63, 256},
    Block{"q6_k", -32, 31, 16, -128, 127, 0, 256},
};

Matrix<float> weights(std::size_t rows, std::size_t cols, std::uint32_t seed) {
  Matrix<float> w = reference::normal_matrix(rows, cols, seed);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < cols; ++c) {
      w(r, c) = std::ldexp(w(r, c), static_cast<int>(r % 5) - 2) + (r % 3 == 1 ? 0.03f : 0.0f);
      if ((r * cols + c) % 61 == 7) w(r, c) *= 9.0f;
    }
  return w;
}

/// binary16, to nearest even, of what is in its range.
double half(double x) {
  int exponent = 0;
  std::frexp(x, &exponent);
  const int last = std::max(exponent - 11, -24);
  return std::ldexp(std::nearbyint(std::ldexp(x, -last)), last);
}

/// What every number of a group is by the plain rule: scale and offset as they are stored.
struct Numbers {
  double scale = 0, offset = 0;
};
std::vector<Numbers> plain_numbers(const Block& b, const std::vector<float>& x) {
  std::vector<Numbers> wanted;
  for (std::size_t first = 0; first < x.size(); first += b.group) {
    const std::size_t end = std::min(first + b.group, x.size());
    double low = b.columns == 0 ? x[first] : 0, high = low, peak = 0;
    for (std::size_t i = first; i < end; ++i) {
      low = std::min(low, double{x[i]});
      high = std::max(high, double{x[i]});
      if (std::fabs(x[i]) > std::fabs(peak) || (std::fabs(x[i]) == std::fabs(peak) && x[i] > 0)) peak = x[i];
    }
    if (b.low < 0)
      wanted.push_back({static_cast<float>(peak / b.low), 0});
    else
      wanted.push_back({float(float(high / b.high) - float(low / b.high)), -low});
  }
  if (b.columns == 0) {
    for (Numbers& n : wanted) n = {half(n.scale), half(n.offset)};
    return wanted;
  }
  double scale_peak = 0, offset_peak = 0;
  for (const Numbers& n : wanted) {
    if (std::fabs(n.scale) > std::fabs(scale_peak)) scale_peak = n.scale;
    offset_peak = std::max(offset_peak, n.offset);
  }
  const double d = half(scale_peak / (b.scale_low < 0 ? b.scale_low : b.scale_high));
  const double m = b.offset_high != 0 ? half(offset_peak / b.offset_high) : 0;
  for (Numbers& n : wanted) {
    const double s =
        d == 0 ? 0 : std::clamp(std::nearbyint(double(float(n.scale / d))), 1.0 * b.scale_low, 1.0 * b.scale_high);
    const double o = m == 0 ? 0 : std::clamp(std::nearbyint(double(float(n.offset / m))), 0.0, 1.0 * b.offset_high);
    n = {s * d, o * m};
  }
  return wanted;
}

TEST(NestedScales, FollowThePlainRule) {
  for (const Block& b : kBlocks)
    for (const std::size_t cols : {std::size_t{1}, std::size_t{40}, std::size_t{256}, std::size_t{700}}) {
      const Matrix<float> w = weights(7, cols, 5);
      const auto q = kvant::quantize(w.view(), *kvant::parse_scheme(b.text));
      ASSERT_TRUE(q) << b.text;
      ASSERT_TRUE(kvant::check(*q)) << b.text << ": " << kvant::check(*q).error().message;
      const Matrix<float> values = kvant::dequantize(*q);
      const std::size_t span = b.columns != 0 ? b.columns : cols;
      for (std::size_t r = 0; r < 7; ++r)
        for (std::size_t first = 0; first < cols; first += span) {
          const std::vector<float> x(w.row(r).begin() + static_cast<std::ptrdiff_t>(first),
                                     w.row(r).begin() + static_cast<std::ptrdiff_t>(std::min(first + span, cols)));
          const std::vector<Numbers> numbers = plain_numbers(b, x);
          for (std::size_t i = 0; i < x.size(); ++i) {
            const Numbers& n = numbers[i / b.group];
            const double level = n.scale == 0
                                     ? 0
                                     : std::clamp(std::nearbyint(double(float((x[i] + float(n.offset)) / n.scale))),
                                                  1.0 * b.low, 1.0 * b.high);
            ASSERT_EQ(values(r, first + i), static_cast<float>(level * n.scale - n.offset))
                << b.text << " row " << r << " column " << first + i << " of " << x[i];
          }
        }
    }
}

double weighted_error(const Matrix<float>& w, const QMatrix& q, const std::vector<float>& weight) {
  const Matrix<float> back = kvant::dequantize(q);
  double sum = 0;
  for (std::size_t r = 0; r < w.rows(); ++r)
    for (std::size_t c = 0; c < w.cols(); ++c)
      sum += weight[c] * std::pow(static_cast<double>(w(r, c)) - static_cast<double>(back(r, c)), 2);
  return sum;
}

TEST(NestedScales, SearchIsNeverWorseThanThePlainRule) {
  for (const Block& b : kBlocks)
    for (const std::size_t cols : {std::size_t{37}, std::size_t{256}, std::size_t{600}})
      for (const bool weighted : {false, true}) {
        const Matrix<float> all = weights(24, cols, 6);
        std::vector<float> importance(cols);
        for (std::size_t c = 0; c < cols; ++c) importance[c] = weighted ? 0.05f + static_cast<float>(c % 7) : 1.0f;
        double plain_sum = 0, searched_sum = 0;
        for (std::size_t r = 0; r < all.rows(); ++r) {  // row by row: none may lose so that another wins
          Matrix<float> w(1, cols);
          std::copy(all.row(r).begin(), all.row(r).end(), w.row(0).begin());
          const auto run = [&](bool search) {
            return weighted_error(w,
                                  *kvant::quantize(w.view(), *kvant::parse_scheme(b.text),
                                                   {.search = search, .column_weights = importance}),
                                  importance);
          };
          const double plain = run(false), searched = run(true);
          EXPECT_LE(searched, plain * (1 + 1e-5)) << b.text << " row " << r;
          plain_sum += plain;
          searched_sum += searched;
        }
        if (cols >= 256) {
          EXPECT_LT(searched_sum, 0.93 * plain_sum) << b.text;
        }
      }
}

/// Offsets are what a group far from zero needs.
TEST(NestedScales, OffsetsFollowAGroupFarFromZero) {
  Matrix<float> w = reference::normal_matrix(4, 64, 7);
  for (std::size_t i = 0; i < w.size(); ++i) w.data()[i] += 2.0f;
  const auto error = [&](const char* text) {
    return weighted_error(w, *kvant::quantize(w.view(), *kvant::parse_scheme(text), {.search = true}),
                          std::vector<float>(64, 1.0f));
  };
  EXPECT_LT(error("uint4-g32-fzero-scale:fp32"), 1e-2 * error("uint4-g32-asym"));
  EXPECT_LT(error("q4_1"), 1e-2 * error("uint4-g32-asym"));
}

TEST(NestedScales, KeepConstantRowsAndRowsOfZeros) {
  for (const Block& b : kBlocks)
    for (const bool search : {false, true}) {
      Matrix<float> w(3, 300);
      for (std::size_t c = 0; c < 300; ++c) w(1, c) = -0.5f;
      for (std::size_t c = 0; c < 300; ++c) w(2, c) = c < 150 ? 0.0f : 0.25f;
      const Matrix<float> back =
          kvant::dequantize(*kvant::quantize(w.view(), *kvant::parse_scheme(b.text), {.search = search}));
      for (std::size_t c = 0; c < 300; ++c) {
        EXPECT_EQ(back(0, c), 0.0f) << b.text;
        EXPECT_NEAR(back(1, c), -0.5f, 0.5e-3) << b.text;
      }
    }
}

/// The same bytes from every tier and any number of threads is tested with all block formats elsewhere; here, that a
/// number beyond its storage is counted.
TEST(NestedScales, CountWhatTheirStorageCannotHold) {
  for (const char* text : {"q4_k", "q6_k", "q4_1", "uint4-g32-fzero"}) {
    Matrix<float> w = weights(2, 256, 8);
    w(1, 3) = 3e8f;
    const auto q = kvant::quantize(w.view(), *kvant::parse_scheme(text), {.search = true});
    ASSERT_TRUE(q) << text;
    EXPECT_EQ(q->clamped_scales, 1u) << text;
    const Matrix<float> back = kvant::dequantize(*q);
    for (std::size_t i = 0; i < back.size(); ++i) EXPECT_TRUE(std::isfinite(back.data()[i])) << text;
  }
}

}  // namespace
