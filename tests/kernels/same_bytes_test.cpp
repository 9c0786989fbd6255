// SPDX-License-Identifier: Apache-2.0
// Every tier that this machine runs quantizes to the recorded bytes, in every floating-point environment.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>

#include "../golden/quantize_cases.hpp"
#include "../reference/fp_modes.hpp"
#include "kvant/kernels/tiers.hpp"
#include "support/test_cases.hpp"

namespace {

TEST(SameBytes, OnEveryTier) {
  const kvant::Matrix<float> w = golden::weights();
  kvant::SerialExecutor serial;
  for (const kvant::kernels::Tier& tier : kvant::kernels::tiers()) {
    if (!tier.runnable) continue;
    const auto table = kvant::kernels::find_tier(tier.name);
    ASSERT_TRUE(table.has_value()) << tier.name;
    const kvant::Context context(**table, serial);
    unsigned count = 0;
    for (const golden::Case& c : golden::kCases)
      for (const reference::FpMode& mode : reference::kFpModes) {
        if (count++ % kvant::test::test_stride() != 0) continue;
        std::uint64_t plain = 0, searched = 0;
        {
          const reference::ScopedFpMode scoped(mode);
          plain = golden::hash_of(c, false, w, context);
          searched = golden::hash_of(c, true, w, context);
        }
        EXPECT_EQ(plain, c.plain) << tier.name << ", " << c.scheme << ", " << mode.name;
        EXPECT_EQ(searched, c.searched) << tier.name << ", " << c.scheme << ", searched, " << mode.name;
      }
  }
}

}  // namespace
