// SPDX-License-Identifier: Apache-2.0
// is4, is3, is2: which integers a group's scale and zero point may be, and how the pair is stored.
//
//   value = S * s * (level(code) - z)      is4, is3: level(code) = code; is2: level(code) = 2 * code
//
// S is one number for each row (each 2048 columns of it), s a small integer for each group. s * (level - z) fits into
// int8, so that a kernel can multiply by it and add up a whole row in integers, with one float scale at the end.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kvant/core/contract.hpp"
#include "kvant/quant/scheme.hpp"

namespace kvant {

/// s is 1 … max_scale, z is first_zero … first_zero + zero_count - 1. A group's record is
/// (s - 1) + scale_step * (z - first_zero), in record_bits.
struct IntegerScaleRule {
  std::int32_t max_scale;
  std::int32_t first_zero;
  std::int32_t zero_count;
  std::int32_t scale_step;
  unsigned record_bits;

  [[nodiscard]] constexpr bool allows(std::int32_t s, std::int32_t z) const noexcept {
    return s >= 1 && s <= max_scale && z >= first_zero && z < first_zero + zero_count;
  }
  [[nodiscard]] constexpr std::uint8_t record(std::int32_t s, std::int32_t z) const noexcept {
    return static_cast<std::uint8_t>(s - 1 + scale_step * (z - first_zero));
  }
  [[nodiscard]] constexpr std::int32_t scale_of(std::uint8_t record) const noexcept { return record % scale_step + 1; }
  [[nodiscard]] constexpr std::int32_t zero_of(std::uint8_t record) const noexcept {
    return record / scale_step + first_zero;
  }
};

/// Contract: the scheme has integer scales.
[[nodiscard]] constexpr IntegerScaleRule integer_scale_rule(const Scheme& scheme) {
  expects(scheme.has_integer_scales(), "an integer-scaled scheme");
  if (scheme.format == format_id<uint4>) return {14, 6, 4, 16, 6};  // record: 4 bits of s - 1, 2 bits of z - 6
  if (scheme.format == format_id<uint3>) return {8, 3, 2, 8, 4};    // record: 3 bits of s - 1, 1 bit of z - 3
  return {5, 2, 3, 5, 4};                                           // record: one of 15
}

}  // namespace kvant
