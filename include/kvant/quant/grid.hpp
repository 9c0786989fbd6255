// SPDX-License-Identifier: Apache-2.0
// The erased view of a format and its scale that methods work on: at most 256 levels, encode and decode a row, round a
// scale and a zero point to storage. A method written against Grid runs on every format.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kvant/core/contract.hpp"
#include "kvant/kernels/generic.hpp"
#include "kvant/kernels/kernels.hpp"
#include "kvant/numeric/formats.hpp"
#include "kvant/quant/scheme.hpp"

namespace kvant {

/// The scale and zero point of one group: value = scale * (level(code) - zero).
struct GroupParameters {
  float scale = 0.0f;
  std::int32_t zero = 0;
  bool clamped = false;  ///< the scale that was wanted exceeds its storage type
};

namespace detail {

template <Format... F>
constexpr auto make_code_encoders(FormatList<F...>) noexcept {
  using Encoder = std::uint8_t (*)(float);
  return std::array<Encoder, sizeof...(F)>{[] {
    if constexpr (F::kBits <= 8)
      return Encoder{[](float x) { return F::encode(x); }};
    else
      return Encoder{nullptr};
  }()...};
}

/// One encoder per format; null where codes are wider than a byte.
inline constexpr auto kCodeEncoders = make_code_encoders(AllFormats{});

}  // namespace detail

class Grid {
 public:
  /// Contract: the scheme's format has at most 8 bits. `table` decides how fast, never what.
  explicit Grid(const Scheme& scheme, const kernels::Kernels& table = kernels::generic::kTable)
      : format_(&scheme.info()),
        scale_(&format_info(scheme.scale_type)),
        symmetry_(scheme.symmetry),
        encode_code_(detail::kCodeEncoders[static_cast<std::size_t>(scheme.format)]) {
    expects(encode_code_ != nullptr, "a grid's format has at most 8 bits");
    float reach = static_cast<float>(format_->high - format_->low);  // of a code from its zero point
    for (std::uint32_t code = 0; code < (1u << format_->bits); ++code) {
      values_[code] = format_->decode(code);
      if (is_finite(values_[code]) && magnitude(values_[code]) > reach) reach = magnitude(values_[code]);
    }
    largest_scale_ = divide(0x1p127f, reach);
    const bool codebook = format_->thresholds != nullptr;
    const bool integer = format_->kind == FormatKind::integer && !codebook;
    encode_ = integer ? table.encode_integer : codebook ? table.encode_codebook : table.encode_minifloat;
    fit_ = integer ? table.fit_integer : codebook ? table.fit_codebook : table.fit_minifloat;
  }

  [[nodiscard]] const FormatInfo& format() const noexcept { return *format_; }
  [[nodiscard]] Symmetry symmetry() const noexcept { return symmetry_; }
  /// The value of each code, before scale and zero point.
  [[nodiscard]] std::span<const float> values() const noexcept {
    return {values_.data(), std::size_t{1} << format_->bits};
  }

  /// The magnitude that a plain symmetric scale maps the largest weight to: (2^bits - 1) / 2 for signed integers (as
  /// compressed-tensors), the largest finite value otherwise.
  [[nodiscard]] float unit() const noexcept {
    if (format_->kind != FormatKind::integer || -format_->low != format_->high + 1) return format_->max;
    return static_cast<float>((1 << format_->bits) - 1) / 2;
  }

  /// The nearest scale that its storage type holds; beyond its range, or where codes would decode to Inf, the largest
  /// one that will do, and `clamped`.
  [[nodiscard]] GroupParameters round_scale(float scale, std::int32_t zero = 0) const noexcept {
    if (magnitude(scale) > largest_scale_) {
      const GroupParameters p = round_scale(is_negative(scale) ? -largest_scale_ : largest_scale_, zero);
      return {p.scale, zero, true};
    }
    const float exact = scale_->decode(scale_->encode(scale, {Rounding::nearest_even, Overflow::ieee, 0}));
    if (is_finite(exact)) return {exact, zero, false};
    return {scale_->decode(scale_->encode(scale, {})), zero, true};
  }

  /// The zero point nearest to `zero` that the format's code can store.
  [[nodiscard]] std::int32_t round_zero(float zero) const noexcept {
    return to_integer(zero, format_->low, format_->high);
  }

  void encode(std::span<const float> x, GroupParameters p, std::span<std::uint8_t> codes) const noexcept {
    const kernels::FormatArgs format = format_args();
    encode_({&format, x.data(), x.size(), p.scale, p.zero, codes.data()});
  }

  /// Sums that a search for scales compares, one per trial: see kernels::FitArgs.
  struct Trials {
    std::span<const float> inverse;
    std::span<const float> zero;
    std::span<const float> scales;  ///< empty where no error is asked for
    std::span<float> xv, vv, ee;
  };
  void fit(std::span<const float> x, const Trials& t) const noexcept {
    const kernels::FormatArgs format = format_args();
    fit_({&format, x.data(), x.size(), t.inverse.size(), t.inverse.data(), t.zero.data(),
          t.scales.empty() ? nullptr : t.scales.data(), t.xv.data(), t.vv.data(), t.ee.data()});
  }

  [[nodiscard]] float decode(std::uint8_t code, GroupParameters p) const noexcept {
    return p.scale * (values_[code] - static_cast<float>(p.zero));
  }
  void decode(std::span<const std::uint8_t> codes, GroupParameters p, std::span<float> out) const noexcept {
    for (std::size_t i = 0; i < codes.size(); ++i) out[i] = decode(codes[i], p);
  }

 private:
  [[nodiscard]] kernels::FormatArgs format_args() const noexcept {
    return {format_->bits,         format_->low, format_->high,       format_->mantissa_bits,
            format_->min_exponent, format_->max, format_->thresholds, format_->threshold_count,
            values_.data(),        encode_code_};
  }

  const FormatInfo* format_;
  const FormatInfo* scale_;
  Symmetry symmetry_;
  std::uint8_t (*encode_code_)(float);
  void (*encode_)(const kernels::EncodeArgs&) noexcept = nullptr;
  void (*fit_)(const kernels::FitArgs&) noexcept = nullptr;
  std::array<float, 256> values_{};
  float largest_scale_ = 0.0f;
};

}  // namespace kvant
