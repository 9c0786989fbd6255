// SPDX-License-Identifier: Apache-2.0
// Quantized bytes are those that were recorded, whatever the machine, the threads and the floating-point environment.
#include <gtest/gtest.h>

#include <cstddef>
#include <string>

#include "../reference/executors.hpp"
#include "../reference/fp_modes.hpp"
#include "quantize_cases.hpp"

namespace {

TEST(QuantizeGoldenMatrix, IsTheRecordedOne) { EXPECT_EQ(golden::hash_of(golden::weights()), golden::kWeightsHash); }

class QuantizeGolden : public testing::TestWithParam<golden::Case> {};

TEST_P(QuantizeGolden, GivesTheRecordedBytes) {
  const kvant::Matrix<float> w = golden::weights();
  EXPECT_EQ(golden::hash_of(GetParam(), false, w), GetParam().plain);
  EXPECT_EQ(golden::hash_of(GetParam(), true, w), GetParam().searched);
}

TEST_P(QuantizeGolden, GivesThemInEveryFpModeAndOnThreads) {
  const kvant::Matrix<float> w = golden::weights();
  for (const reference::FpMode& mode : reference::kFpModes) {
    std::uint64_t plain = 0, searched = 0;
    {
      const reference::ScopedFpMode scoped(mode);
      plain = golden::hash_of(GetParam(), false, w);
      searched = golden::hash_of(GetParam(), true, w);
    }
    EXPECT_EQ(plain, GetParam().plain) << mode.name;
    EXPECT_EQ(searched, GetParam().searched) << mode.name;
    reference::ThreadedExecutor threads(3, [&mode] {
      std::fesetround(mode.rounding);
      if (mode.flush) reference::flush_subnormals();
    });
    const kvant::Context context(kvant::kernels::generic::kTable, threads);
    EXPECT_EQ(golden::hash_of(GetParam(), true, w, context), GetParam().searched) << mode.name << ", on threads";
  }
}

INSTANTIATE_TEST_SUITE_P(Schemes, QuantizeGolden, testing::ValuesIn(golden::kCases), [](const auto& p) {
  std::string name = p.param.scheme;
  for (char& c : name)
    if (c == '-' || c == ':') c = '_';
  return name;
});

}  // namespace
