// SPDX-License-Identifier: Apache-2.0
// Which tiers there are, which one runs, and who decides.
#include "kvant/kernels/tiers.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <string_view>

#include "kvant/kernels/generic.hpp"

namespace kvant::test {
namespace {

/// Sets KVANT_TIER for one scope.
class ForcedTier {
 public:
  explicit ForcedTier(const char* value) {
    const char* before = std::getenv("KVANT_TIER");
    had_ = before != nullptr;
    if (had_) before_ = before;
    set(value);
  }
  ForcedTier(const ForcedTier&) = delete;
  ForcedTier& operator=(const ForcedTier&) = delete;
  ~ForcedTier() { set(had_ ? before_.c_str() : nullptr); }

 private:
  static void set(const char* value) {
    if (value != nullptr) {
      setenv("KVANT_TIER", value, 1);
    } else {
      unsetenv("KVANT_TIER");
    }
  }
  bool had_ = false;
  std::string before_;
};

TEST(Tiers, BeginWithGenericWhichNeedsNothing) {
  ASSERT_FALSE(kernels::tiers().empty());
  EXPECT_EQ(kernels::tiers()[0].name, "generic");
  EXPECT_EQ(kernels::tiers()[0].needs, "");
  EXPECT_TRUE(kernels::tiers()[0].runnable);
}

TEST(Tiers, AreFoundByNameWhereTheMachineRunsThem) {
  std::set<std::string> names;
  for (const kernels::Tier& tier : kernels::tiers()) {
    EXPECT_TRUE(names.insert(std::string(tier.name)).second) << tier.name;
    const auto table = kernels::find_tier(tier.name);
    EXPECT_EQ(table.has_value(), tier.runnable) << tier.name;
    if (table) {
      EXPECT_EQ((*table)->tier, tier.name);
    } else {
      EXPECT_NE(table.error().message.find("lacks"), std::string::npos) << table.error().message;
    }
  }
}

TEST(Tiers, RefuseAnUnknownNameAndSayWhichThereAre) {
  const auto table = kernels::find_tier("avx9000");
  ASSERT_FALSE(table);
  EXPECT_EQ(table.error().code, ErrorCode::unsupported);
  EXPECT_NE(table.error().message.find("avx9000"), std::string::npos);
  EXPECT_NE(table.error().message.find("generic"), std::string::npos);
}

TEST(Tiers, KeepTheLibrarysOwnGenericApartFromTheHeaders) {
  EXPECT_NE((*kernels::find_tier("generic"))->gemm_f32_f32, kernels::generic::kTable.gemm_f32_f32);
}

TEST(Tiers, ActiveIsTheBestRunnableOne) {
  const ForcedTier none(nullptr);
  const auto active = kernels::active();
  ASSERT_TRUE(active) << describe(active.error());
  std::string_view best;
  for (const kernels::Tier& tier : kernels::tiers())
    if (tier.runnable) best = tier.name;
  EXPECT_EQ(active->table->tier, best);
  EXPECT_NE(active->why.find(best), std::string::npos) << active->why;
}

TEST(Tiers, ActiveObeysTheEnvironment) {
  const ForcedTier generic("generic");
  const auto active = kernels::active();
  ASSERT_TRUE(active);
  EXPECT_STREQ(active->table->tier, "generic");
  EXPECT_NE(active->why.find("KVANT_TIER"), std::string::npos) << active->why;
}

TEST(Tiers, AnEmptyEnvironmentVariableIsNone) {
  const ForcedTier empty("");
  EXPECT_TRUE(kernels::active());
}

TEST(Tiers, ActiveRefusesAnEnvironmentThatNamesNoTier) {
  const ForcedTier unknown("avx9000");
  const auto active = kernels::active();
  ASSERT_FALSE(active);
  EXPECT_EQ(active.error().code, ErrorCode::unsupported);
  EXPECT_NE(active.error().message.find("KVANT_TIER"), std::string::npos);
  EXPECT_FALSE(Runtime::make());
}

TEST(Tiers, SharedRuntimeTakesTheBestOneWhereTheEnvironmentIsWrong) {
  const ForcedTier unknown("avx9000");
  std::string_view best;
  for (const kernels::Tier& tier : kernels::tiers())
    if (tier.runnable) best = tier.name;
  EXPECT_EQ(runtime().kernels().tier, best);
  EXPECT_EQ(&runtime(), &runtime()) << "made once";
}

/// /proc/cpuinfo says what the kernel found; its names differ from ours by underscores and dots.
TEST(CpuFeatures, AreAmongThoseOfTheKernel) {
  const auto plain = [](std::string name) {
    std::erase_if(name, [](char c) { return c == '_' || c == '.'; });
    return name == "asimddp" ? "dotprod" : name;
  };
  std::ifstream file("/proc/cpuinfo");
  std::set<std::string> of_kernel;
  for (std::string word; file >> word;) of_kernel.insert(plain(word));
#if defined(__aarch64__)
  constexpr const char* kList = "Features";
#else
  constexpr const char* kList = "flags";
#endif
  if (!of_kernel.contains(kList)) GTEST_SKIP() << "/proc/cpuinfo is not of this processor: under an emulator";
  std::istringstream ours(kernels::cpu_features());
  for (std::string name; ours >> name;) EXPECT_TRUE(of_kernel.contains(plain(name))) << name;
}

}  // namespace
}  // namespace kvant::test
