// SPDX-License-Identifier: Apache-2.0
// Every format's encoder against a search among its values: all 16-bit inputs, all ties and their neighbours, special
// values and random bit patterns, in every direction of rounding and both ways of overflow.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "../reference/check.hpp"
#include "../reference/number_formats.hpp"
#include "kvant/numeric/formats.hpp"

namespace {

using kvant::FormatInfo;
using kvant::Overflow;
using kvant::Rounding;
using reference::Direction;

struct Mode {
  Rounding rounding;
  Direction direction;
  const char* name;
};
constexpr Mode kModes[] = {
    {Rounding::nearest_even, Direction::nearest_even, "nearest even"},
    {Rounding::nearest_away, Direction::nearest_away, "nearest away"},
    {Rounding::toward_zero, Direction::toward_zero, "toward zero"},
    {Rounding::up, Direction::up, "up"},
    {Rounding::down, Direction::down, "down"},
};

void add_with_neighbours(std::vector<float>& inputs, double value) {
  const auto x = static_cast<float>(value);
  for (const float v : {x, std::nextafter(x, INFINITY), std::nextafter(x, -INFINITY)}) {
    inputs.push_back(v);
    inputs.push_back(-v);
  }
}

/// Every fp16 and every bf16 number as a float.
std::vector<float> all_16_bit_inputs() {
  std::vector<float> inputs;
  const reference::NumberFormat& half = *reference::find_format("fp16");
  for (std::uint32_t code = 0; code < 65536; ++code) {
    inputs.push_back(static_cast<float>(reference::decode(half, code)));
    inputs.push_back(reference::from_bits(code << 16));
  }
  return inputs;
}

/// Every code, every midpoint of two codes, their float neighbours, and special values.
std::vector<float> critical_inputs(const reference::NumberFormat& spec) {
  std::vector<float> inputs;
  std::vector<double> values;
  if (reference::is_float_family(spec.family))
    values = reference::Encoder(spec).magnitudes();
  else
    for (std::uint32_t code = 0; code < (1u << spec.bits); ++code) values.push_back(reference::decode(spec, code));
  for (std::size_t i = 0; i + 1 < values.size(); ++i) {
    add_with_neighbours(inputs, values[i]);
    add_with_neighbours(inputs, values[i] + (values[i + 1] - values[i]) / 2);
  }
  add_with_neighbours(inputs, values.back());
  for (const double v : {0.0, 0x1p-149, 0x1p-148, 0x1p-127, 0x1p-126, 1e-30, 0.5, 1.0, 1e9, 0x1p31, 0x1p32, 0x1p63,
                         0x1p64, 1e30, 3.4028234663852886e38})
    add_with_neighbours(inputs, v);
  for (const std::uint32_t bits :
       {0x7f800000u, 0xff800000u, 0x7fc00000u, 0xffc00000u, 0x7f800001u, 0xffbfffffu, 0x7fffffffu, 0xffffffffu})
    inputs.push_back(reference::from_bits(bits));
  return inputs;
}

void compare(const FormatInfo& f, const std::vector<float>& inputs, const Mode& mode) {
  const reference::NumberFormat* spec = reference::find_format(f.name);
  ASSERT_NE(spec, nullptr);
  const reference::Encoder expected(*spec);
  for (const bool saturate : {true, false}) {
    reference::Mismatches differ(std::string(f.name) + ", " + mode.name + (saturate ? ", saturating" : ", ieee"));
    for (const float x : inputs)
      differ.compare(f.encode(x, {mode.rounding, saturate ? Overflow::saturate : Overflow::ieee, 0}),
                     expected(x, mode.direction, saturate), x);
  }
}

class Encode : public testing::TestWithParam<std::size_t> {
 protected:
  const FormatInfo& format() const { return kvant::kFormats[GetParam()]; }
};

TEST_P(Encode, TakesTheNearestCodeOfEvery16BitInput) { compare(format(), all_16_bit_inputs(), kModes[0]); }

TEST_P(Encode, RoundsCodesTiesAndTheirNeighboursInEveryDirection) {
  const std::vector<float> inputs = critical_inputs(*reference::find_format(format().name));
  for (const Mode& mode : kModes) compare(format(), inputs, mode);
}

TEST_P(Encode, RoundsRandomInputsInEveryDirection) {
  const std::vector<float> any = reference::random_patterns(500000, 2);
  const std::vector<float> within = reference::random_uniform(500000, 1.25f * std::fmin(format().max, 70000.0f), 3);
  for (const Mode& mode : kModes) {
    const bool plain = mode.rounding == Rounding::nearest_even;
    compare(format(), plain ? any : std::vector<float>(any.begin(), any.begin() + 50000), mode);
    compare(format(), plain ? within : std::vector<float>(within.begin(), within.begin() + 50000), mode);
  }
}

TEST_P(Encode, GivesEveryCodeBackFromItsValue) {
  const FormatInfo& f = format();
  reference::Mismatches differ{std::string(f.name)};
  for (std::uint32_t code = 0; code < (1u << f.bits); ++code) {
    const float value = f.decode(code);
    if (std::isnan(value) || std::isinf(value)) continue;
    if (f.name == "ternary" && code == 2) continue;  // never appears
    if (f.name == "fp4_bnb" && code == 8) continue;  // a second zero
    if (f.name == "ue4m3" && code > 0x7f) continue;  // the sign bit is ignored
    for (const Mode& mode : kModes) differ.compare(f.encode(value, {mode.rounding, Overflow::ieee, 0}), code, value);
    differ.compare(f.encode(value, {Rounding::stochastic, Overflow::ieee, 0}), code, value);
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
