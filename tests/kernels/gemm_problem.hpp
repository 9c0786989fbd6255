// SPDX-License-Identifier: Apache-2.0
// A matrix product ready to be run: weights packed by the reference, activations, and every buffer against a guard
// page.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

#include "kvant/kernels/kernels.hpp"
#include "reference/gemm_reference.hpp"
#include "support/guarded_buffer.hpp"

namespace kvant::test {

/// Activations [m, k] with rows of exactly `lda` elements, zero from k on: as few as the layouts' steps allow.
struct PlainActivations {
  std::size_t m, k, lda;
  std::vector<float> f32;
  std::vector<std::int8_t> s8;
  std::vector<float> scales;
  std::vector<float> sums_f32;
  std::vector<std::int32_t> sums_s32;
};

inline PlainActivations random_activations(std::size_t m, std::size_t k, std::size_t group, std::uint64_t seed) {
  std::mt19937_64 rng(seed);
  std::normal_distribution<float> normal;
  PlainActivations a{
      m,  k,  (k + kernels::kActivationPadding - 1) / kernels::kActivationPadding * kernels::kActivationPadding,
      {}, {}, {},
      {}, {}};
  const std::size_t groups = group != 0 ? (k + group - 1) / group : 0;
  a.f32.assign(m * a.lda, 0.0f);
  a.s8.assign(m * a.lda, 0);
  a.sums_f32.assign(m * groups, 0.0f);
  a.sums_s32.assign(m * groups, 0);
  for (std::size_t i = 0; i < m; ++i) {
    a.scales.push_back(std::fabs(normal(rng)) * 0.01f);
    for (std::size_t j = 0; j < k; ++j) {
      a.f32[i * a.lda + j] = normal(rng);
      a.s8[i * a.lda + j] = static_cast<std::int8_t>(static_cast<int>(rng() % 256) - 128);
      if (groups == 0) continue;
      a.sums_f32[i * groups + j / group] += a.f32[i * a.lda + j];
      a.sums_s32[i * groups + j / group] += a.s8[i * a.lda + j];
    }
  }
  return a;
}

/// Owns guarded copies of everything that a product reads, and the arguments that point to them.
struct GemmProblem {
  GuardedBuffer<unsigned char> weights;
  GuardedBuffer<float> a_f32, a_scales, a_sums_f32, bias;
  GuardedBuffer<std::int8_t> a_s8;
  GuardedBuffer<std::int32_t> a_sums_s32;
  kernels::PackedShape shape;
  kernels::GemmArgs args{};

  GemmProblem(const GemmProblem&) = delete;  // the arguments point into it
  GemmProblem& operator=(const GemmProblem&) = delete;
  ~GemmProblem() = default;
  GemmProblem(const PlainWeights& w, const PlainActivations& a, const std::vector<float>& b, Edge edge)
      : weights(pack(w), edge),
        a_f32(a.f32, edge),
        a_scales(a.scales, edge),
        a_sums_f32(a.sums_f32, edge),
        bias(b, edge),
        a_s8(a.s8, edge),
        a_sums_s32(a.sums_s32, edge) {
    args.weights = weights.data();
    args.shape = &shape;
    args.panel_end = w.panels();
    shape.layout = static_cast<kernels::Layout>(w.packing);  // in the same order
    shape.n = w.n;
    shape.k = shape.inputs = w.k;
    shape.group = w.group;
    shape.panel_stride = panel_bytes(w);
    shape.scales_f32 = w.scales_f32;
    shape.has_zeros = w.has_zeros;
    shape.has_offsets = w.has_offsets;
    shape.zero = w.zero;
    shape.code_step = w.code_step;
    for (std::size_t i = 0; i < 256; ++i) shape.levels[i] = w.levels[i % 16];
    args.m = a.m;
    args.a_f32 = a_f32.data();
    args.a_s8 = a_s8.data();
    args.lda = a.lda;
    args.a_scales = a_scales.data();
    args.a_sums_f32 = w.has_zeros || w.has_offsets ? a_sums_f32.data() : nullptr;
    args.a_sums_s32 = a_sums_s32.data();
    args.bias = b.empty() ? nullptr : bias.data();
    args.ldy = w.n;
  }

  /// y16 of the first `m` rows, over what it holds.
  [[nodiscard]] std::vector<std::uint16_t> run_16(kernels::Gemm gemm, std::size_t m, kernels::OutputType type,
                                                  const std::vector<std::uint16_t>& held, Edge edge) const {
    const GuardedBuffer<std::uint16_t> y(std::vector<std::uint16_t>(held.data(), held.data() + m * args.ldy), edge);
    kernels::GemmArgs g = args;
    g.m = m;
    g.y16 = y.data();
    g.y_type = type;
    gemm(g);
    return {y.span().begin(), y.span().end()};
  }

  /// y of the first `m` rows, as `gemm` computes them into guarded memory filled with a pattern.
  [[nodiscard]] std::vector<float> run(kernels::Gemm gemm, std::size_t m, Edge edge, float fill = -7777.0f) const {
    const GuardedBuffer<float> y(m * args.ldy, edge);
    std::fill(y.span().begin(), y.span().end(), fill);
    kernels::GemmArgs g = args;
    g.m = m;
    g.y = y.data();
    gemm(g);
    return {y.span().begin(), y.span().end()};
  }
};

/// Equal bits; NaNs are equal to each other, since which operand's payload survives is the processor's business.
inline bool same_bits(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b) || (std::isnan(a) && std::isnan(b));
}
/// The first index at which two results differ, or -1.
inline std::ptrdiff_t first_difference(const float* a, const float* b, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    if (!same_bits(a[i], b[i])) return static_cast<std::ptrdiff_t>(i);
  return -1;
}

}  // namespace kvant::test
