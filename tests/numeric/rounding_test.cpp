// SPDX-License-Identifier: Apache-2.0
// Rounding, dividing and comparing on bits, against hardware and long double arithmetic.
#include "kvant/numeric/rounding.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "../reference/check.hpp"

namespace {

using kvant::divide;
using kvant::round_shift;
using kvant::Rounding;
using kvant::RoundingMode;
using kvant::to_integer;
using reference::from_bits;
using reference::to_bits;

const std::vector<float>& special_values() {
  static const std::vector<float> values = [] {
    std::vector<float> v;
    for (const std::uint32_t bits :
         {0x00000000u, 0x00000001u, 0x00000002u, 0x00000003u, 0x00400000u, 0x007fffffu, 0x00800000u, 0x00800001u,
          0x00ffffffu, 0x01000000u, 0x33800000u, 0x3effffffu, 0x3f000000u, 0x3f7fffffu, 0x3f800000u, 0x3f800001u,
          0x40000000u, 0x40400000u, 0x40e00000u, 0x40f00000u, 0x42fe0000u, 0x43e00000u, 0x4b000000u, 0x4b800000u,
          0x4f000000u, 0x7e800000u, 0x7f000000u, 0x7f7ffffeu, 0x7f7fffffu, 0x7f800000u, 0x7f800001u, 0x7fc00000u}) {
      v.push_back(from_bits(bits));
      v.push_back(from_bits(bits | 0x80000000u));
    }
    return v;
  }();
  return values;
}

float hardware_divide(float x, float y) {
  volatile float a = x;
  volatile float b = y;
  return a / b;
}

void check_division(reference::Mismatches& differ, float x, float y) {
  const float expected = hardware_divide(x, y);
  const float got = divide(x, y);
  if (std::isnan(expected))
    differ.compare(std::isnan(got) ? 1 : 0, 1, x);
  else
    differ.compare(to_bits(got), to_bits(expected), x);
}

TEST(Divide, EqualsHardwareOnRandomBits) {
  reference::Mismatches differ("x / y");
  const std::vector<float> x = reference::random_patterns(1000000, 10);
  const std::vector<float> y = reference::random_patterns(1000000, 11);
  for (std::size_t i = 0; i < x.size(); ++i) check_division(differ, x[i], y[i]);
}

TEST(Divide, EqualsHardwareOnNearbyExponentsAndSubnormals) {
  reference::Mismatches differ("x / y");
  std::mt19937 engine(12);
  const auto with_exponent = [&](std::uint32_t low, std::uint32_t high) {
    const std::uint32_t exponent = low + static_cast<std::uint32_t>(engine()) % (high - low + 1);
    return from_bits((static_cast<std::uint32_t>(engine()) & 0x807fffffu) | exponent << 23);
  };
  for (int i = 0; i < 300000; ++i) {
    check_division(differ, with_exponent(120, 134), with_exponent(120, 134));
    check_division(differ, with_exponent(0, 2), with_exponent(100, 130));      // subnormal quotients
    check_division(differ, with_exponent(0, 0), with_exponent(0, 0));          // both subnormal
    check_division(differ, with_exponent(100, 150), with_exponent(0, 1));      // subnormal divisors
    check_division(differ, with_exponent(250, 254), with_exponent(120, 134));  // around overflow
    check_division(differ, with_exponent(1, 40), with_exponent(140, 175));     // around underflow
  }
}

TEST(Divide, EqualsHardwareOnEveryPairOfSpecialValues) {
  reference::Mismatches differ("x / y");
  for (const float x : special_values())
    for (const float y : special_values()) check_division(differ, x, y);
}

TEST(Divide, RoundsExactTiesOfSubnormalQuotientsToEven) {
  // odd * 2^-149 / 2 is a tie between two subnormals.
  reference::Mismatches differ("x / 2");
  for (std::uint32_t bits = 1; bits < 4096; ++bits) check_division(differ, from_bits(bits), 2.0f);
}

TEST(OrderKey, OrdersAsTheNumbersDo) {
  for (const float a : special_values()) {
    for (const float b : special_values()) {
      if (std::isnan(a) || std::isnan(b)) continue;
      EXPECT_EQ(kvant::order_key(a) < kvant::order_key(b), a < b) << a << " " << b;
      EXPECT_EQ(kvant::order_key(a) == kvant::order_key(b), a == b) << a << " " << b;
    }
  }
}

TEST(Classify, AgreesWithTheStandardLibrary) {
  std::vector<float> values = reference::random_patterns(100000, 13);
  values.insert(values.end(), special_values().begin(), special_values().end());
  for (const float x : values) {
    ASSERT_EQ(kvant::is_nan(x), std::isnan(x));
    ASSERT_EQ(kvant::is_inf(x), std::isinf(x));
    ASSERT_EQ(kvant::is_finite(x), std::isfinite(x));
    ASSERT_EQ(kvant::is_negative(x), std::signbit(x));
    ASSERT_EQ(to_bits(kvant::magnitude(x)), to_bits(std::fabs(x)));
  }
}

TEST(Unpack, GivesSignSignificandAndExponent) {
  std::vector<float> values = reference::random_patterns(100000, 14);
  values.insert(values.end(), special_values().begin(), special_values().end());
  for (const float x : values) {
    if (!std::isfinite(x)) continue;
    const kvant::Unpacked u = kvant::unpack(x);
    const double value = std::ldexp(static_cast<double>(u.significand), u.exponent);
    ASSERT_EQ(u.negative ? -value : value, static_cast<double>(x));
    ASSERT_EQ(u.negative, std::signbit(x));
    ASSERT_LT(u.significand, std::uint64_t{1} << 24);
  }
}

/// significand / 2^drop with 128-bit arithmetic and floor division; the oracle of round_shift.
std::uint64_t shifted(std::uint64_t significand, int drop, bool negative, Rounding rounding) {
  if (drop <= 0) return significand << -drop;
  __extension__ using Wide = unsigned __int128;
  const Wide one = 1;
  if (drop > 100) drop = 100;  // all that is left is "not zero"
  const Wide unit = one << drop;
  const Wide quotient = Wide{significand} / unit;
  const Wide twice = 2 * (Wide{significand} % unit);
  bool up = false;
  if (rounding == Rounding::nearest_even) up = twice > unit || (twice == unit && quotient % 2 == 1);
  if (rounding == Rounding::nearest_away) up = twice >= unit;
  if (rounding == Rounding::up) up = twice != 0 && !negative;
  if (rounding == Rounding::down) up = twice != 0 && negative;
  return static_cast<std::uint64_t>(quotient) + (up ? 1 : 0);
}

TEST(RoundShift, EqualsWideArithmeticAtEveryShift) {
  std::vector<std::uint64_t> significands{0, 1, 2, 3, 5, 0x7fffffu, 0x800000u, 0xffffffu, UINT64_MAX, UINT64_MAX - 1};
  for (int bit = 0; bit < 64; ++bit)
    for (const std::uint64_t extra : {std::uint64_t{0}, std::uint64_t{1}})
      significands.push_back((std::uint64_t{1} << bit) | extra);
  for (int bit = 1; bit < 64; ++bit) significands.push_back((std::uint64_t{3} << (bit - 1)) - 1);
  std::mt19937_64 engine(15);
  for (int i = 0; i < 200; ++i) significands.push_back(engine() >> (i % 64));
  for (const Rounding rounding :
       {Rounding::nearest_even, Rounding::nearest_away, Rounding::toward_zero, Rounding::up, Rounding::down})
    for (const bool negative : {false, true})
      for (int drop = 0; drop <= 300; drop += drop < 70 ? 1 : 57)
        for (const std::uint64_t s : significands) {
          // The carry out of 64 bits is the caller's to avoid.
          if (drop == 0 && s == UINT64_MAX) continue;
          ASSERT_EQ(round_shift(s, drop, negative, {rounding, {}, 0}), shifted(s, drop, negative, rounding))
              << "0x" << std::hex << s << std::dec << " >> " << drop << " rounding " << static_cast<int>(rounding)
              << (negative ? " negative" : "");
        }
}

TEST(RoundShift, ShiftsLeftExactly) {
  for (int shift = 0; shift < 40; ++shift) EXPECT_EQ(round_shift(0xffffffu, -shift, false, {}), 0xffffffull << shift);
}

TEST(RoundShift, RoundsStochasticallyUpBelowTheFraction) {
  const auto up = [](std::uint64_t s, int drop, std::uint32_t random) {
    return round_shift(s, drop, false, {Rounding::stochastic, {}, random}) == (s >> drop) + 1;
  };
  EXPECT_TRUE(up(1, 1, 0x7fffffffu));  // one half
  EXPECT_FALSE(up(1, 1, 0x80000000u));
  EXPECT_TRUE(up(5, 2, 0x3fffffffu));  // a quarter
  EXPECT_FALSE(up(5, 2, 0x40000000u));
  EXPECT_FALSE(up(4, 2, 0));  // exact numbers stay
  EXPECT_TRUE(up((std::uint64_t{1} << 40) - 1, 40, 0xfffffffeu));
  EXPECT_FALSE(up((std::uint64_t{1} << 40) - 1, 40, 0xffffffffu));
  EXPECT_TRUE(up(std::uint64_t{1} << 39, 40, 0x7fffffffu));
  EXPECT_FALSE(up(std::uint64_t{1} << 39, 40, 0x80000000u));
  EXPECT_FALSE(up(1, 32, 1));
  EXPECT_TRUE(up(1, 32, 0));
}

TEST(ToInteger, RoundsSaturatesAndTakesNaNAsZero) {
  constexpr std::int32_t kLow = -128;
  constexpr std::int32_t kHigh = 127;
  EXPECT_EQ(to_integer(0.5f, kLow, kHigh), 0);
  EXPECT_EQ(to_integer(1.5f, kLow, kHigh), 2);
  EXPECT_EQ(to_integer(-0.5f, kLow, kHigh), 0);
  EXPECT_EQ(to_integer(-2.5f, kLow, kHigh), -2);
  EXPECT_EQ(to_integer(-2.5f, kLow, kHigh, {Rounding::nearest_away, {}, 0}), -3);
  EXPECT_EQ(to_integer(-2.5f, kLow, kHigh, {Rounding::up, {}, 0}), -2);
  EXPECT_EQ(to_integer(-2.5f, kLow, kHigh, {Rounding::down, {}, 0}), -3);
  EXPECT_EQ(to_integer(127.49f, kLow, kHigh), 127);
  EXPECT_EQ(to_integer(1e30f, kLow, kHigh), 127);
  EXPECT_EQ(to_integer(-1e30f, kLow, kHigh), -128);
  EXPECT_EQ(to_integer(INFINITY, kLow, kHigh), 127);
  EXPECT_EQ(to_integer(-INFINITY, kLow, kHigh), -128);
  EXPECT_EQ(to_integer(NAN, kLow, kHigh), 0);
  EXPECT_EQ(to_integer(-NAN, kLow, kHigh), 0);
  EXPECT_EQ(to_integer(NAN, 3, 9), 3);
  EXPECT_EQ(to_integer(0x1p-149f, kLow, kHigh), 0);
  EXPECT_EQ(to_integer(0x1p-149f, kLow, kHigh, {Rounding::up, {}, 0}), 1);
  EXPECT_EQ(to_integer(-0x1p-149f, kLow, kHigh, {Rounding::down, {}, 0}), -1);
}

TEST(ToInteger, EqualsDoubleArithmeticOverTheWholeIntegerRange) {
  std::vector<float> values = reference::random_patterns(300000, 16);
  const std::vector<float> large = reference::random_uniform(100000, 0x1.1p31f, 17);
  const std::vector<float> small = reference::random_uniform(100000, 40.0f, 18);
  values.insert(values.end(), large.begin(), large.end());
  values.insert(values.end(), small.begin(), small.end());
  for (const float v :
       {0x1p31f, -0x1p31f, 0x1.fffffep30f, -0x1.fffffep30f, 0x1.000002p31f, 0x1p23f, 0x1p24f, 8388607.5f})
    values.push_back(v);
  for (const float x : values) {
    if (std::isnan(x)) continue;
    const double rounded = std::nearbyint(static_cast<double>(x));
    const double clamped = std::fmax(-2147483648.0, std::fmin(2147483647.0, rounded));
    ASSERT_EQ(to_integer(x, INT32_MIN, INT32_MAX), static_cast<std::int32_t>(clamped)) << x;
  }
}

static_assert(divide(1.0f, 3.0f) == 1.0f / 3.0f);
static_assert(divide(-7.0f, 7.5f) == -7.0f / 7.5f);
static_assert(to_integer(2.5f, -8, 7) == 2 && to_integer(3.5f, -8, 7) == 4);
static_assert(round_shift(6, 2, false, RoundingMode{}) == 2);
static_assert(kvant::order_key(-0.0f) == kvant::order_key(0.0f));

}  // namespace
