// SPDX-License-Identifier: Apache-2.0
// Choosing scales that are small integers under one number of their row, and offsets, which are stored likewise or as
// floats of their own: ggml's super-blocks and blocks with minima, and -fzero.
//
// Each group first gets the scale (and offset) that it wants by itself. The outer numbers follow from the largest of
// them; a search then tries the integers about each wanted number, and refits the outer scale while the error falls.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kvant/quant/bands.hpp"
#include "kvant/quant/choose.hpp"
#include "kvant/quant/grid.hpp"

namespace kvant {

namespace detail {

/// Scales or offsets of groups that share an outer number, as they are stored.
struct NestedNumbers {
  float outer = 1.0f;
  std::vector<float> inner;

  [[nodiscard]] float operator[](std::size_t g) const noexcept { return inner[g] * outer; }
};

struct NestedScales {
  NestedNumbers scales;
  NestedNumbers offsets;  ///< without numbers where the scheme has none
  bool clamped = false;   ///< a number that was wanted exceeds its storage type
  double error = 0.0;     ///< sum w (x - value)^2
};

/// What a group wants by itself.
struct WantedNumbers {
  float scale = 0.0f;
  float offset = 0.0f;
};

/// A group with offsets: x is rounded as x + offset.
class OffsetGroup {
 public:
  OffsetGroup(const Grid& grid, const GroupElements& elements, bool signed_offsets)
      : grid_(grid), x_(elements.x), w_(elements.w), shifted_(x_.size()), signed_(signed_offsets) {}

  /// Scale and offset that meet the least and the largest element; 0 counts among them where an offset has no sign.
  [[nodiscard]] WantedNumbers plain() const noexcept {
    if (x_.empty()) return {};
    float low = signed_ ? x_[0] : 0.0f, high = low;
    for (const float v : x_) {
      if (order_key(v) < order_key(low)) low = v;
      if (order_key(v) > order_key(high)) high = v;
    }
    const auto steps = static_cast<float>(grid_.format().high);
    return {divide(high, steps) - divide(low, steps), -low};
  }

  /// Alternates between the best scale for an offset and the pair of least squares for the codes that it leads to.
  [[nodiscard]] WantedNumbers searched() {
    const WantedNumbers first = plain();
    WantedNumbers best = first;
    float least = error(first);
    if (equals(first.scale, 0.0f) || !is_finite(divide(1.0f, first.scale)) || !(least > 0x1p-100f)) return first;
    constexpr int kRounds = 4;
    for (int round = 0; round < kRounds; ++round) {
      const float scale = best_scale(first.scale, best.offset);
      const WantedNumbers next = least_squares({scale, best.offset});
      const float its_error = error(next);
      if (!(its_error < least)) break;
      best = next;
      least = its_error;
    }
    return best;
  }

  /// The errors of some scales under one offset, and sums that a refit of the scale needs.
  template <std::size_t N>
  void measure(const std::array<float, N>& scale, float offset, std::array<float, N>& xv, std::array<float, N>& vv,
               std::array<float, N>& ee) {
    std::array<float, N> inverse{};
    const std::array<float, N> zero{};
    for (std::size_t i = 0; i < N; ++i) inverse[i] = finite_or_zero(1.0f / scale[i]);
    grid_.fit(shifted(offset), {inverse, zero, scale, xv, vv, ee, w_});
  }

 private:
  [[nodiscard]] std::span<const float> shifted(float offset) noexcept {
    for (std::size_t i = 0; i < x_.size(); ++i) shifted_[i] = x_[i] + offset;
    return shifted_;
  }
  [[nodiscard]] float error(WantedNumbers p) {
    std::array<float, 1> xv{}, vv{}, ee{};
    measure<1>({p.scale}, p.offset, xv, vv, ee);
    return ee[0];
  }
  [[nodiscard]] float best_scale(float plain, float offset) {
    constexpr std::size_t kFactors = kSearchFactors.size();
    std::array<float, kFactors> inverse{}, xv{}, vv{};
    const std::array<float, kFactors> zero{};
    for (std::size_t t = 0; t < kFactors; ++t) inverse[t] = finite_or_zero(1.0f / plain * kSearchFactors[t]);
    grid_.fit(shifted(offset), {inverse, zero, {}, xv, vv, {}, w_});
    const Refit refit = best_refit(xv, vv, true);
    return refit.gain > 0.0f ? refit.scale : plain;
  }
  /// Scale and offset of least squares for the codes that `p` leads to; p where there is no such pair.
  [[nodiscard]] WantedNumbers least_squares(WantedNumbers p) {
    codes_.resize(x_.size());
    grid_.encode(shifted(p.offset), {p.scale, 0, false, p.scale}, codes_);
    double sw = 0, sx = 0, sv = 0, sxv = 0, svv = 0;  // each term is exact in double, so one rounding, fused or not
    for (std::size_t i = 0; i < x_.size(); ++i) {
      const float w = w_.empty() ? 1.0f : w_[i];
      const auto v = static_cast<double>(codes_[i]);
      const auto wx = static_cast<double>(w * x_[i]);
      sw += static_cast<double>(w);
      sx += wx;
      sv += static_cast<double>(w) * v;
      sxv += wx * v;
      svv += static_cast<double>(w) * (v * v);
    }
    const double determinant = std::fma(sw, svv, -(sv * sv));
    if (!(determinant > 0)) return p;
    const auto scale = static_cast<float>(std::fma(sw, sxv, -(sx * sv)) / determinant);
    const auto offset = static_cast<float>(std::fma(sv, static_cast<double>(scale), -sx) / sw);
    if (!(scale > 0.0f) || !is_finite(offset)) return p;
    return !signed_ && offset < 0.0f ? WantedNumbers{p.scale, 0.0f} : WantedNumbers{scale, offset};
  }

  const Grid& grid_;
  std::span<const float> x_, w_;
  std::vector<float> shifted_;
  std::vector<std::uint8_t> codes_;
  bool signed_;
};

/// The stored number nearest to one that is wanted; beyond its type, the largest there is, and `clamped` is set.
[[nodiscard]] inline float round_number(const FormatInfo& type, float wanted, bool& clamped) noexcept {
  const float exact = type.decode(type.encode(wanted, {Rounding::nearest_even, Overflow::ieee, 0}));
  if (is_finite(exact)) return exact;
  clamped = true;
  return type.decode(type.encode(wanted));
}

/// The wanted numbers as a stack stores them: the largest becomes the integer of largest magnitude.
[[nodiscard]] inline NestedNumbers nest(const NumberStack& stack, std::span<const float> wanted, bool& clamped) {
  NestedNumbers out;
  const FormatInfo& inner = format_info(stack.inner);
  if (stack.outer) {
    float peak = 0.0f;
    for (const float n : wanted)
      if (order_key(magnitude(n)) > order_key(magnitude(peak))) peak = n;
    const int last = inner.is_signed ? inner.low : inner.high;
    out.outer = round_number(format_info(stack.outer->type), divide(peak, static_cast<float>(last)), clamped);
  }
  for (const float n : wanted) {
    const float steps = order_key(out.outer) == 0 ? 0.0f : stack.outer ? divide(n, out.outer) : n;
    if (stack.outer)
      out.inner.push_back(static_cast<float>(to_integer(steps, inner.low, inner.high)));
    else
      out.inner.push_back(round_number(inner, steps, clamped));
  }
  return out;
}

/// What a search works on: the groups under one pair of outer numbers.
class NestedProblem {
 public:
  NestedProblem(const Grid& grid, std::span<const GroupElements> elements)
      : scheme_(grid.scheme()), grid_(grid.with_scale_type(format_id<fp32>)), elements_(elements) {
    const bool signed_offsets = scheme_.offsets && format_info(scheme_.offsets->inner).is_signed;
    for (const GroupElements& e : elements) groups_.emplace_back(grid_, e, signed_offsets);
  }

  /// From what each group wants by itself.
  [[nodiscard]] NestedScales choose(bool search) {
    std::vector<float> scales, offsets;
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      const WantedNumbers wanted = want(g, search);
      scales.push_back(wanted.scale);
      if (scheme_.offsets) offsets.push_back(wanted.offset);
    }
    NestedScales chosen;
    chosen.scales = nest(scheme_.scales, scales, chosen.clamped);
    if (scheme_.offsets) chosen.offsets = nest(*scheme_.offsets, offsets, chosen.clamped);
    for (std::size_t g = 0; g < groups_.size(); ++g) chosen.error += measure(g, chosen, 0, 0).error;
    return chosen;
  }

  /// The integers about those that are there, then the outer scale that suits them best, for as long as it helps.
  [[nodiscard]] NestedScales refine(NestedScales start) {
    constexpr int kRounds = 4;
    NestedScales best = start;
    for (int round = 0; round < kRounds; ++round) {
      double numerator = 0, denominator = 0;
      NestedScales tried = start;
      tried.error = 0.0;
      for (std::size_t g = 0; g < groups_.size(); ++g) {
        const Fit fit = settle(g, tried);
        const auto s = static_cast<double>(tried.scales.inner[g]);
        tried.error += fit.error;
        numerator = std::fma(s, fit.xv, numerator);
        denominator = std::fma(s * s, fit.vv, denominator);
      }
      if (!(tried.error < best.error) && round != 0) break;
      if (tried.error < best.error) best = tried;
      if (!scheme_.scales.outer || !(denominator > 0)) break;
      start = tried;
      bool clamped = false;
      start.scales.outer =
          round_number(format_info(scheme_.scales.outer->type), static_cast<float>(numerator / denominator), clamped);
      if (clamped || order_key(start.scales.outer) == 0) break;
    }
    return best;
  }

 private:
  struct Fit {
    double error = 0.0, xv = 0.0, vv = 0.0;
  };

  [[nodiscard]] WantedNumbers want(std::size_t g, bool search) {
    if (scheme_.offsets) return search ? groups_[g].searched() : groups_[g].plain();
    const GroupElements& e = elements_[g];
    return {(search ? choose_searched(grid_, e.x, e.w) : choose_plain(grid_, e.x)).scale, 0.0f};
  }
  /// A group under numbers that are some inner steps from those that are there.
  [[nodiscard]] Fit measure(std::size_t g, const NestedScales& at, int scale_steps, int offset_steps) {
    std::array<float, 1> xv{}, vv{}, ee{};
    const float scale = (at.scales.inner[g] + static_cast<float>(scale_steps)) * at.scales.outer;
    const float offset =
        scheme_.offsets ? (at.offsets.inner[g] + static_cast<float>(offset_steps)) * at.offsets.outer : 0.0f;
    groups_[g].template measure<1>({scale}, offset, xv, vv, ee);
    return {static_cast<double>(ee[0]), static_cast<double>(xv[0]), static_cast<double>(vv[0])};
  }
  /// Whether an inner number may be moved by a step.
  [[nodiscard]] static bool is_within(const std::optional<NumberStack>& stack, const NestedNumbers& n, std::size_t g,
                                      int step) {
    if (step == 0) return true;
    if (!stack || !stack->outer) return false;
    const FormatInfo& inner = format_info(stack->inner);
    const float moved = n.inner[g] + static_cast<float>(step);
    return moved >= static_cast<float>(inner.low) && moved <= static_cast<float>(inner.high);
  }
  /// Moves a group's inner numbers to the best of those next to them, the first of equals, best of all those that are.
  Fit settle(std::size_t g, NestedScales& at) {
    Fit least = measure(g, at, 0, 0);
    int scale_steps = 0, offset_steps = 0;
    for (int o = -1; o <= 1; ++o) {
      if (!is_within(scheme_.offsets, at.offsets, g, o)) continue;
      std::array<float, 3> scale{}, xv{}, vv{}, ee{};
      for (int s = 0; s < 3; ++s)
        scale[static_cast<std::size_t>(s)] = (at.scales.inner[g] + static_cast<float>(s - 1)) * at.scales.outer;
      const float offset = scheme_.offsets ? (at.offsets.inner[g] + static_cast<float>(o)) * at.offsets.outer : 0.0f;
      groups_[g].template measure<3>(scale, offset, xv, vv, ee);
      for (int s = -1; s <= 1; ++s) {
        const auto i = static_cast<std::size_t>(s + 1);
        if (!is_within(scheme_.scales, at.scales, g, s) || !(static_cast<double>(ee[i]) < least.error)) continue;
        least = {static_cast<double>(ee[i]), static_cast<double>(xv[i]), static_cast<double>(vv[i])};
        scale_steps = s;
        offset_steps = o;
      }
    }
    at.scales.inner[g] += static_cast<float>(scale_steps);
    if (scheme_.offsets) at.offsets.inner[g] += static_cast<float>(offset_steps);
    return least;
  }

  Scheme scheme_;
  Grid grid_;
  std::span<const GroupElements> elements_;
  std::vector<OffsetGroup> groups_;
};

}  // namespace detail

/// Chooses the numbers of groups that lie one after the other under one outer number (or of one group, where there is
/// none). Never worse than plain in the error measured. Contract: as choose_searched; `grid` is of a scheme with
/// offsets or with scales nested in rows, and none with integer scales.
[[nodiscard]] inline detail::NestedScales choose_nested_scales(const Grid& grid,
                                                               std::span<const detail::GroupElements> elements,
                                                               bool search) {
  detail::NestedProblem problem(grid, elements);
  detail::NestedScales plain = problem.choose(false);
  if (!search || plain.clamped) return plain;
  const detail::NestedScales searched = problem.choose(true);
  const detail::NestedScales& better = !searched.clamped && searched.error < plain.error ? searched : plain;
  return problem.refine(better);
}

}  // namespace kvant
