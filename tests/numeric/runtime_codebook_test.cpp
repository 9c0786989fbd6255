// SPDX-License-Identifier: Apache-2.0
// Codebooks that are made at run time, and formats that are not in the list.
#include "kvant/numeric/runtime_codebook.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string_view>
#include <utility>
#include <vector>

#include "../reference/check.hpp"
#include "kvant/quant/encode.hpp"

namespace {

using kvant::ErrorCode;
using kvant::RuntimeCodebook;

struct QuarterLevels {
  static constexpr std::array<float, 5> kLevels{-1.0f, -0.25f, 0.0f, 0.25f, 1.0f};
};
struct quarters : kvant::Codebook<QuarterLevels> {
  static constexpr std::string_view kName = "quarters";
};

std::vector<float> nf4_levels() { return {kvant::nf4::kLevels.begin(), kvant::nf4::kLevels.end()}; }

TEST(RuntimeCodebook, IsTheFormatOfItsLevels) {
  const auto book = RuntimeCodebook::make("mine", nf4_levels());
  ASSERT_TRUE(book);
  const kvant::FormatInfo& f = kvant::format_info(book->id());
  EXPECT_EQ(f.name, "mine");
  EXPECT_EQ(f.bits, 4u);
  EXPECT_EQ(f.max, 1.0f);
  EXPECT_TRUE(f.is_signed);
  reference::Mismatches codes("codes of nf4");
  for (const float x : reference::random_uniform(20000, 1.2f, 3)) codes.compare(f.encode(x), kvant::nf4::encode(x), x);
  for (std::uint32_t code = 0; code < 16; ++code)
    EXPECT_EQ(f.decode(code), kvant::nf4::decode(static_cast<std::uint8_t>(code)));
  EXPECT_EQ(f.encode(std::numeric_limits<float>::quiet_NaN()), 7u);
}

TEST(RuntimeCodebook, TakesTheLowerLevelOfTwoAtTheSameDistance) {
  const auto book = RuntimeCodebook::make("b", {-2.0f, -1.0f, 1.0f, 3.0f});
  const kvant::FormatInfo& f = kvant::format_info(book->id());
  EXPECT_EQ(f.encode(2.0f), 2u);
  EXPECT_EQ(f.encode(std::nextafter(2.0f, 3.0f)), 3u);
  EXPECT_EQ(f.encode(-1.5f), 0u);
  EXPECT_EQ(f.encode(0.0f), 1u);
  EXPECT_EQ(f.encode(INFINITY), 3u);
  EXPECT_EQ(f.encode(-INFINITY), 0u);
}

TEST(RuntimeCodebook, HasTwoTo256FiniteAscendingLevels) {
  const auto code = [](std::vector<float> levels) {
    return RuntimeCodebook::make("b", std::move(levels)).error().code;
  };
  EXPECT_EQ(code({}), ErrorCode::usage);
  EXPECT_EQ(code({1.0f}), ErrorCode::usage);
  EXPECT_EQ(code(std::vector<float>(257, 0.0f)), ErrorCode::usage);
  EXPECT_EQ(code({1.0f, 1.0f}), ErrorCode::usage);
  EXPECT_EQ(code({1.0f, 0.0f}), ErrorCode::usage);
  EXPECT_EQ(code({-0.0f, 0.0f}), ErrorCode::usage);
  EXPECT_EQ(code({0.0f, INFINITY}), ErrorCode::usage);
  EXPECT_EQ(code({0.0f, std::numeric_limits<float>::quiet_NaN()}), ErrorCode::usage);
  std::vector<float> many(256);
  for (std::size_t i = 0; i < many.size(); ++i) many[i] = static_cast<float>(i) - 100.0f;
  const auto book = RuntimeCodebook::make("b", many);
  ASSERT_TRUE(book);
  EXPECT_EQ(kvant::format_info(book->id()).bits, 8u);
  EXPECT_EQ(kvant::format_info(book->id()).encode(155.0f), 255u);
}

TEST(RuntimeCodebook, QuantizesLikeTheSameCodebookOfTheList) {
  auto made = RuntimeCodebook::make("mine", nf4_levels());
  const RuntimeCodebook book = std::move(*made);  // its id stays valid
  const kvant::Matrix<float> w(3, 70, reference::random_uniform(210, 1.0f, 4));
  kvant::Scheme scheme = *kvant::parse_scheme("nf4-g32");
  const auto expected = kvant::quantize(w.view(), scheme, {.search = true});
  scheme.format = book.id();
  const auto got = kvant::quantize(w.view(), scheme, {.search = true});
  ASSERT_TRUE(got);
  EXPECT_EQ(got->codes, expected->codes);
  EXPECT_EQ(got->scales[0].values, expected->scales[0].values);
}

TEST(CustomFormat, IsAnyStructThatTheConceptTakes) {
  EXPECT_EQ(kvant::format_id<quarters>.index, 0xff);
  EXPECT_FALSE(kvant::format_from_name("quarters"));
  EXPECT_EQ(kvant::format_info(kvant::format_id<quarters>).name, "quarters");
  const kvant::Matrix<float> w(2, 40, reference::random_uniform(80, 3.0f, 5));
  const auto q = kvant::quantize<quarters>(w.view(), kvant::PerGroup{16});
  ASSERT_TRUE(q);
  EXPECT_EQ(kvant::to_text(q->scheme), "custom:quarters-g16");
  const kvant::Matrix<float> back = kvant::dequantize(*q);
  for (std::size_t r = 0; r < 2; ++r)
    for (std::size_t c = 0; c < 40; ++c) {
      const float scale = q->parameters(r, c / 16).scale;
      EXPECT_LE(std::fabs(back(r, c) - w(r, c)), 0.376f * scale);  // half the widest gap, and the scale's rounding
    }
}

}  // namespace
