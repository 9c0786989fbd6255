// SPDX-License-Identifier: Apache-2.0
// The codebook engine: thresholds between levels and what happens exactly on them.
#include "kvant/numeric/codebook.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <cstddef>

#include "../reference/check.hpp"
#include "kvant/numeric/formats.hpp"

namespace {

/// midpoint_threshold's sum of two floats is exact in double where their bits lie within 53 places.
template <class Levels>
void check_levels() {
  const auto& levels = Levels::kLevels;
  for (std::size_t i = 0; i + 1 < levels.size(); ++i) {
    const float a = levels[i];
    const float b = levels[i + 1];
    ASSERT_LT(a, b);
    const long double middle = (static_cast<long double>(a) + static_cast<long double>(b)) / 2;
    const float t = kvant::midpoint_threshold(a, b);
    EXPECT_LE(static_cast<long double>(t), middle);
    EXPECT_GT(static_cast<long double>(std::nextafter(t, INFINITY)), middle);
  }
}

struct Symmetric {
  static constexpr std::array<float, 4> kLevels{-3.0f, -0x1p-149f, 0x1p-149f, 3.0f};
};
struct OneSided {
  static constexpr std::array<float, 3> kLevels{-5.0f, 1.0f, 2.0f};
};
struct Neighbours {  // no float lies between the levels
  static constexpr std::array<float, 3> kLevels{-0x1p-149f, 0.0f, 0x1p-149f};
};

TEST(Codebook, ThresholdsAreTheLargestFloatNotAboveTheMidpoint) {
  check_levels<kvant::Nf4Levels>();
  check_levels<Symmetric>();
  check_levels<OneSided>();
  check_levels<Neighbours>();
}

TEST(Codebook, GivesATieToTheLowerIndex) {
  using C = kvant::Codebook<OneSided>;
  EXPECT_EQ(C::encode(-2.0f), 0);
  EXPECT_EQ(C::encode(std::nextafter(-2.0f, 0.0f)), 1);
  EXPECT_EQ(C::encode(1.5f), 1);
  EXPECT_EQ(C::encode(std::nextafter(1.5f, 2.0f)), 2);
  using S = kvant::Codebook<Symmetric>;
  EXPECT_EQ(S::encode(0.0f), 1);
  EXPECT_EQ(S::encode(-0.0f), 1);
}

TEST(Codebook, TellsNeighbouringFloatsApart) {
  using C = kvant::Codebook<Neighbours>;
  EXPECT_EQ(C::encode(-0x1p-149f), 0);
  EXPECT_EQ(C::encode(0.0f), 1);
  EXPECT_EQ(C::encode(0x1p-149f), 2);
}

TEST(Codebook, MapsSpecialValuesIntoItsRange) {
  using C = kvant::nf4;
  EXPECT_EQ(C::encode(INFINITY), 15);
  EXPECT_EQ(C::encode(-INFINITY), 0);
  EXPECT_EQ(C::encode(NAN), 7);
  EXPECT_EQ(C::encode(-0.0f), 7);
  EXPECT_EQ(C::encode(3.4e38f), 15);
}

TEST(Codebook, KnowsItsWidthAndLargestMagnitude) {
  EXPECT_EQ(kvant::Codebook<OneSided>::kBits, 2u);
  EXPECT_EQ(kvant::Codebook<OneSided>::kMax, 5.0f);
  EXPECT_EQ(kvant::nf4::kBits, 4u);
  EXPECT_EQ(kvant::nf4::kMax, 1.0f);
}

}  // namespace
