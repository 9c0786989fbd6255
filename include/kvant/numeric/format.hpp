// SPDX-License-Identifier: Apache-2.0
// What a number format is: a code type, a width, and total functions between floats and codes.
#pragma once

#include <concepts>
#include <cstdint>
#include <string_view>

#include "kvant/numeric/integer.hpp"
#include "kvant/numeric/rounding.hpp"

namespace kvant {

/// A format maps every float to a code (`encode`, on bits) and every code to a float (`decode`, exact).
template <class F>
concept Format = requires(float x, typename F::Code code, RoundingMode mode) {
  { F::kName } -> std::convertible_to<std::string_view>;
  { F::kBits } -> std::convertible_to<unsigned>;
  { F::kKind } -> std::convertible_to<FormatKind>;
  { F::kMax } -> std::convertible_to<float>;
  { F::encode(x, mode) } -> std::same_as<typename F::Code>;
  { F::decode(code) } -> std::same_as<float>;
};

}  // namespace kvant
