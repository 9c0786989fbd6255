// SPDX-License-Identifier: Apache-2.0
// Choosing the super-scale, the integer scales and the zero points of a row of is4, is3 or is2 together.
//
// The error of a group is a function of the product u = S * s and of z alone, so it is measured once on a grid of u
// about the group's own best scale, and the search over S reads that table. The three best S are then measured exactly
// and refitted in closed form.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kvant/quant/choose.hpp"
#include "kvant/quant/grid.hpp"
#include "kvant/quant/integer_scale_rule.hpp"

namespace kvant {

/// The scales of up to 2048 columns of a row: one super-scale, and for each group an integer scale and a zero point.
struct IntegerScales {
  float super = 0.0f;
  std::vector<std::int16_t> scales;
  std::vector<std::int16_t> zeros;
  bool clamped = false;  ///< the super-scale that was wanted exceeds its storage type
  double error = 0;      ///< sum w (x - value)^2
};

namespace detail {

/// first * ratio^i, one rounded product after the other: the same numbers on every machine.
template <std::size_t N>
constexpr std::array<float, N> geometric(float first, float ratio) noexcept {
  std::array<float, N> a{};
  for (std::size_t i = 0; i < N; ++i) a[i] = i == 0 ? first : a[i - 1] * ratio;
  return a;
}

/// Scales of a group that are measured, over its own best one: 0.55 … 1.6.
inline constexpr auto kGroupFactors = geometric<24>(0.55f, 1.0475f);
/// Super-scales that are tried, over (largest of the groups' scales) / (largest integer): 0.55 … 1.7.
inline constexpr auto kSuperFactors = geometric<24>(0.55f, 1.0503f);
constexpr std::size_t kMaxZeros = 4;

/// A group's errors: of each scale of the grid about `best`, at each zero point.
struct ErrorTable {
  float best = 0.0f;  ///< the group's own scale; 0 where all of it is zero
  std::array<std::array<float, kMaxZeros>, kGroupFactors.size()> error{};

  /// A place between two points of the grid: `part` of the way to `next` from the one before.
  struct Place {
    std::size_t next = 1;
    float part = 0.0f;
  };
  /// Where scale u lies; beyond the grid's ends, the end. `from` is the place of a smaller scale.
  [[nodiscard]] Place place(float u, Place from) const noexcept {
    const float x = u / best;
    if (!(x > kGroupFactors.front())) return {};
    std::size_t i = from.next;
    while (i + 1 < kGroupFactors.size() && x > kGroupFactors[i]) ++i;
    const float t = (x - kGroupFactors[i - 1]) / (kGroupFactors[i] - kGroupFactors[i - 1]);
    return {i, t < 1.0f ? t : 1.0f};
  }
  /// The errors there, which are linear between the grid's points. A product of floats is exact in double, so there is
  /// no need of a std::fma, which is a call where a consumer compiles for machines without one.
  [[nodiscard]] std::array<float, kMaxZeros> at(Place p) const noexcept {
    const auto& before = error[p.next - 1];
    const auto& after = error[p.next];
    std::array<float, kMaxZeros> e{};
    for (std::size_t z = 0; z < kMaxZeros; ++z)
      e[z] = static_cast<float>(static_cast<double>(p.part) * static_cast<double>(after[z] - before[z]) +
                                static_cast<double>(before[z]));
    return e;
  }
};

/// What a search works on: a stretch of a row, cut into groups.
struct IntegerScaleProblem {
  const Grid& grid;
  const IntegerScaleRule& rule;
  std::span<const float> x;
  std::span<const float> weights;  ///< of the elements, or empty
  std::size_t group;

  [[nodiscard]] std::size_t groups() const noexcept { return ceil_div(x.size(), group); }
  [[nodiscard]] std::span<const float> elements(std::size_t g) const {
    return x.subspan(g * group, std::min(group, x.size() - g * group));
  }
  [[nodiscard]] std::span<const float> weights_of(std::size_t g) const {
    return weights.empty() ? weights : weights.subspan(g * group, std::min(group, x.size() - g * group));
  }
  /// The zero point that leaves as many steps below zero as above, for scales on their own.
  [[nodiscard]] std::int32_t middle_zero() const noexcept { return rule.first_zero + rule.zero_count / 2; }
};

/// The sums of several scales, each at a zero point.
template <std::size_t N>
struct Sums {
  std::array<float, N> inverse{}, zero{}, scale{}, xv{}, vv{}, ee{};

  void measure(const IntegerScaleProblem& p, std::size_t g, std::int32_t z) {
    zero.fill(static_cast<float>(z));
    measure(p, g, N);
  }
  void measure(const IntegerScaleProblem& p, std::size_t g, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) inverse[i] = finite_or_zero(1.0f / scale[i]);
    const auto part = [count](auto& all) { return std::span(all).first(count); };
    p.grid.fit(p.elements(g), {part(inverse), part(zero), part(scale), part(xv), part(vv), part(ee), p.weights_of(g)});
  }
};

/// The free scale that suits a group best: least-squares refits of the trials of kGroupFactors about the one that maps
/// its largest magnitude to the end of the codes.
inline float own_scale(const IntegerScaleProblem& p, std::size_t g) {
  const Extremes e = extremes(p.grid, p.elements(g));
  const float amax = magnitude(peak(e));
  const float unit = divide(amax, (p.grid.values().back() - p.grid.values().front()) / 2);
  if (!is_finite(divide(1.0f, unit)) || equals(unit, 0.0f)) return 0.0f;
  Sums<kGroupFactors.size()> sums;
  for (std::size_t i = 0; i < kGroupFactors.size(); ++i) sums.scale[i] = unit * kGroupFactors[i];
  sums.measure(p, g, p.middle_zero());
  const Refit best = best_refit(sums.xv, sums.vv, true);
  return best.gain > 0.0f ? best.scale : unit;
}

inline ErrorTable error_table(const IntegerScaleProblem& p, std::size_t g) {
  ErrorTable table;
  table.best = own_scale(p, g);
  if (equals(table.best, 0.0f)) return table;
  Sums<kGroupFactors.size()> sums;
  for (std::size_t i = 0; i < kGroupFactors.size(); ++i) sums.scale[i] = table.best * kGroupFactors[i];
  for (std::int32_t z = 0; z < p.rule.zero_count; ++z) {
    sums.measure(p, g, p.rule.first_zero + z);
    for (std::size_t i = 0; i < kGroupFactors.size(); ++i) table.error[i][static_cast<std::size_t>(z)] = sums.ee[i];
  }
  return table;
}

/// A group's integer scale and zero point (counted from the rule's first), and the error they lead to.
struct IntegerChoice {
  std::int32_t scale = 1;
  std::int32_t zero = 0;
  float error = 0.0f;
};

/// The integers s for which S * s lies within the grid about the group's own scale, or else the nearest one.
struct ScaleRange {
  std::int32_t first, last;
};
inline ScaleRange scale_range(const IntegerScaleRule& rule, float super, float best) noexcept {
  const float middle = best / super;
  const auto limited = [&](float s) {
    const auto most = static_cast<float>(rule.max_scale);
    return static_cast<std::int32_t>(s < 1.0f ? 1.0f : s > most ? most : s);
  };
  const std::int32_t first = limited(std::fma(middle, kGroupFactors.front(), 1.0f));
  const std::int32_t last = limited(middle * kGroupFactors.back());
  return {std::min(first, last), last};
}

/// The best pair by the table. A group of zeros takes the first zero point, which is the value of a code in each
/// format.
inline IntegerChoice look_up_choice(const IntegerScaleRule& rule, const ErrorTable& table, float super) noexcept {
  if (equals(table.best, 0.0f)) return {};
  const ScaleRange range = scale_range(rule, super, table.best);
  ErrorTable::Place place;
  std::uint64_t least = UINT64_MAX;  // an error's bits, which compare as it does, and where it is: the first of equals
  for (std::int32_t s = range.first; s <= range.last; ++s) {
    place = table.place(super * static_cast<float>(s), place);
    const std::array<float, kMaxZeros> errors = table.at(place);
    for (std::int32_t z = 0; z < rule.zero_count; ++z)
      least = std::min(least, std::uint64_t{float_bits(errors[static_cast<std::size_t>(z)])} << 32 |
                                  static_cast<std::uint32_t>(s) * kMaxZeros | static_cast<std::uint32_t>(z));
  }
  const auto at = static_cast<std::int32_t>(least & 0xffffffffu);
  constexpr auto kZeros = static_cast<std::int32_t>(kMaxZeros);
  return {at / kZeros, at % kZeros, std::bit_cast<float>(static_cast<std::uint32_t>(least >> 32))};
}

/// A super-scale with the groups' choices, and what they sum up to.
struct SuperChoice {
  float super = 0.0f;
  double error = 0.0;
  double numerator = 0.0;    ///< sum of s * (sum w x v)
  double denominator = 0.0;  ///< sum of s^2 * (sum w v v)
  std::vector<IntegerChoice> groups;
};

/// Measures the neighbourhood of each group's table choice exactly: every zero point, with the scale and the ones next
/// to it.
inline SuperChoice measure_super(const IntegerScaleProblem& p, std::span<const ErrorTable> tables, float super) {
  SuperChoice choice;
  choice.super = super;
  Sums<3 * kMaxZeros> sums;
  for (std::size_t g = 0; g < tables.size(); ++g) {
    const IntegerChoice guess = look_up_choice(p.rule, tables[g], super);
    IntegerChoice best = guess;
    double xv = 0, vv = 0;
    if (!equals(tables[g].best, 0.0f)) {
      const std::int32_t first = std::max(guess.scale - 1, 1);
      const std::int32_t last = std::min(guess.scale + 1, p.rule.max_scale);
      std::array<IntegerChoice, 3 * kMaxZeros> tried{};
      std::size_t count = 0;
      for (std::int32_t z = 0; z < p.rule.zero_count; ++z)
        for (std::int32_t s = first; s <= last; ++s) {
          sums.scale[count] = super * static_cast<float>(s);
          sums.zero[count] = static_cast<float>(p.rule.first_zero + z);
          tried[count++] = {s, z, 0.0f};
        }
      sums.measure(p, g, count);
      const std::size_t least = place_of_least(std::span(sums.ee).first(count));
      best = tried[least];
      best.error = sums.ee[least];
      xv = static_cast<double>(sums.xv[least]);
      vv = static_cast<double>(sums.vv[least]);
    }
    const auto s = static_cast<double>(best.scale);
    choice.error += static_cast<double>(best.error);
    choice.numerator = std::fma(s, xv, choice.numerator);
    choice.denominator = std::fma(s * s, vv, choice.denominator);
    choice.groups.push_back(best);
  }
  return choice;
}

/// Alternates between the choices of the groups and the super-scale that fits them best, for as long as it helps.
inline SuperChoice refine_super(const IntegerScaleProblem& p, std::span<const ErrorTable> tables, float super) {
  constexpr int kRounds = 4;
  SuperChoice best = measure_super(p, tables, super);
  for (int round = 0; round < kRounds; ++round) {
    if (!(best.denominator > 0)) break;
    const GroupParameters next = p.grid.round_scale(static_cast<float>(best.numerator / best.denominator));
    if (next.clamped || !(next.scale > 0.0f) || equals(next.scale, best.super)) break;
    SuperChoice tried = measure_super(p, tables, next.scale);
    if (!(tried.error < best.error)) break;
    best = std::move(tried);
  }
  return best;
}

/// The super-scales of kSuperFactors with the least error by the tables, best first.
inline std::vector<float> best_supers(const IntegerScaleProblem& p, std::span<const ErrorTable> tables, float largest) {
  constexpr std::size_t kKept = 3;
  struct Candidate {
    double error;
    float super;
  };
  std::vector<Candidate> candidates;
  const float unit = largest / static_cast<float>(p.rule.max_scale);
  for (const float factor : kSuperFactors) {
    const GroupParameters super = p.grid.round_scale(unit * factor);
    if (super.clamped || !(super.scale > 0.0f)) continue;
    if (!candidates.empty() && equals(candidates.back().super, super.scale)) continue;
    double error = 0;
    for (const ErrorTable& table : tables)
      error += static_cast<double>(look_up_choice(p.rule, table, super.scale).error);
    candidates.push_back({error, super.scale});
  }
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.error < b.error; });
  std::vector<float> supers;
  for (std::size_t i = 0; i < candidates.size() && i < kKept; ++i) supers.push_back(candidates[i].super);
  return supers;
}

/// Without a search for scales: the largest magnitude of the stretch at the largest integer, each group's at the end of
/// its codes, and the zero point of least error.
inline IntegerScales plain_integer_scales(const IntegerScaleProblem& p) {
  IntegerScales out;
  const float half = (p.grid.values().back() - p.grid.values().front()) / 2;
  const GroupParameters super = p.grid.round_scale(
      divide(divide(magnitude(peak(extremes(p.grid, p.x))), half), static_cast<float>(p.rule.max_scale)));
  out.super = super.scale;
  out.clamped = super.clamped;
  for (std::size_t g = 0; g < p.groups(); ++g) {
    const float wanted = divide(divide(magnitude(peak(extremes(p.grid, p.elements(g)))), half), super.scale);
    const std::int32_t s = to_integer(wanted, 1, p.rule.max_scale, {Rounding::up, Overflow::saturate, 0});
    Sums<1> sums;
    sums.scale[0] = super.scale * static_cast<float>(s);
    std::int32_t zero = 0;
    float least = 0.0f;
    for (std::int32_t z = 0; z < p.rule.zero_count; ++z) {
      sums.measure(p, g, p.rule.first_zero + z);
      if (z != 0 && !(sums.ee[0] < least)) continue;
      least = sums.ee[0];
      zero = z;
    }
    out.scales.push_back(static_cast<std::int16_t>(s));
    out.zeros.push_back(static_cast<std::int16_t>(p.rule.first_zero + zero));
    out.error += static_cast<double>(least);
  }
  return out;
}

}  // namespace detail

/// Chooses the scales of one stretch of at most 2048 columns. `grid` is of an integer-scaled scheme, `group` its group
/// size, `weights` as in choose_searched. Never worse than plain in the error measured. Contract: as choose_searched.
[[nodiscard]] inline IntegerScales choose_integer_scales(const Grid& grid, std::span<const float> x, std::size_t group,
                                                         bool search, std::span<const float> weights = {}) {
  const IntegerScaleRule rule = integer_scale_rule(grid.scheme());
  const detail::IntegerScaleProblem problem{grid, rule, x, weights, group};
  IntegerScales plain = detail::plain_integer_scales(problem);
  if (!search || plain.clamped) return plain;
  std::vector<detail::ErrorTable> tables;
  float largest = 0.0f;
  for (std::size_t g = 0; g < problem.groups(); ++g) {
    tables.push_back(detail::error_table(problem, g));
    largest = std::max(largest, tables.back().best);
  }
  std::vector<float> supers = detail::best_supers(problem, tables, largest);
  if (plain.super > 0.0f) supers.push_back(plain.super);
  detail::SuperChoice best;
  for (const float super : supers) {
    detail::SuperChoice tried = detail::refine_super(problem, tables, super);
    if (best.groups.empty() || tried.error < best.error) best = std::move(tried);
  }
  if (best.groups.empty() || plain.error < best.error) return plain;
  IntegerScales out{best.super, {}, {}, false, best.error};
  for (const detail::IntegerChoice& c : best.groups) {
    out.scales.push_back(static_cast<std::int16_t>(c.scale));
    out.zeros.push_back(static_cast<std::int16_t>(c.zero + rule.first_zero));
  }
  return out;
}

}  // namespace kvant
