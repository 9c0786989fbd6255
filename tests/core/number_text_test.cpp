// SPDX-License-Identifier: Apache-2.0
#include "kvant/core/number_text.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "support/foreign_locale.hpp"

namespace {

using kvant::number_text;

TEST(NumberText, IsTheShortestThatReadsBack) {
  EXPECT_EQ(number_text(0.1f), "0.1");
  EXPECT_EQ(number_text(0.1), "0.1");
  EXPECT_EQ(number_text(-0.0), "-0");
  EXPECT_EQ(number_text(1.5e-5f), "1.5e-05");
  EXPECT_EQ(number_text(std::numeric_limits<double>::lowest()), "-1.7976931348623157e+308");
  EXPECT_EQ(number_text(std::numeric_limits<float>::quiet_NaN()), "nan");
}

TEST(NumberText, DoesNotFollowTheLocale) {
  const kvant::test::ForeignLocale foreign;
  EXPECT_EQ(number_text(12345.5), "12345.5");
}

}  // namespace
