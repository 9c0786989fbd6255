// SPDX-License-Identifier: Apache-2.0
#include "kvant/core/checked.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace {

using kvant::ceil_div;
using kvant::checked_add;
using kvant::checked_mul;
using kvant::round_up;

__extension__ using Wide = unsigned __int128;

const std::vector<std::uint64_t>& edges() {
  static const std::vector<std::uint64_t> values = [] {
    std::vector<std::uint64_t> v{0, 1, 2, 3, 7, 8, 0xffffffffu, 0x100000000u, 0x100000001u};
    for (int shift = 31; shift < 64; ++shift) {
      v.push_back((std::uint64_t{1} << shift) - 1);
      v.push_back(std::uint64_t{1} << shift);
      v.push_back((std::uint64_t{1} << shift) + 1);
    }
    v.push_back(UINT64_MAX - 1);
    v.push_back(UINT64_MAX);
    v.push_back(UINT64_MAX / 3);
    v.push_back(UINT64_MAX / 3 + 1);
    return v;
  }();
  return values;
}

TEST(Checked, AddsAndMultipliesOrRefuses) {
  for (const std::uint64_t a : edges()) {
    for (const std::uint64_t b : edges()) {
      const Wide sum = Wide{a} + b;
      const Wide product = Wide{a} * b;
      const auto s = checked_add(a, b);
      const auto p = checked_mul(a, b);
      ASSERT_EQ(s.has_value(), sum <= UINT64_MAX) << a << " + " << b;
      ASSERT_EQ(p.has_value(), product <= UINT64_MAX) << a << " * " << b;
      if (s) {
        ASSERT_EQ(*s, static_cast<std::uint64_t>(sum));
      }
      if (p) {
        ASSERT_EQ(*p, static_cast<std::uint64_t>(product));
      }
    }
  }
}

TEST(Checked, DividesUpwardWithoutWrapping) {
  for (const std::uint64_t a : edges())
    for (const std::uint64_t b : edges())
      if (b != 0) {
        ASSERT_EQ(ceil_div(a, b), static_cast<std::uint64_t>((Wide{a} + b - 1) / b)) << a << " / " << b;
      }
}

TEST(Checked, RoundsUpToMultiples) {
  EXPECT_EQ(round_up<std::uint64_t>(0, 64), 0u);
  EXPECT_EQ(round_up<std::uint64_t>(1, 64), 64u);
  EXPECT_EQ(round_up<std::uint64_t>(64, 64), 64u);
  EXPECT_EQ(round_up<std::uint64_t>(65, 64), 128u);
  EXPECT_EQ(round_up<std::uint64_t>(10, 3), 12u);
  EXPECT_EQ(round_up<std::uint64_t>(UINT64_MAX - 63, 64), UINT64_MAX - 63);
  static_assert(ceil_div(7u, 2u) == 4u);
  static_assert(checked_mul(1ull << 32, 1ull << 32) == std::nullopt);
  static_assert(checked_add(UINT64_MAX, 1) == std::nullopt);
}

}  // namespace
