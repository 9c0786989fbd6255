// SPDX-License-Identifier: Apache-2.0
// The erased view of a format and its scale.
#include "kvant/quant/grid.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "../reference/check.hpp"
#include "../reference/fp_modes.hpp"
#include "../reference/quantize.hpp"
#include "../reference/weights.hpp"

namespace {

using kvant::Grid;
using kvant::GroupParameters;

Grid grid(const char* scheme) { return Grid(*kvant::parse_scheme(scheme)); }

TEST(Grid, UnitIsHalfTheStepsOfTwosComplementOrTheLargestValue) {
  EXPECT_EQ(grid("int8-channel").unit(), 127.5f);
  EXPECT_EQ(grid("int4-channel").unit(), 7.5f);
  EXPECT_EQ(grid("int3-channel").unit(), 3.5f);
  EXPECT_EQ(grid("int2-channel").unit(), 1.5f);
  EXPECT_EQ(grid("int1-channel").unit(), 1.0f);
  EXPECT_EQ(grid("ternary-channel").unit(), 1.0f);
  EXPECT_EQ(grid("uint4-channel").unit(), 15.0f);
  EXPECT_EQ(grid("fp8_e4m3fn-channel").unit(), 448.0f);
  EXPECT_EQ(grid("fp8_e5m2-channel").unit(), 57344.0f);
  EXPECT_EQ(grid("fp4_e2m1-channel").unit(), 6.0f);
  EXPECT_EQ(grid("nf4-channel").unit(), 1.0f);
}

TEST(Grid, ListsTheValueOfEveryCode) {
  for (const kvant::FormatInfo& f : kvant::kFormats) {
    if (f.bits > 8 || f.is_auxiliary()) continue;
    const Grid g = grid((std::string(f.name) + "-channel").c_str());
    ASSERT_EQ(g.values().size(), std::size_t{1} << f.bits) << f.name;
    for (std::uint32_t code = 0; code < g.values().size(); ++code) {
      const auto expected = static_cast<float>(reference::decode(*reference::find_format(f.name), code));
      if (std::isnan(expected))
        EXPECT_TRUE(std::isnan(g.values()[code])) << f.name << " " << code;
      else
        EXPECT_EQ(g.values()[code], expected) << f.name << " " << code;
    }
  }
}

TEST(Grid, RoundsScalesToTheirStorageType) {
  for (const char* type : {"fp16", "bf16", "fp32", "fp8_e4m3fn", "fp8_e5m2"}) {
    const Grid g = grid((std::string("int4-channel-scale:") + type).c_str());
    const reference::Quantizer oracle("int4", reference::Zero::symmetric, std::string(type) == "fp32" ? "fp16" : type);
    std::vector<float> scales = reference::random_patterns(20000, 30);
    for (const float x : reference::random_uniform(20000, 600.0f, 31)) scales.push_back(x);
    for (const float x : {0.0f, -0.0f, 65504.0f, 65519.0f, 65520.0f, 464.0f, 465.0f, 3.4e38f, INFINITY, 0x1p-25f,
                          0x1.000002p-25f, 0x1p-24f, 0x1p-149f})
      scales.push_back(x);
    for (const float x : scales) {
      if (std::isnan(x)) continue;
      const GroupParameters p = g.round_scale(x, 3);
      EXPECT_EQ(p.zero, 3);
      EXPECT_TRUE(std::isfinite(g.decode(8, p)) && std::isfinite(g.decode(7, {p.scale, -8, false})))
          << type << " " << x;
      if (std::fabs(x) > 0x1p127f / 15 && std::string(type) != "fp16") {
        EXPECT_TRUE(p.clamped) << "codes up to 15 steps away would decode to Inf";
        continue;
      }
      if (std::string(type) == "fp32") {
        EXPECT_FALSE(p.clamped);
        EXPECT_EQ(p.scale, x);
        continue;
      }
      const reference::Group expected = oracle.stored(x);
      ASSERT_EQ(reference::to_bits(p.scale), reference::to_bits(expected.scale)) << type << " " << x;
      ASSERT_EQ(p.clamped, expected.clamped) << type << " " << x;
    }
  }
}

TEST(Grid, RoundsZeroPointsIntoTheCodes) {
  const Grid g = grid("int4-g32-asym");
  EXPECT_EQ(g.round_zero(2.5f), 2);
  EXPECT_EQ(g.round_zero(3.5f), 4);
  EXPECT_EQ(g.round_zero(-100.0f), -8);
  EXPECT_EQ(g.round_zero(1e30f), 7);
  EXPECT_EQ(grid("uint2-g32-asym").round_zero(-1.0f), 0);
}

TEST(Grid, ShiftsIntegerCodesByTheZeroPointAfterRounding) {
  const Grid g = grid("int4-g32-asym");
  const std::vector<float> x{0.0f, 0.5f, 1.5f, -20.0f, 20.0f, NAN, INFINITY, -INFINITY, 3.4e38f};
  std::vector<std::uint8_t> codes(x.size());
  g.encode(x, {1.0f, 3, false}, codes);
  // 0+3, 0+3 (0.5 to even), 2+3, low, high, 0+3, high, low, high
  EXPECT_EQ(codes, (std::vector<std::uint8_t>{3, 3, 5, 8, 7, 3, 7, 8, 7}));
  std::vector<float> back(x.size());
  g.decode(codes, {0.5f, 3, false}, back);
  EXPECT_EQ(back[0], 0.0f);
  EXPECT_EQ(back[2], 1.0f);
  EXPECT_EQ(back[3], -5.5f);
  EXPECT_EQ(back[4], 2.0f);
}

TEST(Grid, EncodesAScaleOfZeroAsZeros) {
  for (const char* scheme : {"int4-g32", "uint4-g32", "fp8_e4m3fn-g32", "nf4-g32", "ternary-g32", "fp4_e2m1-g32"}) {
    const Grid g = grid(scheme);
    const std::vector<float> x{1.0f, -1.0f, 0.0f, -0.0f, 3.4e38f, INFINITY, NAN};
    std::vector<std::uint8_t> codes(x.size(), 77);
    g.encode(x, {0.0f, 0, false}, codes);
    for (const std::uint8_t code : codes) EXPECT_EQ(g.decode(code, {0.0f, 0, false}), 0.0f) << scheme;
    for (const std::uint8_t code : codes) EXPECT_EQ(g.values()[code], 0.0f) << scheme;
  }
}

TEST(Grid, EncodesAlikeInEveryFpMode) {
  const std::vector<float> x = reference::random_uniform(3000, 3e-38f, 32);  // many of them subnormal
  for (const char* scheme : {"int4-g32-scale:fp32", "int8-g32-asym-scale:fp32", "fp8_e4m3fn-g32-scale:fp32"}) {
    const Grid g = grid(scheme);
    const GroupParameters p{0x1p-130f, 0, false};  // itself subnormal
    std::vector<std::uint8_t> expected(x.size());
    g.encode(x, p, expected);
    EXPECT_NE(expected, std::vector<std::uint8_t>(x.size())) << "not all zero";
    for (const reference::FpMode& mode : reference::kFpModes) {
      std::vector<std::uint8_t> codes(x.size());
      {
        const reference::ScopedFpMode scoped(mode);
        g.encode(x, p, codes);
      }
      EXPECT_EQ(codes, expected) << scheme << ", " << mode.name;
    }
  }
}

TEST(Grid, SumsWhatTheTrialsOfASearchRemove) {
  // Against double sums over the codes that an independent encoder takes for x * inverse. 5 + 4 float additions per
  // lane and tree of 70 elements: 9 * 2^-24 of the sum of magnitudes.
  const std::vector<float> x = reference::normal_weights(70, 33, 1.0);
  const std::vector<float> inverse{0.5f, 1.0f, 2.0f, 3.7f, -3.7f};
  const std::vector<float> zero(inverse.size(), 0.0f);
  for (const char* format :
       {"int8", "int4", "int2", "uint4", "ternary", "int1", "fp8_e4m3fn", "fp8_e5m2", "fp4_e2m1", "nf4"}) {
    const Grid g = grid((std::string(format) + "-channel").c_str());
    const reference::Quantizer oracle(format, reference::Zero::symmetric);
    std::vector<float> xv(5), vv(5), ee(5), scales;
    for (const float i : inverse) scales.push_back(1.0f / i);
    g.fit(x, {inverse, zero, scales, xv, vv, ee});
    for (std::size_t t = 0; t < inverse.size(); ++t) {
      double a = 0, b = 0, e = 0, size = 0;
      for (const float v : x) {
        const volatile float ratio = v * inverse[t];
        const double level = oracle.level(oracle.code(ratio, {1.0f, 0, false}));
        const double error = static_cast<double>(v) - static_cast<double>(scales[t]) * level;
        a += static_cast<double>(v) * level;
        size += std::fabs(static_cast<double>(v) * level);
        b += level * level;
        e += error * error;
      }
      EXPECT_NEAR(static_cast<double>(xv[t]), a, 9 * 0x1p-24 * size) << format << " " << t;
      EXPECT_NEAR(static_cast<double>(vv[t]), b, 9 * 0x1p-24 * b) << format << " " << t;
      EXPECT_NEAR(static_cast<double>(ee[t]), e, 12 * 0x1p-24 * e + 1e-12) << format << " " << t;
    }
  }
}

TEST(Grid, ShiftsTheTrialsOfASearchByTheirZeroPoints) {
  const Grid g = grid("uint4-g32-asym");
  const std::vector<float> x{-3.2f, 0.4f, 20.0f, -20.0f};  // less zero point 5: -3, 0, 10, -5
  const std::vector<float> inverse{1.0f}, zero{5.0f}, scale{1.0f};
  std::vector<float> xv(1), vv(1), ee(1);
  g.fit(x, {inverse, zero, scale, xv, vv, ee});
  EXPECT_FLOAT_EQ(xv[0], 3.2f * 3 + 20 * 10 + 20 * 5);
  EXPECT_FLOAT_EQ(vv[0], 9 + 100 + 25);
  EXPECT_FLOAT_EQ(ee[0], 0.2f * 0.2f + 0.4f * 0.4f + 100 + 225);
}

TEST(Grid, RefusesFormatsOfMoreThan8Bits) {
  const auto before =
      kvant::set_contract_handler([](const kvant::ContractViolation& v) { throw std::logic_error(v.text); });
  EXPECT_THROW(static_cast<void>(grid("fp16")), std::logic_error);
  kvant::set_contract_handler(before);
}

}  // namespace
