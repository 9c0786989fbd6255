// SPDX-License-Identifier: Apache-2.0
// Thresholds are those that independent oracles found on eleven recorded distributions (tests/golden/observers), bit
// for bit: in one piece and in three, in every floating-point environment.
#include <gtest/gtest.h>

#include <bit>
#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../golden/observers/distributions.hpp"
#include "../reference/fp_modes.hpp"
#include "options.hpp"
#include "support/test_cases.hpp"

namespace {

using golden::observers::Hash;
using golden::observers::kHashes;
using golden::observers::kThresholds;
using golden::observers::Threshold;

const std::vector<float>& values_of(std::string_view name) {
  static std::map<std::string_view, std::vector<float>> known;
  std::vector<float>& x = known[name];
  if (x.empty())
    for (const Hash& h : kHashes)
      if (h.distribution == name) x = golden::observers::values(name, h.count);
  return x;
}

std::string text(const Threshold& t) {
  return std::string(t.distribution) + " in " + std::to_string(t.batches) + ": " + std::string(t.observer) + " " +
         std::string(t.options) + " " + std::string(t.format) +
         (t.symmetry == kvant::Symmetry::asymmetric ? " asymmetric" : "");
}

kvant::Range observed(const Threshold& t) {
  const std::span<const float> x = values_of(t.distribution);
  auto observer = observer_test::make(t.observer, t.options);
  const std::size_t size = x.size() / t.batches;
  for (std::size_t i = 0; i < t.batches; ++i) observer->observe(x.subspan(i * size, size));
  EXPECT_EQ(observer->count(), x.size());
  return observer->range(kvant::format_info(*kvant::format_from_name(t.format)), t.symmetry);
}

void expect_recorded(const Threshold& t, const char* mode) {
  const kvant::Range range = observed(t);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(range.low), t.low)
      << text(t) << ", " << mode << ": " << range.low << " for " << std::bit_cast<float>(t.low);
  EXPECT_EQ(std::bit_cast<std::uint32_t>(range.high), t.high)
      << text(t) << ", " << mode << ": " << range.high << " for " << std::bit_cast<float>(t.high);
}

TEST(Distributions, AreTheRecordedOnes) {
  EXPECT_GE(std::size(kHashes), 10u);
  for (const Hash& h : kHashes)
    EXPECT_EQ(golden::observers::hash_of(values_of(h.distribution)), h.hash) << h.distribution;
}

class Thresholds : public testing::TestWithParam<std::string_view> {};

TEST_P(Thresholds, EqualThoseOfTheOracles) {
  std::size_t compared = 0;
  for (const Threshold& t : kThresholds)
    if (t.distribution == GetParam() && compared++ % kvant::test::test_stride() == 0) expect_recorded(t, "nearest");
  EXPECT_GT(compared, 50u);
}

INSTANTIATE_TEST_SUITE_P(On, Thresholds, testing::ValuesIn([] {
                           std::vector<std::string_view> names;
                           for (const Hash& h : kHashes) names.push_back(h.distribution);
                           return names;
                         }()),
                         [](const auto& p) { return std::string(p.param); });

TEST(Thresholds, AreTheSameInEveryFloatingPointEnvironment) {
  for (const reference::FpMode& mode : reference::kFpModes)
    for (const Threshold& t : kThresholds) {
      if (t.distribution != "weights" || t.batches != 3 || t.format != "int8") continue;
      values_of(t.distribution);
      const reference::ScopedFpMode scoped(mode);
      expect_recorded(t, mode.name);
    }
}

}  // namespace
