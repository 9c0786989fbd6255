// SPDX-License-Identifier: Apache-2.0
// Unsigned 64-bit arithmetic on sizes that come from files: every step that could wrap says so.
#pragma once

#include <concepts>
#include <cstdint>
#include <optional>

namespace kvant {

[[nodiscard]] constexpr std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) noexcept {
  if (a > UINT64_MAX - b) return std::nullopt;
  return a + b;
}

[[nodiscard]] constexpr std::optional<std::uint64_t> checked_mul(std::uint64_t a, std::uint64_t b) noexcept {
  if (b != 0 && a > UINT64_MAX / b) return std::nullopt;
  return a * b;
}

/// ceil(a / b) for b > 0, without the wrap of (a + b - 1) / b.
template <std::unsigned_integral T>
[[nodiscard]] constexpr T ceil_div(T a, T b) noexcept {
  return a / b + (a % b != 0 ? 1 : 0);
}

/// The least multiple of `step` that is >= `a`; the caller knows that it fits.
template <std::unsigned_integral T>
[[nodiscard]] constexpr T round_up(T a, T step) noexcept {
  return ceil_div(a, step) * step;
}

}  // namespace kvant
