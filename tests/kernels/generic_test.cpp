// SPDX-License-Identifier: Apache-2.0
// The generic tier, which defines what every other one computes, against double precision on unpacked weights.
#include "kvant/kernels/generic.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "gemm_problem.hpp"

namespace kvant::test {
namespace {

namespace generic = kernels::generic;

constexpr double kUnit = 0x1p-24;  // half the distance from 1 to the next float

std::vector<WeightShape> shapes(Packing packing) {
  std::vector<WeightShape> all;
  const bool grouped = packing != Packing::f32 && packing != Packing::bf16;
  for (const std::size_t n : {std::size_t{1}, std::size_t{33}, std::size_t{70}})
    for (const std::size_t k : {std::size_t{1}, std::size_t{9}, std::size_t{64}, std::size_t{172}})
      for (const std::size_t group : {std::size_t{32}, std::size_t{64}, k})
        for (const bool scales_f32 : {false, true})
          for (const int record : {0, 1, 2})  // no zero points, some, offsets
            if (grouped ? group <= k : group == k && !scales_f32 && record == 0)
              all.push_back({packing, n, k, grouped ? group : 0, scales_f32, record == 1, record == 2});
  return all;
}

/// y against the sum of weight(row, j) * activation(j), within `roundings` half units of the sum of the magnitudes of
/// all that is added up.
template <class Weight, class Magnitude, class Activation>
void expect_product(const PlainWeights& w, const std::vector<float>& y, std::size_t m, const std::vector<float>& bias,
                    std::size_t roundings, Weight weight, Magnitude magnitude, Activation activation) {
  for (std::size_t i = 0; i < m; ++i)
    for (std::size_t row = 0; row < w.n; ++row) {
      double expected = bias.empty() ? 0.0 : double{bias[row]};
      double size = std::fabs(expected);
      for (std::size_t j = 0; j < w.k; ++j) {
        expected += weight(row, j) * activation(i, j);
        size += magnitude(row, j) * std::fabs(activation(i, j));
      }
      ASSERT_NEAR(double{y[i * w.n + row]}, expected, static_cast<double>(roundings) * kUnit * size)
          << "n=" << w.n << " k=" << w.k << " group=" << w.group << " row " << i << " feature " << row;
    }
}

/// What a weight contributes at most before its zero point is taken off: |level| + |zero point|, times the scale.
double reach(const PlainWeights& w, std::size_t row, std::size_t col) {
  if (!w.grouped()) return std::fabs(double{w.values[row * w.k + col]});
  const std::size_t at = row * w.groups() + col / w.group;
  return (std::fabs(w.level(row, col)) + (w.has_zeros ? std::fabs(double(w.zeros[at] - w.zero)) : 0.0)) *
             std::fabs(double{w.scales[at]}) +
         std::fabs(w.offset(at));
}

void expect_float_product(Packing packing, kernels::Gemm gemm) {
  std::uint64_t seed = 0;
  for (const WeightShape& shape : shapes(packing)) {
    const PlainWeights w = random_weights(shape, ++seed);
    const PlainActivations a = random_activations(3, shape.k, shape.group, seed);
    const std::vector<float> bias(seed % 2 == 0 ? shape.n : 0, 0.75f);
    const std::vector<float> y = GemmProblem(w, a, bias, Edge::end).run(gemm, 3, Edge::end);
    // A rounding per input and one per group on the way, the sums of activations, the zero point, the bias.
    expect_product(
        w, y, 3, bias, 2 * shape.k + w.groups() + 4, [&](std::size_t row, std::size_t j) { return w.value(row, j); },
        [&](std::size_t row, std::size_t j) { return reach(w, row, j); },
        [&](std::size_t i, std::size_t j) { return double{a.f32[i * a.lda + j]}; });
  }
}

void expect_integer_product(Packing packing, kernels::Gemm gemm) {
  std::uint64_t seed = 0;
  for (const WeightShape& shape : shapes(packing)) {
    const PlainWeights w = random_weights(shape, ++seed);
    const PlainActivations a = random_activations(3, shape.k, shape.group, seed);
    const std::vector<float> bias(seed % 2 == 0 ? shape.n : 0, 0.75f);
    const std::vector<float> y = GemmProblem(w, a, bias, Edge::end).run(gemm, 3, Edge::end);
    // Exact within a group: what rounds is its conversion, its product, its offset's, and the scale of the row.
    expect_product(
        w, y, 3, bias, 3 * w.groups() + 2, [&](std::size_t row, std::size_t j) { return w.integer_value(row, j); },
        [&](std::size_t row, std::size_t j) {
          const double offset = w.offset(row * w.groups() + j / w.group);
          return std::fabs(w.integer_value(row, j) + offset) + std::fabs(offset);
        },
        [&](std::size_t i, std::size_t j) { return a.s8[i * a.lda + j] * double{a.scales[i]}; });
  }
}

TEST(Generic, MultipliesFloatWeights) { expect_float_product(Packing::f32, &generic::gemm_f32_f32); }
TEST(Generic, MultipliesBfloat16Weights) { expect_float_product(Packing::bf16, &generic::gemm_bf16_f32); }
TEST(Generic, MultipliesByteCodes) { expect_float_product(Packing::w8, &generic::gemm_w8_f32); }
TEST(Generic, MultipliesNibbleCodes) { expect_float_product(Packing::w4, &generic::gemm_w4_f32); }
TEST(Generic, MultipliesCodesOfTwoBits) { expect_float_product(Packing::w2, &generic::gemm_w2_f32); }
TEST(Generic, MultipliesCodesOfOneBit) { expect_float_product(Packing::w1, &generic::gemm_w1_f32); }
TEST(Generic, MultipliesByteCodesByIntegers) { expect_integer_product(Packing::w8, &generic::gemm_w8_s8); }
TEST(Generic, MultipliesNibbleCodesByIntegers) { expect_integer_product(Packing::w4, &generic::gemm_w4_s8); }

TEST(Generic, MultipliesCodesOfTwoBitsByIntegers) { expect_integer_product(Packing::w2, &generic::gemm_w2_s8); }
TEST(Generic, MultipliesCodesOfOneBitByIntegers) { expect_integer_product(Packing::w1, &generic::gemm_w1_s8); }

// Byte codes that have levels: twice the integers that they would be, so that twice the product is expected.
TEST(Generic, MultipliesByteCodesByTheirLevels) {
  const PlainWeights w = random_weights({Packing::w8, 70, 172, 32, true, true}, 3);
  const PlainActivations a = random_activations(3, 172, 32, 3);
  GemmProblem problem(w, a, {}, Edge::end);
  problem.shape.code_step = 0;
  for (int code = 0; code < 256; ++code) problem.shape.levels[code] = static_cast<float>(2 * code - 300);
  const auto level = [&](std::size_t row, std::size_t j) {
    const std::size_t at = row * w.groups() + j / 32;
    const double zero = static_cast<double>(w.zeros[at]) - w.zero;
    return (2.0 * w.codes[row * w.k + j] - 300 - zero) * w.scales[at];
  };
  expect_product(
      w, problem.run(&generic::gemm_w8_f32, 3, Edge::end), 3, {}, 2 * 172 + w.groups() + 4, level,
      [&](std::size_t row, std::size_t j) { return 1000.0 * std::fabs(w.scales[row * w.groups() + j / 32]); },
      [&](std::size_t i, std::size_t j) { return double{a.f32[i * a.lda + j]}; });
}

// scale * (product + bias), onto what is there or not, in each type of output.
TEST(Generic, ScalesAccumulatesAndStoresOutputs) {
  const PlainWeights w = random_weights({Packing::w4, 5, 64, 32, false, false}, 1);
  const std::vector<float> bias{1, 2, 3, 4, 5};
  GemmProblem problem(w, random_activations(2, 64, 32, 1), bias, Edge::end);
  for (const kernels::Gemm gemm : {&generic::gemm_w4_f32, &generic::gemm_w4_s8}) {
    problem.args.scale = 1.0f;
    problem.args.accumulate = false;
    const std::vector<float> plain = problem.run(gemm, 2, Edge::end);
    problem.args.scale = -0.3f;
    const std::vector<float> scaled = problem.run(gemm, 2, Edge::end);
    problem.args.accumulate = true;
    const std::vector<float> added = problem.run(gemm, 2, Edge::end, 100.0f);
    const std::vector<std::uint16_t> held(10, 0x42c8);  // 100 in bfloat16, 3.390625 in float16
    const auto bf16_codes = problem.run_16(gemm, 2, kernels::OutputType::bf16, held, Edge::end);
    const auto fp16_codes = problem.run_16(gemm, 2, kernels::OutputType::fp16, held, Edge::end);
    for (std::size_t i = 0; i < 10; ++i) {
      EXPECT_EQ(scaled[i], plain[i] * -0.3f);
      EXPECT_EQ(added[i], 100.0f + scaled[i]);
      EXPECT_EQ(bf16_codes[i], bf16::encode(100.0f + scaled[i]));
      EXPECT_EQ(fp16_codes[i], fp16::encode(3.390625f + scaled[i]));
    }
  }
}

TEST(Generic, SumsGroupsOverSixteenLanes) {
  std::vector<float> x(40, 1.0f);
  x[0] = 0x1p24f;  // lane 0 of the first group: 2^24 + 1 + 1 is 2^24 there, and lanes 1 to 15 are added later
  std::vector<float> sums(2);
  generic::sum_groups_f32({x.data(), 1, 40, 40, 33, sums.data()});
  EXPECT_EQ(sums[0], 0x1p24f + 30);
  EXPECT_EQ(sums[1], 7.0f);
}

TEST(Generic, AddsNothingOverNoInputs) {
  const PlainWeights w = random_weights({Packing::w4, 5, 0, 8, false, false}, 1);
  const PlainActivations a = random_activations(2, 0, 8, 1);
  const std::vector<float> bias{1, 2, 3, 4, 5};
  EXPECT_EQ(GemmProblem(w, a, bias, Edge::end).run(&generic::gemm_w4_f32, 2, Edge::end),
            (std::vector<float>{1, 2, 3, 4, 5, 1, 2, 3, 4, 5}));
  EXPECT_EQ(GemmProblem(w, a, {}, Edge::end).run(&generic::gemm_w4_s8, 2, Edge::end), std::vector<float>(10, 0.0f));
}

TEST(Generic, GathersTheValuesThatTheWeightsStandFor) {
  for (const Packing packing : {Packing::f32, Packing::bf16, Packing::w8, Packing::w4, Packing::w2, Packing::w1})
    for (const WeightShape& shape : shapes(packing)) {
      const PlainWeights w = random_weights(shape, 7);
      const GemmProblem problem(w, random_activations(1, shape.k, shape.group, 7), {}, Edge::end);
      const kernels::GemmArgs& g = problem.args;
      const std::vector<std::int32_t> ids{static_cast<std::int32_t>(shape.n - 1), 0};
      std::vector<float> out(2 * shape.k);
      const kernels::GatherArgs args{g.weights, g.shape, ids.data(), 2, out.data(), shape.k};
      const auto gather = packing == Packing::f32    ? &generic::gather_f32
                          : packing == Packing::bf16 ? &generic::gather_bf16
                          : packing == Packing::w4   ? &generic::gather_w4
                          : packing == Packing::w2   ? &generic::gather_w2
                          : packing == Packing::w1   ? &generic::gather_w1
                                                     : &generic::gather_w8;
      gather(args);
      for (std::size_t i = 0; i < 2; ++i)
        for (std::size_t j = 0; j < shape.k; ++j) {
          const auto row = static_cast<std::size_t>(ids[i]);
          ASSERT_NEAR(double{out[i * shape.k + j]}, w.value(row, j), 2 * kUnit * reach(w, row, j));
        }
    }
}

TEST(Generic, QuantizesActivationsWithinHalfAStep) {
  std::mt19937_64 rng(1);
  std::normal_distribution<float> normal;
  constexpr std::size_t kK = 100;
  std::vector<float> x(kK);
  for (float& v : x) v = normal(rng);
  std::vector<std::int8_t> q(104, 55);
  float scale = 0;
  std::vector<std::int32_t> sums(4);
  generic::quantize_rows_s8({x.data(), 1, kK, kK, 32, q.data(), 104, &scale, sums.data()});
  std::int32_t total = 0;
  for (std::size_t j = 0; j < kK; ++j) {
    EXPECT_NEAR(double{x[j]}, q[j] * double{scale}, double{scale} * (0.5 + 128 * 3 * kUnit)) << j;
    total += q[j];
  }
  EXPECT_EQ(sums[0] + sums[1] + sums[2] + sums[3], total);
  for (std::size_t j = kK; j < q.size(); ++j) EXPECT_EQ(q[j], 0) << "padding";
}

TEST(Generic, QuantizesARowOfZerosToZerosWithScaleZero) {
  const std::vector<float> x{0.0f, -0.0f, 0x1p-149f, 0.0f};
  std::vector<std::int8_t> q(8, 55);
  float scale = 9;
  std::int32_t sum = 9;
  generic::quantize_rows_s8({x.data(), 1, 4, 4, 8, q.data(), 8, &scale, &sum});
  EXPECT_EQ(q, std::vector<std::int8_t>(8, 0));
  EXPECT_EQ(scale, 0.0f);
  EXPECT_EQ(sum, 0);
}

TEST(Generic, QuantizesTheLargestMagnitudeToTheEndOfItsSign) {
  const std::vector<float> x{-255.0f, 255.0f, 128.0f, -127.0f};  // of scale 2: +-127.5, 64, -63.5
  std::vector<std::int8_t> q(8);
  float scale = 0;
  std::int32_t sum = 0;
  generic::quantize_rows_s8({x.data(), 1, 4, 4, 8, q.data(), 8, &scale, &sum});
  EXPECT_EQ(q, (std::vector<std::int8_t>{-128, 127, 64, -64, 0, 0, 0, 0}));
}

TEST(Generic, QuantizesInfToTheOutermostCodesAndNaNToZero) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  const std::vector<float> x{kInf, -kInf, std::numeric_limits<float>::quiet_NaN(), 2.0f};
  std::vector<std::int8_t> q(8);
  float scale = 0;
  std::int32_t sum = 0;
  generic::quantize_rows_s8({x.data(), 1, 4, 4, 8, q.data(), 8, &scale, &sum});
  EXPECT_EQ(q, (std::vector<std::int8_t>{127, -128, 0, 127, 0, 0, 0, 0}));
  EXPECT_EQ(scale, 2.0f / 127.5f);
  EXPECT_EQ(sum, 126);
}

TEST(Generic, AddsOuterProductsToTheUpperTriangle) {
  constexpr std::size_t kN = 7;
  constexpr std::size_t kRows = 20;
  std::mt19937_64 rng(1);
  std::normal_distribution<float> normal;
  std::vector<float> x(kRows * kN);
  for (float& v : x) v = normal(rng);
  std::vector<float> c(kN * kN, 0.5f);
  generic::syrk_f32({x.data(), kRows, kN, kN, c.data(), kN, 2, 5});
  for (std::size_t i = 0; i < kN; ++i)
    for (std::size_t j = 0; j < kN; ++j) {
      if (i < 2 || i >= 5 || j < i) {
        EXPECT_EQ(c[i * kN + j], 0.5f) << i << ", " << j;
        continue;
      }
      double expected = 0.5;
      double size = 0.5;
      for (std::size_t r = 0; r < kRows; ++r) {
        const double term = double{x[r * kN + i]} * double{x[r * kN + j]};
        expected += term;
        size += std::fabs(term);
      }
      EXPECT_NEAR(double{c[i * kN + j]}, expected, (kRows + 1) * kUnit * size) << i << ", " << j;
    }
}

}  // namespace
}  // namespace kvant::test
