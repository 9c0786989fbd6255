// SPDX-License-Identifier: Apache-2.0
// docs/kernels.md against the code: it leaves out no slot, tier or layout, and its numbers are right.
#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <random>
#include <string>
#include <variant>

#include "docs/page.hpp"
#include "kernels/ops.hpp"
#include "kvant/kernels/tiers.hpp"
#include "kvant/linear/pack.hpp"
#include "kvant/quant/encode.hpp"
#include "support/leading_number.hpp"

namespace kvant::test {
namespace {

const std::string kPage = "docs/kernels.md";

TEST(KernelsPage, NamesEverySlot) {
  std::string names;
  for (const page::Row& row : page::table(kPage, "The table", "slot").rows) names += "`" + row[0] + "`";
  for (const kernels::Op& op : kernels::kOps)
    EXPECT_NE(names.find("`" + std::string(op.name) + "`"), std::string::npos) << op.name;
}

TEST(KernelsPage, SaysWhatEachTierNeedsAndFills) {
  const page::Table table = page::table(kPage, "Tiers", "tier");
  const kernels::Kernels& generic = **kernels::find_tier("generic");
  for (const kernels::Tier& tier : kernels::tiers()) {
    const page::Row row = table.row(tier.name);
    ASSERT_EQ(row.size(), 4u);
    EXPECT_EQ(row[1], tier.needs);
    if (!tier.runnable || tier.name == "generic") continue;
    const kernels::Kernels& own = **kernels::find_tier(tier.name);
    std::size_t filled = 0;
    for (const kernels::Op& op : kernels::kOps)
      std::visit([&](auto slot) { filled += own.*slot != generic.*slot ? 1u : 0u; }, op.slot);
    EXPECT_NE(page::text(kPage).find("fill " + std::to_string(filled) + " of the " +
                                     std::to_string(kernels::kOps.size()) + " slots"),
              std::string::npos)
        << tier.name << " fills " << filled;
  }
}

TEST(KernelsPage, HasARowForEveryLayout) {
  const page::Table table = page::table(kPage, "Weights in panels", "layout");
  for (const LayoutInfo& l : kernels::kLayouts) {
    const page::Row row = table.row(l.id);
    ASSERT_EQ(row.size(), 6u);
    const std::array<std::size_t, 4> numbers{l.bits, l.columns, l.step, l.step_bytes};
    for (std::size_t i = 0; i < numbers.size(); ++i) EXPECT_EQ(row[i + 1], std::to_string(numbers[i])) << l.id;
  }
}

TEST(KernelsPage, SaysWhatIntegerScaledFormatsTakeInMemory) {
  std::mt19937 rng(3);
  std::normal_distribution<float> normal;
  Matrix<float> w(64, 1024);
  for (std::size_t i = 0; i < w.size(); ++i) w.data()[i] = normal(rng);
  const std::string text = page::text(kPage);
  struct Case {
    const char* scheme;
    const char* words;
  };
  for (const Case& c : {Case{"is4", "`is4` therefore takes "}, Case{"is3", "`is3` "}, Case{"is2", "and `is2` "}}) {
    const auto packed = pack(*quantize(w.view(), *parse_scheme(c.scheme)));
    ASSERT_TRUE(packed);
    const double bits = static_cast<double>(packed->bytes.size()) * 8 / static_cast<double>(w.size());
    const std::size_t at = text.find("In memory `is4`");
    const std::size_t words = text.find(c.words, at);
    ASSERT_NE(words, std::string::npos);
    EXPECT_EQ(kvant::test::leading_number(std::string_view(text).substr(words + std::string(c.words).size())), bits)
        << c.scheme;
  }
}

}  // namespace
}  // namespace kvant::test
