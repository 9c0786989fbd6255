// SPDX-License-Identifier: Apache-2.0
// What every encoder does with the values of its codes, by chance, and beyond the range. All inputs against an oracle:
// sweep_test.cpp.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "../reference/check.hpp"
#include "kvant/numeric/formats.hpp"

namespace {

using kvant::FormatInfo;
using kvant::Overflow;
using kvant::Rounding;

class Encode : public testing::TestWithParam<std::size_t> {
 protected:
  const FormatInfo& format() const { return kvant::kFormats[GetParam()]; }
};

TEST_P(Encode, GivesEveryCodeBackFromItsValue) {
  const FormatInfo& f = format();
  reference::Mismatches differ{std::string(f.name)};
  for (std::uint32_t code = 0; code < (1u << f.bits); ++code) {
    const float value = f.decode(code);
    if (std::isnan(value) || std::isinf(value)) continue;
    if (f.name == "ternary" && code == 2) continue;  // never appears
    if (f.name == "fp4_bnb" && code == 8) continue;  // a second zero
    if (f.name == "ue4m3" && code > 0x7f) continue;  // the sign bit is ignored
    for (const Rounding rounding : {Rounding::nearest_even, Rounding::nearest_away, Rounding::toward_zero, Rounding::up,
                                    Rounding::down, Rounding::stochastic})
      differ.compare(f.encode(value, {rounding, Overflow::ieee, 0}), code, value);
  }
}

TEST_P(Encode, RoundsStochasticallyToANeighbourWithTheFractionAsProbability) {
  const FormatInfo& f = format();
  if (f.thresholds != nullptr) GTEST_SKIP() << "does not round by direction";
  const auto encode = [&](float x, Rounding r, std::uint32_t random) {
    return f.decode(f.encode(x, {r, Overflow::saturate, random}));
  };
  constexpr std::uint32_t kDraws = 1024;
  for (const float y : reference::random_uniform(200, 1.1f * std::fmin(f.max, 70000.0f), 4)) {
    const float x = f.is_auxiliary() ? std::fabs(y) : y;
    const auto low = static_cast<double>(encode(x, Rounding::down, 0));
    const auto high = static_cast<double>(encode(x, Rounding::up, 0));
    std::uint32_t ups = 0;  // away from zero
    for (std::uint32_t i = 0; i < kDraws; ++i) {
      const auto got = static_cast<double>(encode(x, Rounding::stochastic, i << 22));
      ASSERT_TRUE(got == low || got == high) << f.name << " " << x << " -> " << got;
      ups += got == (x < 0 ? low : high) ? 1 : 0;
    }
    if (low == high) continue;
    const double fraction =
        x < 0 ? (high - static_cast<double>(x)) / (high - low) : (static_cast<double>(x) - low) / (high - low);
    // The draws are evenly spaced, so the count is the fraction of them up to one draw.
    EXPECT_NEAR(ups, fraction * kDraws, 1.0) << f.name << " " << x;
  }
}

std::vector<std::size_t> small_formats() {
  std::vector<std::size_t> indices;
  for (std::size_t i = 0; i < kvant::kFormats.size(); ++i)
    if (kvant::kFormats[i].bits <= 16) indices.push_back(i);
  return indices;
}

INSTANTIATE_TEST_SUITE_P(Formats, Encode, testing::ValuesIn(small_formats()),
                         [](const auto& parameter) { return std::string(kvant::kFormats[parameter.param].name); });

TEST(EncodeOverflow, IsJudgedAfterRounding) {
  constexpr kvant::RoundingMode kIeee{Rounding::nearest_even, Overflow::ieee, 0};
  EXPECT_EQ(kvant::fp16::encode(65519.996f, kIeee), 0x7bff);  // below the tie with 65536
  EXPECT_EQ(kvant::fp16::encode(65520.0f, kIeee), 0x7c00);
  EXPECT_EQ(kvant::fp8_e4m3fn::encode(464.0f, kIeee), 0x7e);  // the tie with the NaN code goes to 448, as ml_dtypes
  EXPECT_EQ(kvant::fp8_e4m3fn::encode(464.00003f, kIeee), 0x7f);
  EXPECT_EQ(kvant::fp8_e4m3fn::encode(-464.00003f, kIeee), 0xff);
  EXPECT_EQ(kvant::fp8_e5m2::encode(61440.0f, kIeee), 0x7c);
  EXPECT_EQ(kvant::fp8_e5m2::encode(-INFINITY, kIeee), 0xfc);
  EXPECT_EQ(kvant::fp4_e2m1::encode(1e30f, kIeee), 7);
  EXPECT_EQ(kvant::fp4_e2m1::encode(NAN, kIeee), 8);
}

TEST(EncodeOverflow, EndsAtTheLargestNumberWhereRoundingLeadsTowardZero) {
  using kvant::fp8_e5m2;
  EXPECT_EQ(fp8_e5m2::encode(1e9f, {Rounding::toward_zero, Overflow::ieee, 0}), 0x7b);
  EXPECT_EQ(fp8_e5m2::encode(1e9f, {Rounding::down, Overflow::ieee, 0}), 0x7b);
  EXPECT_EQ(fp8_e5m2::encode(1e9f, {Rounding::up, Overflow::ieee, 0}), 0x7c);
  EXPECT_EQ(fp8_e5m2::encode(-1e9f, {Rounding::up, Overflow::ieee, 0}), 0xfb);
  EXPECT_EQ(fp8_e5m2::encode(INFINITY, {Rounding::toward_zero, Overflow::ieee, 0}), 0x7c);
}

TEST(EncodeE8m0, TakesZeroForTheLeastPowerOnlyWhereItSaturates) {
  constexpr kvant::RoundingMode kIeee{Rounding::nearest_even, Overflow::ieee, 0};
  EXPECT_EQ(kvant::e8m0::encode(0.0f), 0);
  EXPECT_EQ(kvant::e8m0::encode(0.0f, kIeee), 0xff);
  EXPECT_EQ(kvant::e8m0::encode(1e-45f, kIeee), 0);
  EXPECT_EQ(kvant::e8m0::encode(-1.0f), 0xff);
  EXPECT_EQ(kvant::e8m0::encode(INFINITY), 0xfe);
  // ONNX's vectors, rounding up.
  EXPECT_EQ(kvant::e8m0::encode(0.124f, {Rounding::up, Overflow::saturate, 0}), 0x7c);
  EXPECT_EQ(kvant::e8m0::encode(1.1f, {Rounding::up, Overflow::saturate, 0}), 0x80);
}

}  // namespace
