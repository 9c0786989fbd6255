// SPDX-License-Identifier: Apache-2.0
// The erased view of a format that methods work on: at most 256 levels; encode, decode and fit, groups of a row or a
// column at a time, on kernels. A method written against it runs on every format, however scales are stored.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kvant/core/contract.hpp"
#include "kvant/kernels/generic.hpp"
#include "kvant/kernels/kernels.hpp"
#include "kvant/numeric/formats.hpp"

namespace kvant {

/// The scale, zero point and offset of one group: value = scale * (level(code) - zero) - offset.
struct GroupParameters {
  float scale = 0.0f;
  std::int32_t zero = 0;
  bool clamped = false;  ///< the scale that was wanted exceeds its storage type
  float stored = 0.0f;   ///< what the inner level of scales holds; the scale itself where there is one level
  float offset = 0.0f;
  bool has_offset = false;
};

class FormatGrid {
 public:
  /// Contract: the format has at most 8 bits. `table` decides how fast, never what.
  explicit FormatGrid(FormatId format, const kernels::Kernels& table = kernels::generic::kTable)
      : format_(&format_info(format)), table_(&table) {
    expects(format_->bits <= 8, "a grid's format has at most 8 bits");
    float reach = static_cast<float>(format_->high - format_->low) * format_->step();  // of a code from its zero point
    for (std::uint32_t code = 0; code < (1u << format_->bits); ++code) {
      values_[code] = format_->decode(code);
      if (is_finite(values_[code]) && magnitude(values_[code]) > reach) reach = magnitude(values_[code]);
    }
    largest_scale_ = divide(0x1p127f, reach);
    const bool codebook = format_->thresholds != nullptr;
    const bool integer = format_->kind == FormatKind::integer && !codebook;
    kind_ = codebook                                                             ? kernels::CodeKind::codebook
            : integer                                                            ? kernels::CodeKind::integer
            : format_->kind == FormatKind::minifloat && !format_->is_auxiliary() ? kernels::CodeKind::minifloat
                                                                                 : kernels::CodeKind::other;
    encode_ = integer ? table.encode_integer : codebook ? table.encode_codebook : table.encode_minifloat;
    fit_ = integer ? table.fit_integer : codebook ? table.fit_codebook : table.fit_minifloat;
  }

  [[nodiscard]] const FormatInfo& format() const noexcept { return *format_; }
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

  /// The largest scale under which no code decodes to Inf.
  [[nodiscard]] float largest_scale() const noexcept { return largest_scale_; }
  /// Whether codes would decode to Inf under a scale.
  [[nodiscard]] bool is_too_large(float scale) const noexcept { return magnitude(scale) > largest_scale_; }

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
    return p.has_offset ? std::fma(p.scale, steps, -p.offset) : p.scale * steps;
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
    return {.kind = kind_,
            .bits = format_->bits,
            .low = format_->low,
            .high = format_->high,
            .fraction_bits = format_->fraction_bits,
            .mantissa_bits = format_->mantissa_bits,
            .min_exponent = format_->min_exponent,
            .max = format_->max,
            .thresholds = format_->thresholds,
            .threshold_count = format_->threshold_count,
            .codes = format_->codes,
            .values = values_.data(),
            .encode = format_->encode_byte};
  }

 private:
  /// One group of fewer elements than it may have.
  [[nodiscard]] kernels::GroupScales scales_of(const GroupParameters& p, const std::int16_t& zero,
                                               std::size_t n) const noexcept {
    kernels::GroupScales scales{{&p.scale}, &zero, n + 1};
    if (p.has_offset) scales.offsets.stored = &p.offset;
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

  const FormatInfo* format_;
  const kernels::Kernels* table_;
  kernels::CodeKind kind_ = kernels::CodeKind::other;
  void (*encode_)(const kernels::EncodeArgs&) noexcept = nullptr;
  void (*fit_)(const kernels::FitArgs&) noexcept = nullptr;
  std::array<float, 256> values_{};
  float largest_scale_ = 0.0f;
};

}  // namespace kvant
