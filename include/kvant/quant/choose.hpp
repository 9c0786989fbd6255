// SPDX-License-Identifier: Apache-2.0
// Choosing the scale and zero point of a group: plain (from its extremes) or searched (least squared error).
//
// Every product that meets a sum is a std::fma and every reduction runs over 16 lanes that are added as a fixed tree,
// so that the choice is the same on every machine and whatever flags the including program is compiled with.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kvant/quant/grid.hpp"

namespace kvant {

/// The values from `low` to `high` that a scale is to cover; what lies outside is clipped.
struct Range {
  float low = 0.0f;
  float high = 0.0f;
  friend constexpr bool operator==(const Range&, const Range&) = default;
};

namespace detail {

using Extremes = Range;  ///< of a group, zero included

/// The least and the largest finite value, zero included.
inline Extremes extremes(const Grid& grid, std::span<const float> x) noexcept {
  kernels::RangeArgs range{x.data(), x.size(), 0.0f, 0.0f};
  grid.table().range_f32(range);
  return {range.low, range.high};
}

/// The element of largest magnitude, with its sign.
inline float peak(Extremes e) noexcept { return order_key(magnitude(e.low)) > order_key(e.high) ? e.low : e.high; }

/// Plain parameters for a range of values: see Symmetry, and PowerRule where scales are powers of two.
inline GroupParameters plain_parameters(const Grid& grid, Extremes e, PowerRule rule = PowerRule::floor) noexcept {
  const FormatInfo& format = grid.format();
  if (grid.scale_format().kind == FormatKind::exponent) return grid.power_scale(magnitude(peak(e)), rule);
  switch (grid.symmetry()) {
    case Symmetry::symmetric:
      return grid.round_scale(divide(magnitude(peak(e)), grid.unit()));
    case Symmetry::full:
      return grid.round_scale(divide(peak(e), static_cast<float>(format.low)));
    case Symmetry::asymmetric:
      break;
  }
  const float steps = static_cast<float>(format.high - format.low);
  const GroupParameters p = grid.round_scale(divide(e.high, steps) - divide(e.low, steps));
  if (equals(p.scale, 0.0f)) return p;
  return {p.scale, grid.round_zero(static_cast<float>(format.low) - divide(e.low, p.scale)), p.clamped, p.stored};
}

}  // namespace detail

/// Plain parameters (see Symmetry) that cover a range, as an observer gives it. Zero is always covered: a range that
/// leaves it out is extended to it, and an end that is NaN counts as zero. Contract: the thread rounds to nearest
/// (DefaultFpEnvironment).
[[nodiscard]] inline GroupParameters parameters_for_range(const Grid& grid, Range range) noexcept {
  const float low = order_key(range.low) < 0 && !is_nan(range.low) ? range.low : 0.0f;
  const float high = order_key(range.high) > 0 && !is_nan(range.high) ? range.high : 0.0f;
  return detail::plain_parameters(grid, {low, high});
}

/// 1 / fraction for the fractions 1.12, 1.09 … 0.40 of the plain scale that a search tries. Above 1: a code below the
/// unit may fit the peak better than the unit itself (int4: amax / 7 instead of amax / 7.5). Down to two fifths:
/// formats of two bits give up the tails.
inline constexpr std::array<float, 25> kSearchFactors = [] {
  std::array<float, 25> f{};
  for (std::size_t i = 0; i < f.size(); ++i) f[i] = 100.0f / static_cast<float>(112 - 3 * static_cast<int>(i));
  return f;
}();

namespace detail {

// What follows has the contract of choose_searched: the thread rounds to nearest, so `/` is IEEE 754's.

/// An inverse of a scale, or 0 where it is beyond the floats.
[[nodiscard]] inline float finite_or_zero(float inverse) noexcept { return is_finite(inverse) ? inverse : 0.0f; }

/// One scale measured on a group: its squared error and the least-squares scale for the same values.
struct Measured {
  float error;
  float refit;
};

inline Measured measure(const Grid& grid, std::span<const float> x, std::span<const float> weights,
                        GroupParameters p) noexcept {
  const float inverse = finite_or_zero(1.0f / p.scale);
  const float zero = static_cast<float>(p.zero);
  float xv = 0, vv = 0, ee = 0;
  if (equals(inverse, 0.0f)) return {0.0f, 0.0f};  // a subnormal scale: nothing below it to gain
  grid.fit(x, {{&inverse, 1}, {&zero, 1}, {&p.scale, 1}, {&xv, 1}, {&vv, 1}, {&ee, 1}, weights});
  return {ee, xv / vv};
}

// Numbers that are not negative compare as their bits do: with a place below them, the first of the best is found
// without a branch.

/// The place of the least number, the first of equals. Contract: none is negative.
[[nodiscard]] inline std::size_t place_of_least(std::span<const float> x) noexcept {
  std::uint64_t least = UINT64_MAX;
  for (std::size_t i = 0; i < x.size(); ++i) least = std::min(least, std::uint64_t{float_bits(x[i])} << 32 | i);
  return least & 0xffffffffu;
}

/// A least-squares scale and the energy that it removes from its group.
struct Refit {
  float scale, gain;
};

/// The refit of the trial that removes most of its group's energy, (sum xv)^2 / sum vv, among those of one sign; a gain
/// of 0 where there is none.
template <std::size_t N>
[[nodiscard]] Refit best_refit(const std::array<float, N>& xv, const std::array<float, N>& vv, bool positive) noexcept {
  std::array<float, N> refit{};
  std::array<std::uint32_t, N> gain{};
  for (std::size_t t = 0; t < N; ++t) {
    refit[t] = xv[t] / vv[t];
    const float energy = refit[t] * xv[t];
    gain[t] = is_finite(energy) && (refit[t] > 0.0f) == positive ? float_bits(energy) : 0;
  }
  std::uint64_t most = 0;
  for (std::size_t t = 0; t < N; ++t) most = std::max(most, std::uint64_t{gain[t]} << 32 | (N - 1 - t));
  const std::size_t best = N - 1 - (most & 0xffffffffu);
  return {refit[best], std::bit_cast<float>(gain[best])};
}

/// The best refit of all trials; 0 if none removes any energy.
inline GroupParameters best_trial(const Grid& grid, std::span<const float> x, std::span<const float> weights,
                                  GroupParameters plain) noexcept {
  constexpr std::size_t kFactors = kSearchFactors.size();
  std::array<float, kFactors> inverse{}, zero{}, xv{}, vv{};
  const float unit = 1.0f / plain.scale;
  GroupParameters best{};
  float most = 0.0f;
  const auto run = [&](float sign, std::int32_t zero_point) {
    zero.fill(static_cast<float>(zero_point));
    for (std::size_t t = 0; t < kFactors; ++t) inverse[t] = finite_or_zero(sign * unit * kSearchFactors[t]);
    grid.fit(x, {inverse, zero, {}, xv, vv, {}, weights});
    const Refit refit = best_refit(xv, vv, sign * plain.scale > 0.0f);
    if (!(refit.gain > most)) return;
    most = refit.gain;
    best = {refit.scale, zero_point, false, refit.scale};
  };
  run(1.0f, plain.zero);
  if (grid.symmetry() == Symmetry::full) run(-1.0f, 0);
  if (grid.symmetry() == Symmetry::asymmetric) {
    if (plain.zero > grid.format().low) run(1.0f, plain.zero - 1);
    if (plain.zero < grid.format().high) run(1.0f, plain.zero + 1);
  }
  return best;
}

/// Scales of so few bits that a search tries their codes one by one, rather than refit and round.
inline bool has_coarse_scales(const Grid& grid) noexcept {
  return grid.scale_format().bits <= 8 && grid.symmetry() == Symmetry::symmetric;
}

/// The code of least squared error among those about the plain one: 4 powers of two, or 8 codes of a small float to
/// either side. The first of equals wins, but only below `plain_error`, the plain one's.
inline GroupParameters best_code(const Grid& grid, std::span<const float> x, std::span<const float> weights,
                                 GroupParameters plain, float plain_error) noexcept {
  constexpr int kMost = 17;
  const FormatInfo& type = grid.scale_format();
  const bool power = type.kind == FormatKind::exponent;
  const auto center = static_cast<int>(type.encode(plain.stored));
  const auto last = static_cast<int>(type.encode(type.max));
  const int first = std::max(center - (power ? 1 : 8), power ? 0 : 1);
  const int end = std::min(center + (power ? 3 : 9), last + 1);
  std::array<std::uint32_t, kMost> codes{};
  std::array<float, kMost> inverse{}, zero{}, scales{}, xv{}, vv{}, ee{};
  std::size_t count = 0;
  for (int code = first; code < end; ++code) {
    codes[count] = static_cast<std::uint32_t>(code);
    scales[count] = grid.scale_of_code(codes[count]);
    inverse[count] = finite_or_zero(1.0f / scales[count]);
    if (!equals(inverse[count], 0.0f) && !grid.is_too_large(scales[count])) ++count;
  }
  if (count == 0) return plain;
  const auto part = [count](auto& all) { return std::span(all).first(count); };
  grid.fit(x, {part(inverse), part(zero), part(scales), part(xv), part(vv), part(ee), weights});
  const std::size_t best = place_of_least(part(ee));
  return ee[best] < plain_error ? grid.with_stored(type.decode(codes[best])) : plain;
}

}  // namespace detail

/// Plain parameters: the scale maps the group's largest magnitude (or its range) onto the codes. Non-finite elements
/// are ignored.
[[nodiscard]] inline GroupParameters choose_plain(const Grid& grid, std::span<const float> x,
                                                  PowerRule rule = PowerRule::floor) noexcept {
  return detail::plain_parameters(grid, detail::extremes(grid, x), rule);
}

/// The plain scales of groups that lie one after the other, as they are stored, where the kernels can tell them all at
/// once. False: they are to be chosen one by one, and nothing in `stored` counts.
[[nodiscard]] inline bool choose_plain_scales(const Grid& grid, std::span<const float> x, std::size_t group,
                                              PowerRule rule, std::span<float> stored) noexcept {
  return grid.symmetry() == Symmetry::symmetric &&
         grid.table().plain_scales(grid.plain_scales_args(x, group, rule, stored));
}

/// The least-squares scale of a format that has signs only: the weighted mean of the k largest magnitudes, with k all
/// of them for {-1, +1} and the k that maximizes (their weighted sum)^2 / (sum of their weights) for {-1, 0, +1}.
/// Contract: as choose_searched.
[[nodiscard]] inline GroupParameters choose_signs(const Grid& grid, std::span<const float> x,
                                                  std::span<const float> weights = {}) {
  struct Element {
    float magnitude, weight;
  };
  std::vector<Element> elements(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) elements[i] = {magnitude(x[i]), weights.empty() ? 1.0f : weights[i]};
  std::stable_sort(elements.begin(), elements.end(),
                   [](const Element& a, const Element& b) { return order_key(a.magnitude) > order_key(b.magnitude); });
  const bool has_zero = grid.format().bits > 1;
  double sum = 0, total = 0, scale = 0, most = 0;
  for (std::size_t k = 1; k <= elements.size(); ++k) {
    const Element& e = elements[k - 1];
    // The product of two floats is exact in double, so there is one rounding, fused or not.
    sum += static_cast<double>(e.magnitude) * static_cast<double>(e.weight);
    total += static_cast<double>(e.weight);
    if (!(total > 0)) continue;
    const double mean = sum / total;
    if (has_zero ? mean * sum <= most : k != elements.size()) continue;
    most = mean * sum;
    scale = mean;
  }
  return grid.round_scale(static_cast<float>(scale / static_cast<double>(grid.format().step())));
}

/// Searched parameters: round at 25 fractions of the plain scale (asymmetric: also with the zero point one up and one
/// down; -full: also negated), take the one whose values x projects on best, refit its scale in closed form
/// (sum wxv / sum wvv), round it to storage, and alternate rounding and refitting from there. Scales of 8 bits are
/// tried code by code instead. Never worse than plain in the error measured, sum w (x - value)^2. Formats with signs
/// only: choose_signs. Contract: all of x and `weights` (one per element, or none) is finite, no weight is negative,
/// and the thread rounds to nearest (DefaultFpEnvironment).
[[nodiscard]] inline GroupParameters choose_searched(const Grid& grid, std::span<const float> x,
                                                     std::span<const float> weights = {},
                                                     PowerRule rule = PowerRule::floor) {
  if (grid.format().has_signs_only()) return choose_signs(grid, x, weights);
  const GroupParameters plain = choose_plain(grid, x, rule);
  if (plain.clamped || equals(plain.scale, 0.0f)) return plain;
  GroupParameters best = plain;
  detail::Measured least = detail::measure(grid, x, weights, plain);
  if (!(least.error > 0x1p-100f)) return plain;  // squares as small as this lose their bits: nothing to compare
  if (detail::has_coarse_scales(grid)) return detail::best_code(grid, x, weights, plain, least.error);
  const GroupParameters trial = detail::best_trial(grid, x, weights, plain);
  GroupParameters next = grid.round_scale(trial.scale, trial.zero);
  constexpr int kRounds = 4;
  for (int round = 0; round < kRounds && !next.clamped && is_finite(next.scale) && !equals(next.scale, 0.0f); ++round) {
    const detail::Measured measured = detail::measure(grid, x, weights, next);
    if (!(measured.error < least.error)) break;
    best = next;
    least = measured;
    next = grid.round_scale(measured.refit, best.zero);
    if (equals(next.scale, best.scale)) break;
  }
  return best;
}

}  // namespace kvant
