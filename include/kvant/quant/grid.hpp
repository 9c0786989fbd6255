// SPDX-License-Identifier: Apache-2.0
// A format with the rule by which scales of its groups are rounded to storage.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "kvant/quant/format_grid.hpp"
#include "kvant/quant/scheme.hpp"

namespace kvant {

using kernels::PowerRule;
namespace kernels {
[[nodiscard]] constexpr std::array<std::string_view, 4> option_names(PowerRule) noexcept {
  return {"floor", "up", "nearest", "ct"};
}
}  // namespace kernels

namespace detail {

/// x times a power of two, which changes nothing but the exponent, on bits; subnormal results are rounded to even.
[[nodiscard]] constexpr float scale_exponent(float x, int power) noexcept {
  if (!is_finite(x) || order_key(x) == 0) return x;
  Unpacked u = unpack(x);
  u.exponent += power;
  const std::uint64_t fields = round_to_fields<23, -126>(u, RoundingMode{});
  const std::uint32_t magnitude_bits = fields < 0x7f800000u ? static_cast<std::uint32_t>(fields) : 0x7f800000u;
  return std::bit_cast<float>((u.negative ? 0x80000000u : 0u) | magnitude_bits);
}

/// The exponent field of a power of two that is not below x > 0, less the bias: floor(log2 x).
[[nodiscard]] constexpr int floor_log2(float x) noexcept {
  const Unpacked u = unpack(x);
  return u.exponent + 63 - std::countl_zero(u.significand);
}

}  // namespace detail

/// A format, and how the scales of its groups are rounded to storage: what choosers work on.
class Grid : public FormatGrid {
 public:
  /// Scales are rounded as the scheme's stack says (NumberStack::chosen_type). Contract: the scheme's format has at
  /// most 8 bits.
  explicit Grid(const Scheme& scheme, const kernels::Kernels& table = kernels::generic::kTable)
      : FormatGrid(scheme.format, table), scale_(&format_info(scheme.scales.chosen_type())), scheme_(scheme) {
    tabulate_scales();
  }

  /// The same grid under a matrix-wide scale: an element's scale is stored * super, or stored / super where that is
  /// `reciprocal`.
  [[nodiscard]] Grid under(float super, bool reciprocal) const {
    Grid grid = *this;
    grid.super_ = super;
    grid.reciprocal_ = reciprocal;
    grid.tabulate_scales();
    return grid;
  }

  /// The same grid where scales are rounded to another type.
  [[nodiscard]] Grid with_scale_type(FormatId type) const {
    Grid grid = *this;
    grid.scale_ = &format_info(type);
    grid.tabulate_scales();
    return grid;
  }

  [[nodiscard]] const Scheme& scheme() const noexcept { return scheme_; }
  [[nodiscard]] const FormatInfo& scale_format() const noexcept { return *scale_; }
  [[nodiscard]] Symmetry symmetry() const noexcept { return scheme_.symmetry; }
  /// The nearest scale that its storage holds; beyond its range, or where codes would decode to Inf, the largest one
  /// that will do, and `clamped`.
  [[nodiscard]] GroupParameters round_scale(float scale, std::int32_t zero = 0) const noexcept {
    if (is_too_large(scale)) {
      GroupParameters p = round_scale(is_negative(scale) ? -largest_scale() : largest_scale(), zero);
      p.clamped = true;
      return p;
    }
    const float wanted = equals(super_, 1.0f) ? scale : reciprocal_ ? scale * super_ : divide(scale, super_);
    const float exact = scale_->decode(scale_->encode(wanted, {Rounding::nearest_even, Overflow::ieee, 0}));
    if (is_finite(exact)) return with_stored(exact, zero);
    // A scale of E8M0 that should be 0 is the least there is.
    GroupParameters p = with_stored(scale_->decode(scale_->encode(wanted)), zero);
    p.clamped = order_key(wanted) != 0;
    return p;
  }

  /// The parameters that a stored scale stands for.
  [[nodiscard]] GroupParameters with_stored(float stored, std::int32_t zero = 0) const noexcept {
    const float scale = equals(super_, 1.0f) ? stored : reciprocal_ ? divide(stored, super_) : stored * super_;
    return {scale, zero, false, stored};
  }

  /// The scale that a code of the scales' format stands for. Contract: that format has at most 8 bits.
  [[nodiscard]] float scale_of_code(std::uint32_t code) const noexcept { return scale_of_code_[code]; }

  /// Scales stored as E8M0: the plain one for a block whose largest magnitude is `amax`.
  [[nodiscard]] GroupParameters power_scale(float amax, PowerRule rule) const noexcept {
    if (order_key(amax) == 0) return round_scale(0.0f);
    if (rule == PowerRule::up || rule == PowerRule::nearest) {
      const float ratio = divide(amax, format().max);
      const Rounding direction = rule == PowerRule::up ? Rounding::up : Rounding::nearest_even;
      return round_scale(scale_->decode(scale_->encode(ratio, {direction, Overflow::saturate, 0})));
    }
    int exponent = detail::floor_log2(amax) - detail::floor_log2(format().max);
    if (rule == PowerRule::ct && order_key(amax) >= order_key(detail::scale_exponent(1.75f, detail::floor_log2(amax))))
      ++exponent;
    return round_scale(detail::scale_exponent(1.0f, exponent));
  }

  /// What plain_scales() is to be asked for groups of x: its results go to `stored`.
  [[nodiscard]] kernels::PlainScalesArgs plain_scales_args(std::span<const float> x, std::size_t group, PowerRule rule,
                                                           std::span<float> stored) const noexcept {
    const bool is_power = scale_->kind == FormatKind::exponent;
    return {.x = x.data(),
            .n = x.size(),
            .group = group,
            .unit = is_power ? format().max : unit(),
            .unit_exponent = detail::floor_log2(format().max),
            .mantissa_bits = scale_->mantissa_bits,
            .min_exponent = scale_->min_exponent,
            .max = scale_->max,
            .super = super_,
            .reciprocal = reciprocal_,
            .powers_of_two = is_power,
            .power_rule = rule,
            .stored = stored.data()};
  }

 private:
  void tabulate_scales() noexcept {
    for (std::uint32_t code = 0; scale_->bits <= 8 && code < (1u << scale_->bits); ++code)
      scale_of_code_[code] = with_stored(scale_->decode(code)).scale;
  }

  const FormatInfo* scale_;
  Scheme scheme_;
  float super_ = 1.0f;
  bool reciprocal_ = false;
  std::array<float, 256> scale_of_code_{};
};

}  // namespace kvant
