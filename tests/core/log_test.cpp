// SPDX-License-Identifier: Apache-2.0
#include "kvant/core/log.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "kvant/core/rng.hpp"

namespace {

using kvant::portable_log2;

void expect_close(double x) {
  const long double exact = std::log2(static_cast<long double>(x));
  const long double error = std::fabs(static_cast<long double>(portable_log2(x)) - exact);
  EXPECT_LE(error, 1e-15L * std::fabs(exact)) << std::hexfloat << x;
}

TEST(Log2, IsWithinItsBoundForAllMagnitudes) {
  kvant::Rng rng(7);
  for (int i = 0; i < 200000; ++i) {
    const double x = std::bit_cast<double>(rng.next() >> 1);
    if (std::isfinite(x) && x != 0) expect_close(x);
  }
}

TEST(Log2, IsWithinItsBoundForSubnormals) {
  kvant::Rng rng(8);
  for (int shift = 12; shift < 64; ++shift)
    for (int i = 0; i < 100; ++i) {
      const double x = std::bit_cast<double>(rng.next() >> shift);
      if (x != 0) expect_close(x);
    }
}

TEST(Log2, IsWithinItsBoundNearOneAndAroundTheCut) {
  for (int exponent = 1; exponent <= 52; ++exponent)
    for (const double sign : {-1.0, 1.0}) expect_close(1 + sign * std::ldexp(1.0, -exponent));
  kvant::Rng rng(9);
  for (int i = 0; i < 200000; ++i) expect_close(0.5 + 1.5 * static_cast<double>(rng.next() >> 11) * 0x1p-53);
  for (const double x :
       {0.7071067811865475, 0.7071067811865476, 1.414213562373095, 1.4142135623730951, 2.828427124746190})
    expect_close(x);
}

TEST(Log2, IsWithinItsBoundForCounts) {
  for (std::uint32_t n = 2; n < 200000; ++n) expect_close(n);
}

TEST(Log2, IsExactForPowersOfTwo) {
  for (int k = -1074; k <= 1023; ++k) EXPECT_EQ(portable_log2(std::ldexp(1.0, k)), k);
}

TEST(Log2, IsDefinedForEveryDouble) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(portable_log2(0.0), -kInf);
  EXPECT_EQ(portable_log2(-0.0), -kInf);
  EXPECT_EQ(portable_log2(kInf), kInf);
  for (const double x : {-1.0, -kInf, -5e-324, std::nan(""), -std::nan("")}) EXPECT_TRUE(std::isnan(portable_log2(x)));
}

// Recorded: the same bits on every machine is what it is for.
TEST(Log2, GivesTheRecordedBits) {
  std::uint64_t hash = 0xcbf29ce484222325u;
  for (std::uint64_t n = 1; n <= 100000; ++n)
    hash = (hash ^ std::bit_cast<std::uint64_t>(portable_log2(static_cast<double>(n) / 1024))) * 0x100000001b3u;
  EXPECT_EQ(hash, 0x529723831a963d77u);
}

}  // namespace
