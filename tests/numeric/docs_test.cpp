// SPDX-License-Identifier: Apache-2.0
// docs/numerics.md against the code: every format has its row, and the worked numbers are right.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "docs/page.hpp"
#include "kvant/numeric/profile.hpp"
#include "support/leading_number.hpp"

namespace {

const std::string kPage = "docs/numerics.md";

/// A number as the page writes it: 10^9, 2^-10, -0, Inf.
float number(const std::string& text) {
  if (text.starts_with("2^")) return std::ldexp(1.0f, std::atoi(text.c_str() + 2));
  if (text.starts_with("10^")) return std::pow(10.0f, static_cast<float>(std::atoi(text.c_str() + 3)));
  return kvant::test::leading_number<float>(text);
}

TEST(NumericsPage, HasARowForEveryFormatWithItsWidthAndLargestNumber) {
  const page::Table table = page::table(kPage, "The formats", "format");
  for (const kvant::FormatInfo& f : kvant::kFormats) {
    const bool listed = f.name.starts_with("int") && f.bits > 1 && f.fraction_bits == 0;
    const std::string key = listed                       ? "int8` … `int2"
                            : f.name.starts_with("uint") ? "uint8` … `uint1"
                                                         : std::string(f.name);
    const page::Row row = table.row(key);
    ASSERT_GT(row.size(), 3u) << f.name;
    if (key != f.name) continue;
    EXPECT_EQ(row[1], std::to_string(f.bits)) << key;
    EXPECT_NEAR(number(row[3]) / f.max, 1.0, 0.001) << key;
  }
}

TEST(NumericsPage, WorksItsNumbersOutRight) {
  const std::vector<page::Row> rows = page::table(kPage, "Worked numbers", "input").rows;
  ASSERT_GT(rows.size(), 5u);
  const page::Row& head = rows[0];
  int checked = 0;
  for (std::size_t r = 1; r < rows.size(); ++r)
    for (std::size_t c = 1; c < head.size(); ++c) {
      const auto format = kvant::format_from_name(head[c].substr(0, head[c].find('`')));
      ASSERT_TRUE(format) << head[c];
      const float x = number(rows[r][0]);
      std::istringstream parts(rows[r][c]);
      for (std::string part; std::getline(parts, part, ';');) {
        part = page::trimmed(part);
        const bool ieee = part.starts_with("ieee");
        if (ieee) part = page::trimmed(part.substr(4));
        const kvant::CastRule rule{kvant::Profile::ieee, ieee ? kvant::Overflow::ieee : kvant::Overflow::saturate, {}};
        const std::uint32_t code = kvant::cast(*format, x, rule);
        const float value = kvant::format_info(*format).decode(code);
        const std::string where = rows[r][0] + " in " + head[c] + ": " + part;
        const bool nan = part.starts_with("NaN");
        EXPECT_EQ(std::isnan(value), nan) << where;
        EXPECT_EQ(nan ? 0.0f : value, nan ? 0.0f : number(part)) << where;
        const std::size_t at = part.find("0x");
        const unsigned long expected = at != std::string::npos ? std::strtoul(part.c_str() + at, nullptr, 16) : code;
        EXPECT_EQ(code, expected) << where;
        ++checked;
      }
    }
  EXPECT_GT(checked, 40);
}

}  // namespace
