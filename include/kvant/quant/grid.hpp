// SPDX-License-Identifier: Apache-2.0
// The erased view of a format and its scale that methods work on: at most 256 levels, encode and decode a row, round a
// scale and a zero point to storage. A method written against Grid runs on every format.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kvant/core/contract.hpp"
#include "kvant/kernels/generic.hpp"
#include "kvant/kernels/kernels.hpp"
#include "kvant/numeric/formats.hpp"
#include "kvant/quant/scheme.hpp"

namespace kvant {

/// The scale, zero point and offset of one group: value = scale * (level(code) - zero) - offset.
struct GroupParameters {
  float scale = 0.0f;
  std::int32_t zero = 0;
  bool clamped = false;  ///< the scale that was wanted exceeds its storage type
  float stored = 0.0f;   ///< what the inner level of scales holds; the scale itself where there is one level
  float offset = 0.0f;
};

/// How OCP MX scales follow from the largest magnitude of a block, where none is searched. With e = floor(log2 amax)
/// and E = floor(log2 of the format's largest value):
enum class PowerRule : std::uint8_t {
  floor,    ///< 2^(e - E), as the OCP specification: up to half of the block's range saturates
  up,       ///< the least power of two that saturates nothing
  nearest,  ///< the power of two nearest to amax / largest value, the upper one of two
  ct,       ///< 2^(e - E), and twice that where amax >= 1.75 * 2^e, as compressed-tensors and vLLM
};

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

class Grid {
 public:
  /// Contract: the scheme's format has at most 8 bits. `table` decides how fast, never what.
  explicit Grid(const Scheme& scheme, const kernels::Kernels& table = kernels::generic::kTable)
      : format_(&scheme.info()), scale_(&format_info(scheme.scales.chosen_type())), scheme_(scheme), table_(&table) {
    expects(format_->bits <= 8, "a grid's format has at most 8 bits");
    float reach = static_cast<float>(format_->high - format_->low) * format_->step();  // of a code from its zero point
    for (std::uint32_t code = 0; code < (1u << format_->bits); ++code) {
      values_[code] = format_->decode(code);
      if (is_finite(values_[code]) && magnitude(values_[code]) > reach) reach = magnitude(values_[code]);
    }
    largest_scale_ = divide(0x1p127f, reach);
    const bool codebook = format_->thresholds != nullptr;
    const bool integer = format_->kind == FormatKind::integer && !codebook;
    encode_ = integer ? table.encode_integer : codebook ? table.encode_codebook : table.encode_minifloat;
    fit_ = integer ? table.fit_integer : codebook ? table.fit_codebook : table.fit_minifloat;
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
  [[nodiscard]] const FormatInfo& format() const noexcept { return *format_; }
  [[nodiscard]] const FormatInfo& scale_format() const noexcept { return *scale_; }
  [[nodiscard]] Symmetry symmetry() const noexcept { return scheme_.symmetry; }
  [[nodiscard]] const kernels::Kernels& table() const noexcept { return *table_; }
  /// The value of each code, before scale and zero point.
  [[nodiscard]] std::span<const float> values() const noexcept {
    return {values_.data(), std::size_t{1} << format_->bits};
  }

  /// The magnitude that a plain symmetric scale maps the largest weight to: (2^bits - 1) / 2 for signed integers (as
  /// compressed-tensors), the largest finite value otherwise.
  [[nodiscard]] float unit() const noexcept {
    if (format_->kind != FormatKind::integer || -format_->low != format_->high + 1) return format_->max;
    return static_cast<float>((1 << format_->bits) - 1) / 2 * format_->step();
  }

  /// The nearest scale that its storage holds; beyond its range, or where codes would decode to Inf, the largest one
  /// that will do, and `clamped`.
  [[nodiscard]] GroupParameters round_scale(float scale, std::int32_t zero = 0) const noexcept {
    if (is_too_large(scale)) {
      GroupParameters p = round_scale(is_negative(scale) ? -largest_scale_ : largest_scale_, zero);
      p.clamped = true;
      return p;
    }
    const float wanted = super_ == 1.0f ? scale : reciprocal_ ? scale * super_ : divide(scale, super_);
    const float exact = scale_->decode(scale_->encode(wanted, {Rounding::nearest_even, Overflow::ieee, 0}));
    if (is_finite(exact)) return with_stored(exact, zero);
    // A scale of E8M0 that should be 0 is the least there is.
    GroupParameters p = with_stored(scale_->decode(scale_->encode(wanted)), zero);
    p.clamped = order_key(wanted) != 0;
    return p;
  }

  /// Whether codes would decode to Inf under a scale.
  [[nodiscard]] bool is_too_large(float scale) const noexcept { return magnitude(scale) > largest_scale_; }

  /// The parameters that a stored scale stands for.
  [[nodiscard]] GroupParameters with_stored(float stored, std::int32_t zero = 0) const noexcept {
    const float scale = super_ == 1.0f ? stored : reciprocal_ ? divide(stored, super_) : stored * super_;
    return {scale, zero, false, stored};
  }

  /// The scale that a code of the scales' format stands for. Contract: that format has at most 8 bits.
  [[nodiscard]] float scale_of_code(std::uint32_t code) const noexcept { return scale_of_code_[code]; }

  /// Scales stored as E8M0: the plain one for a block whose largest magnitude is `amax`.
  [[nodiscard]] GroupParameters power_scale(float amax, PowerRule rule) const noexcept {
    if (order_key(amax) == 0) return round_scale(0.0f);
    if (rule == PowerRule::up || rule == PowerRule::nearest) {
      const float ratio = divide(amax, format_->max);
      const Rounding direction = rule == PowerRule::up ? Rounding::up : Rounding::nearest_even;
      return round_scale(scale_->decode(scale_->encode(ratio, {direction, Overflow::saturate, 0})));
    }
    int exponent = detail::floor_log2(amax) - detail::floor_log2(format_->max);
    if (rule == PowerRule::ct && order_key(amax) >= order_key(detail::scale_exponent(1.75f, detail::floor_log2(amax))))
      ++exponent;
    return round_scale(detail::scale_exponent(1.0f, exponent));
  }

  /// What plain_scales() is to be asked for groups of x: its results go to `stored`.
  [[nodiscard]] kernels::PlainScalesArgs plain_scales_args(std::span<const float> x, std::size_t group, PowerRule rule,
                                                           std::span<float> stored) const noexcept {
    const bool is_power = scale_->kind == FormatKind::exponent;
    constexpr std::array kRules{kernels::PowerScale::floor, kernels::PowerScale::up, kernels::PowerScale::nearest,
                                kernels::PowerScale::ct};
    return {x.data(),
            x.size(),
            group,
            is_power ? format_->max : unit(),
            detail::floor_log2(format_->max),
            scale_->mantissa_bits,
            scale_->min_exponent,
            scale_->max,
            super_,
            reciprocal_,
            is_power ? kRules[static_cast<std::size_t>(rule)] : kernels::PowerScale::none,
            stored.data()};
  }

  /// The zero point nearest to `zero` that the format's code can store.
  [[nodiscard]] std::int32_t round_zero(float zero) const noexcept {
    return to_integer(zero, format_->low, format_->high);
  }

  /// One group.
  void encode(std::span<const float> x, GroupParameters p, std::span<std::uint8_t> codes) const noexcept {
    const auto zero = static_cast<std::int16_t>(p.zero);
    encode(x, scales_of(p, zero, x.size()), codes);
  }
  /// Groups that lie one after the other.
  void encode(std::span<const float> x, const kernels::GroupScales& scales,
              std::span<std::uint8_t> codes) const noexcept {
    const kernels::FormatArgs format = format_args();
    if (scales.offsets.stored != nullptr) return encode_shifted(format, x, scales, codes);
    encode_({&format, x.data(), x.size(), scales, codes.data()});
  }

  /// Sums that a search for scales compares, one per trial: see kernels::FitArgs.
  struct Trials {
    std::span<const float> inverse;
    std::span<const float> zero;
    std::span<const float> scales;  ///< empty where no error is asked for
    std::span<float> xv, vv, ee;
    std::span<const float> weights{};  ///< of the elements; empty where all weigh the same
  };
  void fit(std::span<const float> x, const Trials& t) const noexcept {
    const kernels::FormatArgs format = format_args();
    fit_({&format, x.data(), x.size(), t.inverse.size(), t.inverse.data(), t.zero.data(),
          t.scales.empty() ? nullptr : t.scales.data(), t.weights.empty() ? nullptr : t.weights.data(), t.xv.data(),
          t.vv.data(), t.ee.data()});
  }

  [[nodiscard]] float decode(std::uint8_t code, GroupParameters p) const noexcept {
    const float steps = values_[code] - static_cast<float>(p.zero);
    return scheme_.offsets ? std::fma(p.scale, steps, -p.offset) : p.scale * steps;
  }
  void decode(std::span<const std::uint8_t> codes, GroupParameters p, std::span<float> out) const noexcept {
    const auto zero = static_cast<std::int16_t>(p.zero);
    decode(codes, scales_of(p, zero, codes.size()), out);
  }
  void decode(std::span<const std::uint8_t> codes, const kernels::GroupScales& scales,
              std::span<float> out) const noexcept {
    const kernels::FormatArgs format = format_args();
    table_->decode({&format, codes.data(), codes.size(), scales, out.data()});
  }

  /// The format as kernels see it; its pointers are this grid's and the format's.
  [[nodiscard]] kernels::FormatArgs format_args() const noexcept {
    return {format_->bits,          format_->low,           format_->high,
            format_->fraction_bits, format_->mantissa_bits, format_->min_exponent,
            format_->max,           format_->thresholds,    format_->threshold_count,
            format_->codes,         values_.data(),         format_->encode_byte};
  }

 private:
  /// One group of fewer elements than it may have.
  [[nodiscard]] kernels::GroupScales scales_of(const GroupParameters& p, const std::int16_t& zero,
                                               std::size_t n) const noexcept {
    kernels::GroupScales scales{{&p.scale}, &zero, n + 1};
    if (scheme_.offsets) scales.offsets.stored = &p.offset;
    return scales;
  }
  /// Codes of x + offset, some elements of a group at a time.
  void encode_shifted(const kernels::FormatArgs& format, std::span<const float> x, const kernels::GroupScales& scales,
                      std::span<std::uint8_t> codes) const noexcept {
    std::array<float, 256> shifted;
    for (std::size_t begin = 0; begin < x.size();) {
      const std::size_t g = begin / scales.group;
      const std::size_t end = std::min({x.size(), (g + 1) * scales.group, begin + shifted.size()});
      const float offset = kernels::generic::group_number(scales.offsets, scales.offsets.stored[g]);
      for (std::size_t i = begin; i < end; ++i) shifted[i - begin] = (is_nan(x[i]) ? 0.0f : x[i]) + offset;
      kernels::GroupScales one = scales;
      one.scales.stored += g;
      if (one.zeros != nullptr) one.zeros += g;
      one.offsets = {};
      encode_({&format, shifted.data(), end - begin, one, codes.data() + begin});
      begin = end;
    }
  }
  void tabulate_scales() noexcept {
    for (std::uint32_t code = 0; scale_->bits <= 8 && code < (1u << scale_->bits); ++code)
      scale_of_code_[code] = with_stored(scale_->decode(code)).scale;
  }

  const FormatInfo* format_;
  const FormatInfo* scale_;
  Scheme scheme_;
  const kernels::Kernels* table_;
  float super_ = 1.0f;
  bool reciprocal_ = false;
  void (*encode_)(const kernels::EncodeArgs&) noexcept = nullptr;
  void (*fit_)(const kernels::FitArgs&) noexcept = nullptr;
  std::array<float, 256> values_{};
  std::array<float, 256> scale_of_code_{};
  float largest_scale_ = 0.0f;
};

}  // namespace kvant
