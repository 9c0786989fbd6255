// SPDX-License-Identifier: Apache-2.0
#include "kvant/core/fp_environment.hpp"

#include <gtest/gtest.h>

#include "../reference/fp_modes.hpp"

namespace {

TEST(FpModes, ReallyChangeArithmetic) {
  for (const reference::FpMode& mode : reference::kFpModes) {
    float plus = 0, minus = 0, smallest = 0;
    {
      const reference::ScopedFpMode scoped(mode);
      plus = reference::one_plus_tiny();
      minus = reference::one_minus_tiny();
      smallest = reference::smallest_times_one();
    }
    EXPECT_EQ(plus > 1.0f, mode.rounding == FE_UPWARD) << mode.name;
    EXPECT_EQ(minus < 1.0f, mode.rounding == FE_DOWNWARD || mode.rounding == FE_TOWARDZERO) << mode.name;
    if (reference::kCanFlush) {
      EXPECT_EQ(smallest == 0.0f, mode.flush) << mode.name;
    }
  }
}

TEST(DefaultFpEnvironment, RoundsToNearestAndKeepsSubnormalsWhereverItIsBuilt) {
  for (const reference::FpMode& mode : reference::kFpModes) {
    float plus = 0, minus = 0, smallest = 0;
    {
      const reference::ScopedFpMode scoped(mode);
      const kvant::DefaultFpEnvironment standard;
      plus = reference::one_plus_tiny();
      minus = reference::one_minus_tiny();
      smallest = reference::smallest_times_one();
    }
    EXPECT_EQ(plus, 1.0f) << mode.name;
    EXPECT_EQ(minus, 1.0f) << mode.name;
    EXPECT_EQ(smallest, 0x1p-149f) << mode.name;
  }
}

TEST(DefaultFpEnvironment, GivesTheCallersEnvironmentBack) {
  for (const reference::FpMode& mode : reference::kFpModes) {
    int rounding = 0;
    float smallest = 0;
    bool overflow_flag = false;
    bool division_flag = true;
    {
      const reference::ScopedFpMode scoped(mode);
      std::feclearexcept(FE_ALL_EXCEPT);
      std::feraiseexcept(FE_OVERFLOW);
      {
        const kvant::DefaultFpEnvironment standard;
        std::feraiseexcept(FE_DIVBYZERO);
      }
      rounding = std::fegetround();
      smallest = reference::smallest_times_one();
      overflow_flag = std::fetestexcept(FE_OVERFLOW) != 0;
      division_flag = std::fetestexcept(FE_DIVBYZERO) != 0;
    }
    EXPECT_EQ(rounding, mode.rounding) << mode.name;
    if (reference::kCanFlush) {
      EXPECT_EQ(smallest == 0.0f, mode.flush) << mode.name;
    }
    EXPECT_TRUE(overflow_flag) << mode.name;
    EXPECT_FALSE(division_flag) << mode.name;
  }
}

}  // namespace
