// SPDX-License-Identifier: Apache-2.0
// docs/formats.md against the code: it leaves out no format and no block format, and its numbers are right.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "docs/page.hpp"
#include "kvant/quant/encode.hpp"
#include "kvant/quant/integer_scale_rule.hpp"
#include "support/leading_number.hpp"

namespace {

const std::string kPage = "docs/formats.md";

TEST(FormatsPage, NamesEveryFormatWithItsWidth) {
  std::string names;
  for (const page::Row& row : page::table(kPage, "Codes", "format").rows) {
    names += " " + row[0] + " ";
    const auto format = kvant::format_from_name(row[0]);
    if (!format) continue;  // of a row for several
    EXPECT_EQ(row[1], std::to_string(kvant::format_info(*format).bits)) << row[0];
  }
  for (const kvant::FormatInfo& f : kvant::kFormats)
    EXPECT_NE(names.find(" " + std::string(f.name) + " "), std::string::npos) << f.name;
}

TEST(FormatsPage, SaysWhatEachSchemeTakes) {
  const page::Table table = page::table(kPage, "What `kvant list schemes` prints", "scheme");
  for (std::size_t r = 1; r < table.rows.size(); ++r) {
    const page::Row& row = table.rows[r];
    const auto scheme = kvant::parse_scheme(row[0]);
    ASSERT_TRUE(scheme) << row[0];
    const double bits = static_cast<double>(kvant::stored_bits(*scheme, 4096, 4096)) / (4096.0 * 4096.0);
    const std::size_t digits = row[5].find('.') == std::string::npos ? 0 : row[5].size() - row[5].find('.') - 1;
    EXPECT_NEAR(kvant::test::leading_number(row[5]), bits, 0.51 * std::pow(10.0, -static_cast<double>(digits)))
        << row[0];
  }
  for (const kvant::BlockFormat& b : kvant::kBlockFormats) EXPECT_FALSE(table.row(b.name).empty());
}

TEST(FormatsPage, WorksOutScalesThatArePowersOfTwo) {
  const page::Table table = page::table(kPage, "MX: scales that are powers of two", "amax");
  ASSERT_EQ(table.rows[0], (page::Row{"amax", "floor", "up", "nearest", "ct"}));
  constexpr std::array kRules{kvant::PowerRule::floor, kvant::PowerRule::up, kvant::PowerRule::nearest,
                              kvant::PowerRule::ct};
  for (std::size_t r = 1; r < table.rows.size(); ++r)
    for (std::size_t c = 0; c < kRules.size(); ++c) {
      kvant::QuantizeOptions options;
      options.power_rule = kRules[c];
      const kvant::Matrix<float> w(1, 32, kvant::test::leading_number<float>(table.rows[r][0]));
      const auto q = kvant::quantize(w.view(), *kvant::parse_scheme("mxfp4"), options);
      ASSERT_TRUE(q);
      EXPECT_EQ(q->scales[0].values[0], kvant::test::leading_number<float>(table.rows[r][c + 1]))
          << table.rows[r][0] << " " << table.rows[0][c + 1];
    }
}

TEST(FormatsPage, WorksOutBothConventionsOfNvfp4) {
  const std::string heading = "NVFP4: a scale for 16 under a scale for the matrix";
  kvant::Matrix<float> w(1, 32, 3.0f);
  w(0, 0) = -8.0f;
  std::size_t found = 0;
  for (const page::Table& t : page::tables(kPage)) {
    if (t.heading != heading || t.rows[0].size() != 4) continue;
    for (const auto convention : {kvant::ScaleConvention::compressed_tensors, kvant::ScaleConvention::modelopt}) {
      const bool divides = convention == kvant::ScaleConvention::compressed_tensors;
      kvant::QuantizeOptions options;
      options.convention = convention;
      const auto q = kvant::quantize(w.view(), *kvant::parse_scheme("nvfp4"), options);
      ASSERT_TRUE(q);
      const page::Row row = t.row(divides ? "compressed-tensors" : "modelopt");
      EXPECT_EQ(q->scales[1].values[0], kvant::test::leading_number<float>(row[1]));
      EXPECT_EQ(q->scales[0].values[0], kvant::test::leading_number<float>(row[2]));
      EXPECT_EQ(q->scales[0].values[1], kvant::test::leading_number<float>(row[3]));
      ++found;
    }
  }
  EXPECT_EQ(found, 2u);
}

TEST(FormatsPage, GivesTheRuleOfIntegerScales) {
  for (const std::string name : {"is4", "is3", "is2"}) {
    const kvant::Scheme scheme = *kvant::parse_scheme(name);
    const kvant::IntegerScaleRule rule = kvant::integer_scale_rule(scheme);
    const page::Row row = page::table(kPage, "`is4 is3 is2`: integer scales", "").row(name);
    ASSERT_EQ(row.size(), 7u);
    EXPECT_EQ(row[2], std::to_string(scheme.granularity.cols_parameter()));
    EXPECT_EQ(row[3], "1 … " + std::to_string(rule.max_scale));
    const int last_zero = rule.first_zero + rule.zero_count - 1;
    EXPECT_TRUE(row[4].starts_with(std::to_string(rule.first_zero)) && row[4].ends_with(std::to_string(last_zero)));
    const float low = kvant::format_info(scheme.format).decode(0) - static_cast<float>(last_zero);
    const float high = kvant::format_info(scheme.format).max - static_cast<float>(rule.first_zero);
    EXPECT_EQ(kvant::test::leading_number(row[5]),
              static_cast<double>(static_cast<float>(rule.max_scale) * std::max(-low, high)))
        << name;
    EXPECT_NE(row[6].find("(s - 1) + " + std::to_string(rule.scale_step) + " (z - " + std::to_string(rule.first_zero) +
                          "), " + std::to_string(rule.record_bits) + " bits"),
              std::string::npos)
        << row[6];
  }
}

}  // namespace
