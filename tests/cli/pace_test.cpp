// SPDX-License-Identifier: Apache-2.0
#include "cli/pace.hpp"

#include <gtest/gtest.h>

namespace {

using kvant::cli::Pace;

/// How many lines a run has that takes so long, in so many steps of one size.
int lines(double seconds, int steps) {
  Pace pace;
  int count = 0;
  for (int i = 1; i <= steps; ++i) count += pace.due(seconds * i / steps, static_cast<double>(i) / steps) ? 1 : 0;
  return count;
}

TEST(Pace, IsSilentInTheFirstSecond) {
  EXPECT_EQ(lines(0.999, 1000), 0);
  Pace pace;
  EXPECT_FALSE(pace.due(0.5, 0.9));
  EXPECT_TRUE(pace.due(1.5, 0.95));
}

TEST(Pace, GivesALineForTenPercentOfAShortRun) {
  EXPECT_LE(lines(30, 100'000), 10);
  EXPECT_GE(lines(30, 100'000), 9);
  EXPECT_EQ(lines(30, 4), 4);
}

TEST(Pace, GivesALineForTenSecondsOfALongRun) {
  EXPECT_LE(lines(3600, 100'000), 360);
  EXPECT_GE(lines(3600, 100'000), 350);
}

TEST(Pace, GivesALineForTenSecondsWithoutProgress) {
  Pace pace;
  EXPECT_TRUE(pace.due(2, 0.5));
  EXPECT_FALSE(pace.due(11.9, 0.5));
  EXPECT_TRUE(pace.due(12, 0.5));
}

}  // namespace
