// SPDX-License-Identifier: Apache-2.0
// Every tier gives the bits of the generic tier, for every slot, on ragged shapes, and touches nothing else: all
// buffers lie against inaccessible pages, once at their end and once at their start.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "gemm_problem.hpp"
#include "kernel_format.hpp"
#include "kernels/ops.hpp"
#include "kvant/kernels/tiers.hpp"
#include "kvant/numeric/formats.hpp"
#include "kvant/quant/choose.hpp"
#include "kvant/quant/grid.hpp"
#include "kvant/quant/scheme.hpp"
#include "support/test_cases.hpp"

namespace kvant::test {
namespace {

using kernels::Kernels;
using kernels::Op;

constexpr std::array<std::size_t, 12> kN{1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 200};
constexpr std::array<std::size_t, 10> kK{0, 1, 7, 8, 9, 31, 64, 100, 172, 256};
constexpr std::array<std::size_t, 16> kM{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 17, 33};
constexpr std::size_t kMostRows = 33;
constexpr std::array<std::size_t, 14> kLengths{1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 64, 100, 172, 256};

Packing packing_of(const Op& op) {
  constexpr std::array kPackings{Packing::f32, Packing::bf16, Packing::w8, Packing::w4, Packing::w2, Packing::w1};
  return kPackings.at(static_cast<std::size_t>(op.layout->layout));
}

/// Groups to try for k inputs: multiples of the layout's step, and the whole row; layouts without groups have one
/// entry.
std::vector<std::size_t> groups_of(Packing packing, std::size_t k) {
  if (packing == Packing::f32 || packing == Packing::bf16) return {0};
  std::vector<std::size_t> groups{8, 32, 64, 128};
  const std::size_t step = packing == Packing::w1 ? 32 : packing == Packing::w2 ? 16 : 8;
  std::erase_if(groups, [&](std::size_t g) { return g >= k || g % step != 0; });
  groups.push_back(std::max<std::size_t>(k, 1));
  return groups;
}

std::vector<WeightShape> shapes_of(Packing packing) {
  std::vector<WeightShape> shapes;
  std::size_t count = 0;
  for (const std::size_t n : kN)
    for (const std::size_t k : kK)
      for (const std::size_t group : groups_of(packing, k))
        for (const bool scales_f32 : {false, true})
          for (const int record : {0, 1, 2})  // no zero points, some, offsets
            if ((group != 0 || (!scales_f32 && record == 0)) && count++ % test_stride() == 0)
              shapes.push_back({packing, n, k, group, scales_f32, record == 1, record == 2});
  return shapes;
}

std::string describe_shape(const WeightShape& s) {
  return "n=" + std::to_string(s.n) + " k=" + std::to_string(s.k) + " group=" + std::to_string(s.group) +
         (s.scales_f32 ? " f32" : " f16") + (s.has_zeros ? " zeros" : "") + (s.has_offsets ? " offsets" : "");
}

std::vector<float> random_vector(std::size_t n, std::uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::normal_distribution<float> normal;
  std::vector<float> v(n);
  for (float& x : v) x = normal(rng);
  return v;
}

const Kernels& generic() { return **kernels::find_tier("generic"); }

void check_gemm(const Op& op, kernels::Gemm gemm, kernels::Gemm reference) {
  const Packing packing = packing_of(op);
  std::uint64_t seed = 1;
  for (const WeightShape& shape : shapes_of(packing)) {
    ++seed;
    const PlainWeights w = random_weights(shape, seed);
    const PlainActivations a = random_activations(kMostRows, shape.k, shape.group, seed + 1000);
    const std::vector<float> bias = random_vector(seed % 3 == 0 ? 0 : shape.n, seed);
    const GemmProblem at_end(w, a, bias, Edge::end);
    const GemmProblem at_start(w, a, bias, Edge::start);
    const std::vector<float> expected = at_end.run(reference, kMostRows, Edge::end);
    for (const std::size_t m : kM) {
      const Edge edge = m % 2 == seed % 2 ? Edge::end : Edge::start;
      const std::vector<float> y = (edge == Edge::end ? at_end : at_start).run(gemm, m, edge);
      const std::ptrdiff_t at = first_difference(y.data(), expected.data(), y.size());
      ASSERT_EQ(at, -1) << describe_shape(shape) << " m=" << m << ": row " << static_cast<std::size_t>(at) / shape.n
                        << " column " << static_cast<std::size_t>(at) % shape.n << " is "
                        << y[static_cast<std::size_t>(at)] << ", not " << expected[static_cast<std::size_t>(at)];
    }
  }
}

/// Inf, NaN, huge and subnormal values, in activations, weights, scales and bias.
void check_gemm_specials(const Op& op, kernels::Gemm gemm, kernels::Gemm reference) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr std::array kSpecials{kInf, -kInf, std::numeric_limits<float>::quiet_NaN(), 3e38f, -3e38f, 1e-42f, -0.0f};
  const Packing packing = packing_of(op);
  for (std::uint64_t seed = 0; seed < 24; ++seed) {
    const WeightShape shape{packing,
                            70,
                            100,
                            groups_of(packing, 100)[seed % groups_of(packing, 100).size()],
                            seed % 2 == 0 || packing == Packing::f32,
                            seed % 3 == 0,
                            seed % 3 == 1 && packing != Packing::f32 && packing != Packing::bf16};
    PlainWeights w = random_weights(shape, seed);
    PlainActivations a = random_activations(7, shape.k, shape.group, seed);
    std::vector<float> bias = random_vector(shape.n, seed);
    const float special = kSpecials[seed % kSpecials.size()];
    a.f32[3 * a.lda + seed % shape.k] = special;
    a.scales[1] = special;
    bias[seed % shape.n] = special;
    if (!w.values.empty() && packing == Packing::f32) w.values[seed * 37 % w.values.size()] = special;
    if (!w.scales.empty()) {
      w.scales[seed * 37 % w.scales.size()] = special;
      w.halfs[seed * 37 % w.scales.size()] = seed % 2 == 0 ? 0x7c00 : 0x7e01;
    }
    const GemmProblem problem(w, a, bias, Edge::end);
    for (const std::size_t m : {std::size_t{1}, std::size_t{2}, std::size_t{4}, std::size_t{7}}) {
      const std::vector<float> expected = problem.run(reference, m, Edge::end);
      const std::vector<float> y = problem.run(gemm, m, Edge::end);
      EXPECT_EQ(first_difference(y.data(), expected.data(), y.size()), -1) << op.name << " seed " << seed << " m=" << m;
    }
  }
}

/// Codes of weights and activations at the ends of their ranges, in runs as long as sums of 16 bits could bear and
/// longer.
void check_gemm_extremes(const Op& op, kernels::Gemm gemm, kernels::Gemm reference) {
  if (op.activations != kernels::ActivationType::s8) return;
  const Packing packing = packing_of(op);
  constexpr std::size_t kRows = 9;
  for (const bool has_zeros : {false, true}) {
    const WeightShape shape{packing, 70, 1100, 1100, true, has_zeros};
    PlainWeights w = random_weights(shape, 8);
    const auto most = static_cast<std::uint8_t>((1u << w.bits()) - 1);
    for (std::size_t row = 0; row < 8; ++row)  // all at one end or the other, or in turns
      for (std::size_t j = 0; j < w.k; ++j)
        w.codes[row * w.k + j] = (row < 2 ? row == 1 : (j >> (row - 2) & 1) != 0) ? most : std::uint8_t{0};
    PlainActivations a = random_activations(kRows, shape.k, shape.group, 9);
    for (std::size_t i = 0; i < kRows; ++i) {
      std::int32_t sum = 0;
      for (std::size_t j = 0; j < w.k; ++j) {
        std::int8_t& x = a.s8[i * a.lda + j];
        if (i < 6) x = (i < 2 ? i == 1 : (j >> (i - 2) & 1) != 0) ? std::int8_t{127} : std::int8_t{-128};
        if (i >= 6 && x == -128) x = -127;
        if (i >= 6 && j % (w.k / (i - 5)) == 7) x = -128;  // one, two, three of them
        sum += x;
      }
      a.sums_s32[i] = sum;
    }
    const GemmProblem problem(w, a, {}, Edge::end);
    for (const std::size_t m : {std::size_t{1}, std::size_t{2}, std::size_t{4}, kRows}) {
      const std::vector<float> expected = problem.run(reference, m, Edge::end);
      const std::vector<float> y = problem.run(gemm, m, Edge::end);
      EXPECT_EQ(first_difference(y.data(), expected.data(), y.size()), -1) << op.name << " m=" << m;
    }
  }
}

/// Panels [begin, end) write their own columns and no others, and rows of y may be wider than n.
void check_gemm_subranges(const Op& op, kernels::Gemm gemm, kernels::Gemm reference) {
  constexpr float kFill = -7777.0f;
  const Packing packing = packing_of(op);
  const WeightShape shape{packing, 203,  72, packing == Packing::f32 || packing == Packing::bf16 ? 0u : 32u,
                          false,   false};
  const PlainWeights w = random_weights(shape, 5);
  const PlainActivations a = random_activations(13, shape.k, shape.group, 6);
  GemmProblem problem(w, a, {}, Edge::end);
  problem.args.ldy = shape.n + 5;
  for (const std::size_t m : {std::size_t{1}, std::size_t{3}, std::size_t{13}}) {
    const std::vector<float> whole = problem.run(reference, m, Edge::end, kFill);
    for (std::size_t begin = 0; begin <= w.panels(); ++begin)
      for (std::size_t end = begin; end <= w.panels(); ++end) {
        problem.args.panel_begin = begin;
        problem.args.panel_end = end;
        const std::vector<float> y = problem.run(gemm, m, Edge::end, kFill);
        for (std::size_t i = 0; i < y.size(); ++i) {
          const std::size_t column = i % problem.args.ldy;
          const bool inside = column < w.n && column / w.columns() >= begin && column / w.columns() < end;
          ASSERT_TRUE(same_bits(y[i], inside ? whole[i] : kFill))
              << "panels " << begin << " to " << end << ", m=" << m << ", row " << i / problem.args.ldy << ", column "
              << column;
        }
      }
    problem.args.panel_begin = 0;
    problem.args.panel_end = w.panels();
  }
}

/// Of kernels that may add up in another order: within a rounding for each operation of the sum of what is added up.
testing::AssertionResult is_within_rounding(const Op& op, kernels::Gemm gemm, kernels::Gemm reference) {
  for (const WeightShape& shape : shapes_of(packing_of(op))) {
    const PlainWeights w = random_weights(shape, 3);
    PlainActivations a = random_activations(4, shape.k, shape.group, 4);
    const GemmProblem problem(w, a, {}, Edge::end);
    const std::vector<float> expected = problem.run(reference, 4, Edge::end);
    const std::vector<float> y = problem.run(gemm, 4, Edge::end);
    for (std::size_t i = 0; i < y.size(); ++i) {
      double size = 0;
      for (std::size_t j = 0; j < shape.k; ++j)
        size += std::fabs(w.value(i % shape.n, j) * static_cast<double>(a.f32[i / shape.n * a.lda + j]));
      const double bound = static_cast<double>(2 * shape.k + w.groups() + 4) * 0x1p-23 * size;
      if (!(std::fabs(static_cast<double>(y[i]) - static_cast<double>(expected[i])) <= bound))
        return testing::AssertionFailure() << describe_shape(shape) << ", output " << i << ": " << y[i] << ", not "
                                           << expected[i] << " within " << bound;
    }
  }
  return testing::AssertionSuccess();
}

/// A scale, sums onto what y holds, and outputs of 16 bits, among them NaN, Inf and what becomes so.
void check_gemm_epilogues(const Op& op, kernels::Gemm gemm, kernels::Gemm reference) {
  const Packing packing = packing_of(op);
  std::mt19937_64 rng(4);
  for (const std::size_t n : {std::size_t{1}, std::size_t{33}, std::size_t{77}}) {
    const WeightShape shape{packing, n,    40, packing == Packing::f32 || packing == Packing::bf16 ? 0u : 40u,
                            true,    false};
    const PlainWeights w = random_weights(shape, 5);
    PlainActivations a = random_activations(5, shape.k, shape.group, 6);
    a.f32[2 * a.lda + 3] = a.scales[2] = std::numeric_limits<float>::quiet_NaN();
    a.f32[3 * a.lda + 3] = a.scales[3] = 3e38f;
    GemmProblem problem(w, a, random_vector(n, 7), Edge::end);
    std::vector<std::uint16_t> held(5 * n);
    for (std::uint16_t& h : held) h = static_cast<std::uint16_t>(rng());
    for (const float scale : {1.0f, -0.3f, 1e6f})
      for (const bool accumulate : {false, true}) {
        problem.args.scale = scale;
        problem.args.accumulate = accumulate;
        for (const std::size_t m : {std::size_t{1}, std::size_t{2}, std::size_t{5}}) {
          const std::vector<float> y = problem.run(gemm, m, Edge::end, 0.7f);
          const std::vector<float> expected = problem.run(reference, m, Edge::end, 0.7f);
          ASSERT_EQ(first_difference(y.data(), expected.data(), y.size()), -1) << n << " " << scale << accumulate;
          for (const auto type : {kernels::OutputType::bf16, kernels::OutputType::fp16})
            ASSERT_EQ(problem.run_16(gemm, m, type, held, Edge::end),
                      problem.run_16(reference, m, type, held, Edge::start))
                << n << " " << scale << accumulate;
        }
      }
  }
}

/// The levels of codes that are minifloats of 8 bits, by the definition of GemmArgs::mantissa_bits; of any codes for 0.
std::vector<float> levels_of_bytes(std::uint32_t mantissa_bits, float unit) {
  if (mantissa_bits == 0) return random_vector(256, 3);
  std::vector<float> levels(256);
  for (int code = 0; code < 256; ++code) {
    const int fields = code & 127, exponent = fields >> mantissa_bits;
    const int mantissa = (fields & ((1 << mantissa_bits) - 1)) + (exponent != 0 ? 1 << mantissa_bits : 0);
    const double value =
        std::ldexp(mantissa, std::max(exponent, 1) - 127 - static_cast<int>(mantissa_bits)) * double{unit};
    levels[static_cast<std::size_t>(code)] = static_cast<float>((code & 128) != 0 ? -value : value);
  }
  return levels;
}

/// w8 whose codes are floats.
void check_gemm_levels(const Op& op, kernels::Gemm gemm, kernels::Gemm reference) {
  if (packing_of(op) != Packing::w8 || op.activations != kernels::ActivationType::f32) return;
  for (const std::uint32_t mantissa_bits : {0u, 2u, 3u, 4u}) {
    const float unit = std::ldexp(1.0f, 120 - static_cast<int>(mantissa_bits));
    const std::vector<float> levels = levels_of_bytes(mantissa_bits, unit);
    for (const std::size_t n : {std::size_t{1}, std::size_t{65}, std::size_t{200}})
      for (const std::size_t k : {std::size_t{7}, std::size_t{64}, std::size_t{172}})
        for (const bool has_zeros : {false, true}) {
          const WeightShape shape{Packing::w8, n, k, 32, has_zeros, has_zeros};
          GemmProblem problem(random_weights(shape, n + k), random_activations(9, k, 32, k), {}, Edge::end);
          problem.shape.code_step = 0;
          std::copy(levels.begin(), levels.end(), problem.shape.levels);
          problem.shape.mantissa_bits = mantissa_bits;
          problem.shape.level_unit = unit;
          for (const std::size_t m : {std::size_t{1}, std::size_t{3}, std::size_t{9}}) {
            const std::vector<float> y = problem.run(gemm, m, Edge::end);
            const std::vector<float> expected = problem.run(reference, m, Edge::end);
            ASSERT_EQ(first_difference(y.data(), expected.data(), y.size()), -1)
                << mantissa_bits << ": " << describe_shape(shape) << " m=" << m;
          }
        }
  }
}

bool is_inexact(const Op& op, const Kernels& table) {
  for (const kernels::Tier& tier : kernels::tiers())
    if (tier.name == table.tier)
      return (" " + std::string(tier.inexact) + " ").find(" " + std::string(op.name) + " ") != std::string::npos;
  return false;
}

void check(const Op& op, kernels::Gemm Kernels::*slot, const Kernels& tier) {
  if (is_inexact(op, tier)) {
    EXPECT_TRUE(is_within_rounding(op, tier.*slot, generic().*slot));
    return;
  }
  check_gemm(op, tier.*slot, generic().*slot);
  check_gemm_specials(op, tier.*slot, generic().*slot);
  check_gemm_extremes(op, tier.*slot, generic().*slot);
  check_gemm_subranges(op, tier.*slot, generic().*slot);
  check_gemm_epilogues(op, tier.*slot, generic().*slot);
  check_gemm_levels(op, tier.*slot, generic().*slot);
}

void check(const Op& op, kernels::Gather Kernels::*slot, const Kernels& tier) {
  std::uint64_t seed = 1;
  for (const WeightShape& shape : shapes_of(packing_of(op))) {
    const PlainWeights w = random_weights(shape, ++seed);
    const GemmProblem problem(w, random_activations(1, shape.k, shape.group, 1), {}, Edge::end);
    const kernels::GemmArgs& g = problem.args;
    const std::vector<std::int32_t> ids{0, static_cast<std::int32_t>(shape.n - 1),
                                        static_cast<std::int32_t>(seed % shape.n)};
    const GuardedBuffer<std::int32_t> guarded_ids(ids, Edge::end);
    std::array<std::vector<float>, 2> results;
    for (std::size_t i = 0; i < 2; ++i) {
      const GuardedBuffer<float> out(ids.size() * shape.k, Edge::end);
      const kernels::GatherArgs args{g.weights, g.shape, guarded_ids.data(), ids.size(), out.data(), shape.k};
      ((i == 0 ? generic() : tier).*slot)(args);
      results[i].assign(out.span().begin(), out.span().end());
    }
    ASSERT_EQ(first_difference(results[0].data(), results[1].data(), results[0].size()), -1) << describe_shape(shape);
  }
}

struct QuantizedRows {
  std::vector<std::int8_t> q;
  std::vector<float> scales;
  std::vector<std::int32_t> sums;
};

QuantizedRows quantize(const Kernels& tier, const std::vector<float>& x, std::size_t k, std::size_t group, Edge edge) {
  const std::size_t rows = x.size() / k;
  const std::size_t ldq =
      (k + kernels::kActivationPadding - 1) / kernels::kActivationPadding * kernels::kActivationPadding;
  const std::size_t groups = group != 0 ? (k + group - 1) / group : 0;
  const GuardedBuffer<float> input(x, edge);
  const GuardedBuffer<std::int8_t> q(rows * ldq, edge);
  const GuardedBuffer<float> scales(rows, edge);
  const GuardedBuffer<std::int32_t> sums(rows * groups, edge);
  std::fill(q.span().begin(), q.span().end(), std::int8_t{55});
  tier.quantize_rows_s8({input.data(), rows, k, k, group, q.data(), ldq, scales.data(), sums.data()});
  return {{q.span().begin(), q.span().end()},
          {scales.span().begin(), scales.span().end()},
          {sums.span().begin(), sums.span().end()}};
}

/// No rows are not touched; a row of no elements is all padding, with scale 0.
void check_empty_rows(void (*quantize_rows)(const kernels::QuantizeRowsArgs&) noexcept) {
  const GuardedBuffer<std::int8_t> q(64, Edge::end);
  const GuardedBuffer<float> scales(2, Edge::end);
  std::fill(q.span().begin(), q.span().end(), std::int8_t{55});
  quantize_rows({nullptr, 0, 40, 40, 8, nullptr, 64, nullptr, nullptr});
  quantize_rows({nullptr, 2, 0, 0, 8, q.data(), 32, scales.data(), nullptr});
  EXPECT_EQ(std::count(q.span().begin(), q.span().end(), 0), 64);
  EXPECT_EQ(scales.span()[0], 0.0f);
  EXPECT_EQ(scales.span()[1], 0.0f);
}

void check(const Op&, decltype(&Kernels::quantize_rows_s8) slot, const Kernels& tier) {
  ASSERT_NE(tier.*slot, nullptr);
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr std::array kSpecials{0.0f,    -0.0f,  kInf,  -kInf, std::numeric_limits<float>::quiet_NaN(),
                                 3.4e38f, 1e-38f, 1e-45f};
  for (const std::size_t k : kLengths)
    for (const std::size_t group :
         {std::size_t{0}, std::size_t{8}, std::size_t{24}, std::size_t{32}, std::size_t{128}, k})
      for (std::uint64_t seed = 0; seed < 12; ++seed) {
        std::vector<float> x = random_vector(5 * k, seed * 1000 + k);
        for (std::size_t j = 0; j < k; ++j) {
          x[k + j] = kSpecials[seed % kSpecials.size()];        // a whole row of one special value
          x[2 * k + j] = static_cast<float>(j % 256) - 127.5f;  // ties
          x[3 * k + j] *= std::ldexp(1.0f, static_cast<int>(seed) * 20 - 140);
        }
        x[4 * k + seed % k] = kSpecials[seed % kSpecials.size()];
        const QuantizedRows expected = quantize(generic(), x, k, group, Edge::end);
        for (const Edge edge : {Edge::start, Edge::end}) {
          const QuantizedRows got = quantize(tier, x, k, group, edge);
          ASSERT_EQ(got.q, expected.q) << "k=" << k << " group=" << group << " seed=" << seed;
          ASSERT_EQ(got.sums, expected.sums) << "k=" << k << " group=" << group << " seed=" << seed;
          ASSERT_EQ(std::memcmp(got.scales.data(), expected.scales.data(), 5 * sizeof(float)), 0)
              << "k=" << k << " seed=" << seed;
        }
      }
  check_empty_rows(tier.*slot);
}

void check(const Op&, decltype(&Kernels::sum_groups_f32) slot, const Kernels& tier) {
  ASSERT_NE(tier.*slot, nullptr);
  for (const std::size_t k : kLengths)
    for (const std::size_t group : {std::size_t{1}, std::size_t{8}, std::size_t{24}, std::size_t{32}, k, k + 5}) {
      const std::size_t groups = (k + group - 1) / group;
      std::vector<float> x = random_vector(3 * k, k);
      x[k / 2] = std::numeric_limits<float>::infinity();
      x[k + k / 2] = -0.0f;
      for (const Edge edge : {Edge::start, Edge::end}) {
        const GuardedBuffer<float> input(x, edge);
        std::array<std::vector<float>, 2> results;
        for (std::size_t i = 0; i < 2; ++i) {
          const GuardedBuffer<float> sums(3 * groups, edge);
          ((i == 0 ? generic() : tier).*slot)({input.data(), 3, k, k, group, sums.data()});
          results[i].assign(sums.span().begin(), sums.span().end());
        }
        ASSERT_EQ(first_difference(results[0].data(), results[1].data(), 3 * groups), -1) << k << ", " << group;
      }
    }
  (tier.*slot)({nullptr, 0, 40, 40, 8, nullptr});
  (tier.*slot)({nullptr, 2, 0, 0, 8, nullptr});
}

std::vector<float> syrk(const Kernels& tier, const std::vector<float>& x, std::size_t n, std::size_t row_begin,
                        std::size_t row_end, Edge edge) {
  const GuardedBuffer<float> input(x, edge);
  const GuardedBuffer<float> c(random_vector(n * n, 99), edge);
  tier.syrk_f32({input.data(), x.size() / n, n, n, c.data(), n, row_begin, row_end});
  return {c.span().begin(), c.span().end()};
}

void check(const Op&, decltype(&Kernels::syrk_f32) slot, const Kernels& tier) {
  ASSERT_NE(tier.*slot, nullptr);
  constexpr std::array<std::size_t, 12> kWidths{1, 5, 11, 12, 13, 31, 32, 33, 64, 97, 130, 200};
  constexpr std::array<std::size_t, 6> kHeights{0, 1, 2, 17, 256, 300};
  for (const std::size_t n : kWidths)
    for (const std::size_t rows : kHeights) {
      const std::vector<float> x = random_vector(rows * n, n * 1000 + rows);
      for (const std::size_t begin : {std::size_t{0}, n / 3, n / 2}) {
        const std::size_t end = begin == 0 ? n : std::min(n, begin + 13);
        for (const Edge edge : {Edge::start, Edge::end}) {
          const std::vector<float> expected = syrk(generic(), x, n, begin, end, edge);
          const std::vector<float> c = syrk(tier, x, n, begin, end, edge);
          ASSERT_EQ(first_difference(c.data(), expected.data(), c.size()), -1)
              << "n=" << n << " rows=" << rows << " of c: " << begin << " to " << end;
        }
      }
    }
}

using EncodeSlot = decltype(&Kernels::encode_integer);
using FitSlot = decltype(&Kernels::fit_integer);

/// The formats that a slot named ..._integer, ..._minifloat or ..._codebook is for.
std::vector<FormatId> formats_of(const Op& op) {
  std::vector<FormatId> formats;
  for (const FormatId id : kernel_formats()) {
    const FormatInfo& f = format_info(id);
    const bool codebook = f.thresholds != nullptr;
    const bool integer = f.kind == FormatKind::integer && !codebook;
    const std::string_view kind = codebook ? "codebook" : integer ? "integer" : "minifloat";
    if ((codebook || !f.is_auxiliary()) && op.name.ends_with(kind)) formats.push_back(id);
  }
  return formats;
}

/// Scales and zero points of the groups of n elements, against a guard page.
struct GuardedScales {
  GuardedBuffer<float> stored;
  GuardedBuffer<std::int16_t> zeros;
  GuardedBuffer<float> offsets;
  kernels::GroupScales args;

  GuardedScales(const std::vector<float>& s, const std::vector<std::int16_t>& z, std::size_t group, kernels::ScaleOp op,
                Edge edge)
      : stored(s, edge),
        zeros(z, edge),
        offsets(s, edge),
        args{{stored.data(), op, 0.37f, op == kernels::ScaleOp::affine ? 0.01f : 0.0f},
             z.empty() ? nullptr : zeros.data(),
             group} {}
  /// With offsets of the same kind.
  [[nodiscard]] kernels::GroupScales with_offsets() const {
    kernels::GroupScales all = args;
    all.offsets = {offsets.data(), args.scales.op, -1.7f, args.scales.addend};
    return all;
  }
};

struct ScaleCase {
  std::size_t n, group;
  kernels::ScaleOp op;
  std::vector<float> stored;
  std::vector<std::int16_t> zeros;
};

/// One group of every kind of scale, and runs of groups whose scales follow from what is stored in each way.
std::vector<ScaleCase> scale_cases(const FormatInfo& format) {
  constexpr std::array kScales{1.0f, 0.37f, -0.25f, 0.0f, 1e-40f, 1e30f, 0x1p-127f, 3e38f};
  std::vector<ScaleCase> cases;
  std::mt19937_64 rng(7);
  const auto add = [&](std::size_t n, std::size_t group, kernels::ScaleOp op, std::vector<float> stored) {
    std::vector<std::int16_t> zeros;
    for (std::size_t i = 0; cases.size() % 2 == 1 && i < stored.size(); ++i)
      zeros.push_back(static_cast<std::int16_t>(format.low + static_cast<std::int32_t>(rng() % 4)));
    cases.push_back({n, group, op, std::move(stored), std::move(zeros)});
  };
  add(0, 16, kernels::ScaleOp::product, {});
  for (const std::size_t n : kLengths)
    for (const float scale : kScales) add(n, n, kernels::ScaleOp::product, {scale / 0.37f});
  for (const std::size_t group : {std::size_t{1}, std::size_t{7}, std::size_t{16}, std::size_t{32}, std::size_t{100}})
    for (const kernels::ScaleOp op : {kernels::ScaleOp::product, kernels::ScaleOp::quotient, kernels::ScaleOp::affine})
      for (const std::size_t n : {std::size_t{5}, std::size_t{96}, std::size_t{555}}) {
        std::vector<float> stored = random_vector((n + group - 1) / group, n + group);
        stored[rng() % stored.size()] = kScales[rng() % kScales.size()];
        add(n, group, op, std::move(stored));
      }
  return cases;
}

/// The values of a format, what lies halfway between two, and the neighbours of these, times a scale.
std::vector<float> ties_of(const KernelFormat& format, float scale) {
  std::vector<float> values;
  for (const float v : format.values)
    if (std::isfinite(v)) values.push_back(v);
  std::sort(values.begin(), values.end());
  std::vector<float> ties;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float next = i + 1 < values.size() ? values[i + 1] : 2 * values[i];
    for (const float v : {values[i], values[i] / 2 + next / 2})
      for (const float x : {v * scale, std::nextafter(v * scale, INFINITY), std::nextafter(v * scale, -INFINITY)})
        ties.push_back(x);
  }
  return ties;
}

/// Floats of every sign, exponent and start of a mantissa (one seventh of them for each scale) and all ties, under
/// scales from one end of the floats to the other, and zero points.
void check_every_magnitude(const KernelFormat& format, const FormatInfo& info,
                           void (*encode)(const kernels::EncodeArgs&) noexcept,
                           void (*reference)(const kernels::EncodeArgs&) noexcept) {
  constexpr std::array kScales{1.0f,      0.37f, -0.25f, 3.0f,   0.0f,     -0.0f,    1e-40f,  -1e-40f, 0x1p-149f,
                               0x1p-127f, 1e30f, 3e38f,  -3e38f, 0x1p-60f, 0x1p-61f, 0x1p60f, 0x1p61f};
  for (std::size_t s = 0; s < kScales.size(); ++s) {
    std::vector<float> x = ties_of(format, kScales[s]);
    for (std::uint32_t high = static_cast<std::uint32_t>(s) % 7; high < 65536; high += 7)
      x.push_back(std::bit_cast<float>(high << 16 | (high * 40503u & 0xffffu)));
    for (const std::uint32_t bits : {0u, 0x80000000u, 0x7f800000u, 0xff800000u, 0x7fc00000u, 0xffc00000u, 0x7f800001u})
      x.push_back(std::bit_cast<float>(bits));
    const auto zero = static_cast<std::int16_t>(s % 3 == 0 ? 0 : s % 3 == 1 ? info.low : info.high);
    const kernels::GroupScales scales{{&kScales[s]}, &zero, x.size()};
    std::vector<std::uint8_t> expected(x.size());
    std::vector<std::uint8_t> codes(x.size());
    reference({&format.args, x.data(), x.size(), scales, expected.data()});
    encode({&format.args, x.data(), x.size(), scales, codes.data()});
    for (std::size_t i = 0; i < x.size(); ++i)
      ASSERT_EQ(codes[i], expected[i]) << info.name << ": " << x[i] << " by " << kScales[s] << " with zero " << zero;
  }
}

void check(const Op& op, EncodeSlot slot, const Kernels& tier) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr std::array kSpecials{0.0f,    -0.0f,    kInf,   -kInf,  std::numeric_limits<float>::quiet_NaN(),
                                 3.4e38f, -3.4e38f, 1e-38f, 1e-45f, 0.5f,
                                 -1.5f};
  for (const FormatId id : formats_of(op)) {
    const KernelFormat format(id);
    std::uint64_t seed = 0;
    for (const ScaleCase& c : scale_cases(format_info(id))) {
      if (!std::ranges::all_of(c.stored, [](float s) { return std::isfinite(s / 0.37f); }))
        continue;  // not encoded with
      std::vector<float> x = random_vector(c.n, ++seed);
      for (std::size_t i = 0; i < c.n; ++i) {
        const float scale = c.stored[i / c.group] * 0.37f;
        x[i] = i % 3 == 0 ? std::round(x[i] * 8) / 2 * scale : x[i] * 5 * scale;
      }
      for (std::size_t i = seed % 5; i < c.n && seed % 4 != 0; i += 5) x[i] = kSpecials[(i + seed) % kSpecials.size()];
      const auto encode = [&](const Kernels& table, Edge edge) {
        const GuardedScales scales(c.stored, c.zeros, c.group, c.op, edge);
        const GuardedBuffer<float> input(x, edge);
        const GuardedBuffer<std::uint8_t> codes(c.n, edge);
        (table.*slot)({&format.args, input.data(), c.n, scales.args, codes.data()});
        return std::vector<std::uint8_t>{codes.span().begin(), codes.span().end()};
      };
      const std::vector<std::uint8_t> expected = encode(generic(), Edge::end);
      for (const Edge edge : {Edge::start, Edge::end})
        ASSERT_EQ(encode(tier, edge), expected)
            << format_info(id).name << " n=" << c.n << " group=" << c.group << " op=" << static_cast<int>(c.op)
            << " first scale " << (c.stored.empty() ? 0.0f : c.stored[0]) << " seed " << seed;
    }
    check_every_magnitude(format, format_info(id), tier.*slot, generic().*slot);
    if (testing::Test::HasFatalFailure()) return;
  }
}

std::vector<float> fit(const Kernels& tier, FitSlot slot, const KernelFormat& format, const std::vector<float>& x,
                       const std::vector<float>& weights, std::size_t trials, bool errors, Edge edge) {
  std::vector<float> scales = random_vector(trials, 3);
  std::vector<float> inverse;
  std::vector<float> zero;
  for (std::size_t t = 0; t < trials; ++t) {
    inverse.push_back(1 / scales[t]);
    zero.push_back(static_cast<float>(format.args.low + static_cast<std::int32_t>(t) % 3));
  }
  const GuardedBuffer<float> input(x, edge);
  const GuardedBuffer<float> guarded_weights(weights, edge);
  const GuardedBuffer<float> sums(3 * trials, edge);
  std::fill(sums.span().begin(), sums.span().end(), 0.0f);
  (tier.*slot)({&format.args, input.data(), x.size(), trials, inverse.data(), zero.data(),
                errors ? scales.data() : nullptr, weights.empty() ? nullptr : guarded_weights.data(), sums.data(),
                sums.data() + trials, sums.data() + 2 * trials});
  return {sums.span().begin(), sums.span().end()};
}

std::vector<std::size_t> fit_lengths() {
  std::vector<std::size_t> lengths{0};
  lengths.insert(lengths.end(), kLengths.begin(), kLengths.end());
  return lengths;
}

void check(const Op& op, FitSlot slot, const Kernels& tier) {
  for (const FormatId id : formats_of(op)) {
    const KernelFormat format(id);
    for (const std::size_t n : fit_lengths())
      for (const std::size_t trials : {std::size_t{1}, std::size_t{2}, std::size_t{7}})
        for (const bool errors : {false, true})
          for (const bool weighted : {false, true}) {
            std::vector<float> x = random_vector(n, n + 1);
            if (n != 0) x[n / 2] = n % 3 == 0 ? 1e30f : n % 3 == 1 ? -0.0f : -1e-42f;
            std::vector<float> weights = random_vector(weighted ? n : 0, n + 2);
            for (float& w : weights) w = std::fabs(w);
            const std::vector<float> expected = fit(generic(), slot, format, x, weights, trials, errors, Edge::end);
            for (const Edge edge : {Edge::start, Edge::end}) {
              const std::vector<float> sums = fit(tier, slot, format, x, weights, trials, errors, edge);
              ASSERT_EQ(first_difference(sums.data(), expected.data(), sums.size()), -1)
                  << format_info(id).name << " n=" << n << " trials=" << trials << (errors ? " with errors" : "")
                  << (weighted ? ", weighted" : "");
            }
          }
  }
}

using DecodeSlot = decltype(&Kernels::decode);
using NarrowSlot = decltype(&Kernels::narrow_fp16);
using WidenSlot = decltype(&Kernels::widen_fp16);

void check(const Op&, DecodeSlot slot, const Kernels& tier) {
  for (const FormatId id : kernel_formats()) {
    const FormatInfo& f = format_info(id);
    const KernelFormat format(id);
    std::uint64_t seed = 0;
    for (const ScaleCase& c : scale_cases(f)) {
      std::vector<std::uint8_t> codes(c.n);
      ++seed;
      for (std::size_t i = 0; i < c.n; ++i) codes[i] = static_cast<std::uint8_t>((i + seed * 37) % (1u << f.bits));
      const auto decode = [&](const Kernels& table, Edge edge, bool has_offsets) {
        const GuardedScales scales(c.stored, c.zeros, c.group, c.op, edge);
        const GuardedBuffer<std::uint8_t> input(codes, edge);
        const GuardedBuffer<float> out(c.n, edge);
        (table.*slot)({&format.args, input.data(), c.n, has_offsets ? scales.with_offsets() : scales.args, out.data()});
        return std::vector<float>{out.span().begin(), out.span().end()};
      };
      for (const bool has_offsets : {false, true}) {
        const std::vector<float> expected = decode(generic(), Edge::end, has_offsets);
        for (const Edge edge : {Edge::start, Edge::end})
          ASSERT_EQ(first_difference(decode(tier, edge, has_offsets).data(), expected.data(), c.n), -1)
              << f.name << " n=" << c.n << " group=" << c.group << " op=" << static_cast<int>(c.op)
              << (has_offsets ? " offsets" : "");
      }
    }
  }
}

void check(const Op&, decltype(&Kernels::range_f32) slot, const Kernels& tier) {
  constexpr float kInf = std::numeric_limits<float>::infinity();
  constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
  const auto range = [&](const Kernels& table, const std::vector<float>& x, Edge edge) {
    const GuardedBuffer<float> input(x, edge);
    kernels::RangeArgs args{input.data(), x.size(), 55, 55};
    (table.*slot)(args);
    return std::array{std::bit_cast<std::uint32_t>(args.low), std::bit_cast<std::uint32_t>(args.high)};
  };
  for (const std::size_t n : kLengths)
    for (std::uint64_t seed = 0; seed < 40; ++seed) {
      std::vector<float> x = random_vector(n, seed);
      for (float& v : x) v = seed % 4 == 1 ? std::fabs(v) : seed % 4 == 2 ? -std::fabs(v) : seed % 4 == 3 ? -0.0f : v;
      constexpr std::array kSpecials{kInf, -kInf, kNaN, -kNaN, 3.4e38f, -3.4e38f, 1e-45f, -1e-45f, 0.0f};
      x[(seed * 7 + n) % n] = kSpecials[seed % kSpecials.size()];
      x[n - 1 - (seed * 5 + n) % n] = kSpecials[seed / 4 % kSpecials.size()];
      const auto expected = range(generic(), x, Edge::end);
      for (const Edge edge : {Edge::start, Edge::end}) ASSERT_EQ(range(tier, x, edge), expected) << n << ' ' << seed;
    }
  ASSERT_EQ(range(tier, {}, Edge::end), range(generic(), {}, Edge::end));
}

/// Numbers of about `size`: powers of two and 1.5 or 1.75 times them among them, and every fifth group of zeros. A NaN
/// or Inf here and there, where `turn` says so.
std::vector<float> scale_inputs(std::size_t n, std::size_t group, float size, std::size_t turn) {
  std::vector<float> x = random_vector(n, n + turn);
  for (std::size_t i = 0; i < n; ++i) {
    x[i] *= size;
    if (i % 7 == 0) x[i] = std::exp2(std::round(std::log2(std::fabs(x[i])))) * (i % 2 == 0 ? 1.75f : 1.5f);
    if (i / group % 5 == 4) x[i] = i % 2 == 0 ? 0.0f : -0.0f;
  }
  if (turn % 31 == 30 && n != 0)
    x[n / 2] = turn % 2 == 0 ? std::numeric_limits<float>::quiet_NaN() : -std::numeric_limits<float>::infinity();
  return x;
}

/// A plain scale is what choose_plain() says, group by group. False: the kernel declines.
bool check_plain_scales(const Grid& grid, PowerRule rule, const std::vector<float>& x, Edge edge) {
  const std::size_t group = grid.scheme().granularity.block_cols(x.size());
  const GuardedBuffer<float> input(x, edge);
  const GuardedBuffer<float> stored((x.size() + group - 1) / group, edge);
  if (!choose_plain_scales(grid, input.span(), group, rule, stored.span())) return false;
  for (std::size_t g = 0; g < stored.size(); ++g) {
    const std::size_t first = g * group;
    const auto elements = input.span().subspan(first, std::min(group, x.size() - first));
    const GroupParameters p = choose_plain(grid, elements, rule);
    EXPECT_TRUE(same_bits(stored.span()[g], p.stored))
        << to_text(grid.scheme()) << " n=" << x.size() << " rule=" << static_cast<int>(rule) << " group " << g
        << " from " << elements[0] << ": " << stored.span()[g] << ", not " << p.stored;
    EXPECT_FALSE(p.clamped);
  }
  return true;
}

/// Every symmetric scheme of one level with every type of scale, and the block formats.
std::vector<Scheme> symmetric_schemes() {
  std::vector<Scheme> schemes;
  for (const FormatId id : kernel_formats())
    for (const Granularity& granularity :
         {Granularity(PerChannel{}), Granularity(PerGroup{32}), Granularity(PerGroup{7})})
      for (const FormatInfo& type : kFormats) {
        const Scheme s{id, granularity, Symmetry::symmetric, {*format_from_name(type.name)}, {}};
        if (check_scheme(s, "")) schemes.push_back(s);
      }
  for (const BlockFormat& b : kBlockFormats)
    if (b.scheme.symmetry == Symmetry::symmetric && !b.scheme.offsets) schemes.push_back(b.scheme);
  return schemes;
}

void check(const Op&, decltype(&Kernels::plain_scales), const Kernels& tier) {
  std::size_t turn = 0;
  std::size_t declined = 0;
  for (const Scheme& scheme : symmetric_schemes())
    for (const PowerRule rule : {PowerRule::floor, PowerRule::up, PowerRule::nearest, PowerRule::ct}) {
      if (rule != PowerRule::floor && scheme.scales.inner != format_id<e8m0>) break;
      for (const float size : {1.0f, 1e-3f, 1e-30f, 1e6f, 0.0f, 1e-42f, 1e38f})
        for (const std::size_t n :
             {std::size_t{0}, std::size_t{1}, std::size_t{31}, std::size_t{100}, std::size_t{500}}) {
          Grid grid(scheme, tier);
          if (scheme.scales.has_matrix_number()) grid = grid.under(n % 2 == 0 ? 0.37f : 2688.0f, n % 2 == 0);
          const std::vector<float> x = scale_inputs(n, scheme.granularity.block_cols(n), size, turn++);
          declined += check_plain_scales(grid, rule, x, turn % 2 == 0 ? Edge::start : Edge::end) ? 0u : 1u;
          if (testing::Test::HasFailure()) return;
        }
    }
  EXPECT_GT(turn - declined, 1000u);
  EXPECT_GT(declined, 100u);
}

void check(const Op&, NarrowSlot slot, const Kernels& tier) {
  std::vector<float> x;
  for (std::uint32_t high = 0; high < 65536; ++high)
    for (const std::uint32_t low : {0u, 1u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu, 0x1000u, 0x0fffu, 0x1001u})
      x.push_back(std::bit_cast<float>(high << 16 | low));
  std::array<std::vector<std::uint16_t>, 2> results{std::vector<std::uint16_t>(x.size()),
                                                    std::vector<std::uint16_t>(x.size())};
  (generic().*slot)({x.data(), x.size(), results[0].data()});
  (tier.*slot)({x.data(), x.size(), results[1].data()});
  ASSERT_EQ(results[0], results[1]);
  // Zeros and subnormal numbers, numbers, and where Inf and NaN begin.
  for (const std::size_t first : {std::size_t{0}, std::size_t{5000}, std::size_t{0x7f7f * 9}, std::size_t{0xff7f * 9}})
    for (std::size_t n = 0; n < 70; ++n)
      for (const Edge edge : {Edge::start, Edge::end}) {
        const auto from = x.begin() + static_cast<std::ptrdiff_t>(first);
        const GuardedBuffer<float> input(std::vector<float>(from, from + static_cast<std::ptrdiff_t>(n)), edge);
        const GuardedBuffer<std::uint16_t> codes(n, edge);
        (tier.*slot)({input.data(), n, codes.data()});
        ASSERT_TRUE(std::equal(codes.span().begin(), codes.span().end(), results[0].begin() + (from - x.begin())))
            << first << ", " << n;
      }
}

void check(const Op&, WidenSlot slot, const Kernels& tier) {
  std::vector<std::uint16_t> codes(65536);
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint16_t>(i);
  std::array<std::vector<float>, 2> results{std::vector<float>(codes.size()), std::vector<float>(codes.size())};
  (generic().*slot)({codes.data(), codes.size(), results[0].data()});
  (tier.*slot)({codes.data(), codes.size(), results[1].data()});
  ASSERT_EQ(std::memcmp(results[0].data(), results[1].data(), codes.size() * 4), 0);
  // Zeros and subnormal numbers, numbers, and where Inf and NaN of either format begin.
  for (const int first : {0x0000, 0x7900, 0x7bf0, 0x7f70, 0x8000, 0xfbf0, 0xff70})
    for (int n = 0; n < 70; ++n)
      for (const Edge edge : {Edge::start, Edge::end}) {
        const GuardedBuffer<std::uint16_t> input(
            std::vector<std::uint16_t>(codes.begin() + first, codes.begin() + first + n), edge);
        const GuardedBuffer<float> out(input.size(), edge);
        (tier.*slot)({input.data(), input.size(), out.data()});
        ASSERT_TRUE(std::equal(
            out.span().begin(), out.span().end(), results[0].begin() + first,
            [](float a, float b) { return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b); }))
            << first << ", " << n;
      }
}

class Conformance : public testing::Test {
 public:
  Conformance(const kernels::Tier& tier, const Op& op) : tier_(tier), op_(op) {}
  void TestBody() override {
    if (!tier_.runnable) GTEST_SKIP() << "this machine lacks one of: " << tier_.needs;
    const Kernels& table = **kernels::find_tier(tier_.name);
    std::visit([&](auto slot) { check(op_, slot, table); }, op_.slot);
  }

 private:
  const kernels::Tier& tier_;
  const Op& op_;
};

/// One test a slot and tier: `Kernels/avx512_gemm_w4_s8.MatchesGeneric`.
const bool kRegistered = [] {
  for (const kernels::Tier& tier : kernels::tiers()) {
    if (tier.name == "generic") continue;
    for (const Op& op : kernels::kOps) {
      const std::string suite = "Kernels/" + std::string(tier.name) + "_" + std::string(op.name);
      testing::RegisterTest(suite.c_str(), "MatchesGeneric", nullptr, nullptr, __FILE__, __LINE__,
                            [&tier, &op]() -> testing::Test* { return new Conformance(tier, op); });
    }
  }
  return true;
}();

/// Inputs from the last to the first: other bits, but as good a product.
void backward(const kernels::GemmArgs& g) noexcept {
  for (std::size_t i = 0; i < g.m; ++i)
    for (std::size_t f = 0; f < g.shape->n; ++f) {
      float sum = 0;
      for (std::size_t k = g.shape->k; k-- > 0;) {
        float w;
        std::memcpy(&w, g.weights + f / 32 * g.shape->panel_stride + (k * 32 + f % 32) * 4, sizeof w);
        sum += w * g.a_f32[i * g.lda + k];
      }
      g.y[i * g.ldy + f] = sum;
    }
}
void without_the_last_input(const kernels::GemmArgs& g) noexcept {
  kernels::PackedShape shorter = *g.shape;
  shorter.k -= shorter.k != 0 ? 1 : 0;
  kernels::GemmArgs part = g;
  part.shape = &shorter;
  generic().gemm_f32_f32(part);
}

TEST(Ops, MayBeInexactWithinRoundingAndNoFurther) {
  const Op& op = kernels::kOps[0];
  ASSERT_EQ(op.name, "gemm_f32_f32");
  EXPECT_TRUE(is_within_rounding(op, &backward, generic().gemm_f32_f32));
  EXPECT_FALSE(is_within_rounding(op, &without_the_last_input, generic().gemm_f32_f32));
}

TEST(Ops, ListsEverySlotOnce) {
  EXPECT_TRUE(kRegistered);
  EXPECT_EQ(sizeof(Kernels), (2 + kernels::kOps.size()) * sizeof(void (*)()));  // and tier, prefers
  EXPECT_LT(kernels::kOps.size(), 60u);
  for (const Op& a : kernels::kOps) {
    EXPECT_EQ(std::count_if(kernels::kOps.begin(), kernels::kOps.end(), [&](const Op& b) { return a.slot == b.slot; }),
              1)
        << a.name;
    EXPECT_EQ(std::count_if(kernels::kOps.begin(), kernels::kOps.end(), [&](const Op& b) { return a.name == b.name; }),
              1)
        << a.name;
  }
}

}  // namespace
}  // namespace kvant::test
