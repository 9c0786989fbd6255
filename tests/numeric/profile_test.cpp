// SPDX-License-Identifier: Apache-2.0
// Where projects disagree about a code: numbers worked by hand from their sources (docs/numerics.md), and that a
// profile differs from `ieee` nowhere else.
#include "kvant/numeric/profile.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "../reference/check.hpp"

namespace {

using kvant::CastRule;
using kvant::FormatId;
using kvant::Overflow;
using kvant::Profile;
using kvant::Rounding;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

template <class F>
std::uint32_t code(float x, Profile p, Overflow overflow = Overflow::saturate) {
  return kvant::cast(kvant::format_id<F>, x, {p, overflow, std::nullopt});
}

TEST(Profiles, HaveUniqueNames) {
  for (std::size_t i = 0; i < kvant::kProfileNames.size(); ++i)
    EXPECT_EQ(kvant::profile_from_name(kvant::kProfileNames[i]), static_cast<Profile>(i));
  EXPECT_FALSE(kvant::profile_from_name("IEEE"));
  EXPECT_FALSE(kvant::profile_from_name(""));
}

TEST(Profiles, GgmlTakesTiesOfE2m1TowardZeroAndHasNoMinusZero) {
  using F = kvant::fp4_e2m1;
  EXPECT_EQ(code<F>(0.75f, Profile::ieee), 2u);
  EXPECT_EQ(code<F>(0.75f, Profile::ggml), 1u);
  EXPECT_EQ(code<F>(1.75f, Profile::ieee), 4u);
  EXPECT_EQ(code<F>(1.75f, Profile::ggml), 3u);
  EXPECT_EQ(code<F>(3.5f, Profile::ieee), 6u);
  EXPECT_EQ(code<F>(3.5f, Profile::ggml), 5u);
  EXPECT_EQ(code<F>(-5.0f, Profile::ggml), 0xeu);
  EXPECT_EQ(code<F>(std::nextafter(5.0f, 6.0f), Profile::ggml), 7u);
  EXPECT_EQ(code<F>(-0.1f, Profile::ieee), 8u);
  EXPECT_EQ(code<F>(-0.1f, Profile::ggml), 0u);
  EXPECT_EQ(code<F>(kNaN, Profile::ieee), 8u);
  EXPECT_EQ(code<F>(kNaN, Profile::ggml), 0u);
  EXPECT_EQ(code<F>(-INFINITY, Profile::ggml), 0xfu);
}

TEST(Profiles, TorchBasedToolsDropTheSignOfAZeroButNotOfASmallNumber) {
  for (const Profile p : {Profile::ct, Profile::modelopt}) {
    EXPECT_EQ(code<kvant::fp4_e2m1>(-0.0f, p), 0u);
    EXPECT_EQ(code<kvant::fp4_e2m1>(-0.1f, p), 8u);
    EXPECT_EQ(code<kvant::fp4_e2m1>(0.75f, p), 2u);
  }
  EXPECT_EQ(code<kvant::fp4_e2m1>(-0.0f, Profile::ieee), 8u);
}

TEST(Profiles, PowersOfTwoAreRoundedInFourWays) {
  using F = kvant::e8m0;
  struct Row {
    float x;
    std::uint32_t up, floor, ct;
  };
  for (const Row& r : {Row{1.0f, 127, 127, 127},
                       {1.1f, 128, 127, 127},
                       {1.5f, 128, 127, 127},
                       {1.75f, 128, 127, 128},
                       {1.9f, 128, 127, 128},
                       {0.124f, 0x7c, 0x7b, 0x7c}}) {
    for (const Profile p : {Profile::ieee, Profile::onnx, Profile::modelopt}) EXPECT_EQ(code<F>(r.x, p), r.up) << r.x;
    for (const Profile p : {Profile::ocp, Profile::ggml}) EXPECT_EQ(code<F>(r.x, p), r.floor) << r.x;
    EXPECT_EQ(code<F>(r.x, Profile::ct), r.ct) << r.x;
  }
  EXPECT_EQ(code<F>(0.0f, Profile::onnx), 0u);
  EXPECT_EQ(code<F>(INFINITY, Profile::ieee), 254u);
  EXPECT_EQ(code<F>(INFINITY, Profile::onnx), 255u);
  EXPECT_EQ(code<F>(3e38f, Profile::ct), 254u);
  EXPECT_TRUE(kvant::is_nan(kvant::decode(kvant::format_id<F>, 255, Profile::ieee)));
  EXPECT_TRUE(kvant::is_inf(kvant::decode(kvant::format_id<F>, 255, Profile::ggml)));
}

TEST(Profiles, MlDtypesLiftsWhatLiesJustAboveTheLeastPower) {
  const CastRule nearest{Profile::ieee, Overflow::ieee, Rounding::nearest_even};
  EXPECT_EQ(kvant::cast(kvant::format_id<kvant::e8m0>, 0x1p-127f, nearest), 0u);
  EXPECT_EQ(kvant::cast(kvant::format_id<kvant::e8m0>, 0x1.0001p-127f, nearest), 1u);
  EXPECT_EQ(kvant::cast(kvant::format_id<kvant::e8m0>, 0x1.0001p-126f, nearest), 1u);
}

TEST(Profiles, GgmlsUe4m3HasOneNumberInItsTopBinade) {
  using F = kvant::ue4m3;
  // 1500 / 6 = 250 rounds to 256, which ggml has no code for: it becomes 448.
  EXPECT_EQ(code<F>(250.0f, Profile::ieee), 0x78u);
  EXPECT_EQ(code<F>(250.0f, Profile::ggml), 0x7eu);
  EXPECT_EQ(code<F>(247.9f, Profile::ggml), 0x77u);
  EXPECT_EQ(code<F>(1e9f, Profile::ggml), 0x7eu);
  EXPECT_EQ(code<F>(1.0625f, Profile::ieee), 0x38u);  // a tie
  EXPECT_EQ(code<F>(1.0625f, Profile::ggml), 0x39u);
  EXPECT_EQ(code<F>(0x1p-10f, Profile::ieee), 0u);
  EXPECT_EQ(code<F>(0x1p-10f, Profile::ggml), 1u);
  EXPECT_EQ(code<F>(0x1.fffffep-11f, Profile::ieee), 0u);
  EXPECT_EQ(code<F>(0x1.fffffep-11f, Profile::ggml), 1u);  // x * 512 + 0.5f is 1
  EXPECT_EQ(code<F>(0x1.fffffcp-11f, Profile::ggml), 0u);
  EXPECT_EQ(code<F>(0x1.fp-7f, Profile::ieee), 8u);
  EXPECT_EQ(code<F>(0x1.fp-7f, Profile::ggml), 7u);
  EXPECT_EQ(code<F>(kNaN, Profile::ggml), 0u);
  EXPECT_EQ(code<F>(-3.0f, Profile::ggml), 0u);
  EXPECT_EQ(kvant::decode(kvant::format_id<F>, 0x7f, Profile::ggml), 0.0f);
}

TEST(Profiles, GgmlRoundsHalvesOfIntegersAwayAndIq4NlUp) {
  EXPECT_EQ(code<kvant::int8>(2.5f, Profile::ieee), 2u);
  EXPECT_EQ(code<kvant::int8>(2.5f, Profile::ggml), 3u);
  EXPECT_EQ(code<kvant::int8>(-2.5f, Profile::ggml), 0xfdu);
  EXPECT_EQ(code<kvant::iq4_nl>(7.0f, Profile::ieee), 8u);  // halfway between 1 and 13
  EXPECT_EQ(code<kvant::iq4_nl>(7.0f, Profile::ggml), 9u);
  EXPECT_EQ(code<kvant::iq4_nl>(-4.5f, Profile::ggml), 8u);
  EXPECT_EQ(code<kvant::iq4_nl>(500.0f, Profile::ggml), 15u);
}

TEST(Profiles, OnnxCastsIntegersModuloTheirWidthWhereItDoesNotSaturate) {
  EXPECT_EQ(code<kvant::int4>(-9.0f, Profile::onnx, Overflow::ieee), 7u);  // test_cast_FLOAT_to_INT4
  EXPECT_EQ(code<kvant::int4>(-9.0f, Profile::onnx), 8u);
  EXPECT_EQ(code<kvant::uint4>(17.0f, Profile::onnx, Overflow::ieee), 1u);
  EXPECT_EQ(code<kvant::int8>(300.0f, Profile::onnx, Overflow::ieee), 44u);
  EXPECT_EQ(code<kvant::int8>(INFINITY, Profile::onnx, Overflow::ieee), 0u);
  EXPECT_EQ(code<kvant::int8>(0x1.fffffep30f, Profile::onnx, Overflow::ieee), 128u);  // 2^31 - 128
  EXPECT_EQ(code<kvant::int8>(0x1p31f, Profile::onnx, Overflow::ieee), 0u);
  EXPECT_EQ(code<kvant::int8>(-1e30f, Profile::onnx, Overflow::ieee), 0u);
  EXPECT_EQ(code<kvant::int8>(300.0f, Profile::ieee, Overflow::ieee), 127u);
  EXPECT_EQ(code<kvant::fp8_e4m3fnuz>(INFINITY, Profile::onnx), 0x7fu);  // test_cast_FLOAT_to_FLOAT8E4M3FNUZ: 240
}

TEST(Profiles, AnExplicitRoundingWins) {
  const auto rounded = [](FormatId f, float x, Profile p) {
    return kvant::cast(f, x, {p, Overflow::saturate, Rounding::nearest_even});
  };
  EXPECT_EQ(rounded(kvant::format_id<kvant::fp4_e2m1>, 0.75f, Profile::ggml), 2u);
  EXPECT_EQ(rounded(kvant::format_id<kvant::int8>, 2.5f, Profile::ggml), 2u);
  EXPECT_EQ(rounded(kvant::format_id<kvant::e8m0>, 1.75f, Profile::ct), 128u);
  EXPECT_EQ(rounded(kvant::format_id<kvant::e8m0>, 1.4f, Profile::ct), 127u);
}

TEST(Profiles, DifferFromIeeeOnlyWhereTheTableSaysSo) {
  const std::map<Profile, std::vector<std::string>> differing{
      {Profile::onnx, {"e8m0"}},
      {Profile::ocp, {"e8m0"}},
      {Profile::ct, {"e8m0", "fp4_e2m1"}},
      {Profile::modelopt, {"fp4_e2m1"}},
      {Profile::ggml, {"e8m0", "ue4m3", "fp4_e2m1", "iq4_nl", "int"}},
  };
  std::vector<float> inputs = reference::random_patterns(20000, 7);
  for (const float x : reference::random_uniform(20000, 20.0f, 8))
    inputs.insert(inputs.end(), {std::round(x * 16) / 16, std::round(x * 16) / 1024});
  for (const float x : {0.0f, -0.0f, kNaN, -kNaN, INFINITY, -INFINITY}) inputs.push_back(x);
  for (const kvant::FormatInfo& f : kvant::kFormats) {
    const kvant::FormatId id = *kvant::format_from_name(f.name);
    std::vector<std::uint32_t> ieee;
    for (const float x : inputs) ieee.push_back(kvant::cast(id, x, {}));
    for (const auto& [profile, names] : differing) {
      bool differs = false;
      for (std::size_t i = 0; i < inputs.size() && !differs; ++i)
        differs = kvant::cast(id, inputs[i], {profile, {}, {}}) != ieee[i];
      bool may = false;
      for (const std::string& name : names)
        may = may || f.name == name || (name == "int" && f.kind == kvant::FormatKind::integer && f.name != "int1");
      EXPECT_EQ(differs, may) << kvant::profile_name(profile) << " " << f.name;
    }
  }
}

TEST(Saturates, IsBeyondTheRangeAfterRounding) {
  const auto cut = [](const char* format, float x) {
    return kvant::saturates(*kvant::format_from_name(format), x, {.rounding = Rounding::nearest_even});
  };
  EXPECT_FALSE(cut("fp8_e4m3fn", 464.0f));
  EXPECT_TRUE(cut("fp8_e4m3fn", 464.1f));
  EXPECT_TRUE(cut("fp8_e4m3fn", -1e30f));
  EXPECT_TRUE(cut("fp8_e5m2", 61440.0f));
  EXPECT_FALSE(cut("fp8_e5m2", 61439.0f));
  EXPECT_FALSE(cut("fp4_e2m1", 6.9f));
  EXPECT_TRUE(cut("fp4_e2m1", 7.0f));
  EXPECT_FALSE(cut("int8", 127.5f - 0x1p-16f));
  EXPECT_TRUE(cut("int8", 127.5f));
  EXPECT_FALSE(cut("int8", -128.5f));
  EXPECT_TRUE(cut("int8_q6", 2.0f));
  EXPECT_TRUE(cut("uint4", -1.0f));
  EXPECT_TRUE(cut("nf4", 1.01f));
  EXPECT_FALSE(cut("nf4", -1.0f));
  EXPECT_TRUE(cut("fp16", 65520.0f));
  EXPECT_FALSE(cut("fp32", 3.4e38f));
  EXPECT_TRUE(cut("fp32", INFINITY));
  EXPECT_FALSE(cut("fp32", kNaN));
  EXPECT_TRUE(cut("e8m0", 3.3e38f));
  EXPECT_FALSE(cut("e8m0", 0.0f));
  EXPECT_TRUE(cut("ue4m3", -1.0f));
}

TEST(Saturates, RoundsAsTheRuleDoes) {
  const auto cut = [](const char* format, float x, kvant::Profile profile) {
    return kvant::saturates(*kvant::format_from_name(format), x, {.profile = profile});
  };
  EXPECT_TRUE(cut("e8m0", 1.2f * 0x1p127f, kvant::Profile::ieee));
  EXPECT_FALSE(cut("e8m0", 1.2f * 0x1p127f, kvant::Profile::ocp));
  EXPECT_FALSE(cut("e8m0", 1.7f * 0x1p127f, kvant::Profile::ct));
  EXPECT_TRUE(cut("e8m0", 1.75f * 0x1p127f, kvant::Profile::ct));
  EXPECT_FALSE(cut("fp4_e2m1", -7.0f, kvant::Profile::ggml));
  EXPECT_TRUE(cut("fp4_e2m1", -7.1f, kvant::Profile::ggml));
  EXPECT_TRUE(cut("int8", -128.5f, kvant::Profile::ggml));
  EXPECT_FALSE(cut("int8", -128.5f, kvant::Profile::onnx));
  const kvant::FormatId int8 = *kvant::format_from_name("int8");
  EXPECT_TRUE(kvant::saturates(int8, 127.25f, {.rounding = Rounding::stochastic}, 0));
  EXPECT_FALSE(kvant::saturates(int8, 127.25f, {.rounding = Rounding::stochastic}, 0xffffffffu));
}

TEST(RandomBits, DependOnSeedAndPlaceAlone) {
  EXPECT_EQ(kvant::random_bits(1, 5), kvant::random_bits(1, 5));
  EXPECT_NE(kvant::random_bits(1, 5), kvant::random_bits(1, 6));
  EXPECT_NE(kvant::random_bits(1, 5), kvant::random_bits(2, 5));
  double sum = 0;
  for (std::uint64_t i = 0; i < 100000; ++i) sum += kvant::random_bits(3, i) * 0x1p-32;
  EXPECT_NEAR(sum / 100000, 0.5, 0.005);  // five standard errors
}

}  // namespace
