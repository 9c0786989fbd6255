// SPDX-License-Identifier: Apache-2.0
// The list of formats against the table of the specifications: names, widths, ranges, and the value of every code.
#include "kvant/numeric/formats.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "../reference/check.hpp"
#include "../reference/number_formats.hpp"

namespace {

using kvant::FormatInfo;
using kvant::kFormats;

const reference::NumberFormat& specification(const FormatInfo& f) {
  const reference::NumberFormat* spec = reference::find_format(f.name);
  EXPECT_NE(spec, nullptr) << f.name << " has no row in tests/reference/number_formats.hpp";
  return *spec;
}

TEST(Formats, AreTheSpecifiedOnesWithUniqueNames) {
  std::set<std::string> names;
  for (const FormatInfo& f : kFormats) {
    EXPECT_TRUE(names.insert(std::string(f.name)).second) << f.name;
    EXPECT_NE(reference::find_format(f.name), nullptr) << f.name;
  }
  for (const reference::NumberFormat& spec : reference::kNumberFormats)
    EXPECT_TRUE(names.count(std::string(spec.name))) << spec.name;
}

TEST(Formats, OfNamesThatSayTheirFieldsAreWhatTheNamesSay) {
  for (const char* name : {"fp8_e4m3fn", "fp8_e4m3fnuz", "fp8_e5m2fnuz", "fp6_e3m2", "fp6_e2m3", "fp4_e2m1"}) {
    const auto named = reference::format_of_name(name);
    const reference::NumberFormat& row = *reference::find_format(name);
    ASSERT_TRUE(named) << name;
    EXPECT_EQ(named->family, row.family) << name;
    EXPECT_EQ(named->bias, row.bias) << name;
    EXPECT_EQ(named->max, row.max) << name;
    EXPECT_EQ(named->has_nan, row.has_nan) << name;
  }
  for (const char* name : {"fp8_e4m3b11fnuz", "fp8_e2m3", "fp4_e2m1x", "e8m0", "int4"})
    EXPECT_FALSE(reference::format_of_name(name)) << name;
}

TEST(Formats, AreFoundByTheirNamesOnly) {
  for (std::size_t i = 0; i < kFormats.size(); ++i) {
    const auto id = kvant::format_from_name(kFormats[i].name);
    ASSERT_TRUE(id.has_value());
    EXPECT_EQ(id->index, i);
    EXPECT_EQ(id->custom, nullptr);
    EXPECT_EQ(kvant::format_info(*id).name, kFormats[i].name);
  }
  for (const char* text : {"", "int", "int9", "int0", "INT4", "int4 ", " int4", "fp8", "int4\n", "uint", "float16"})
    EXPECT_FALSE(kvant::format_from_name(text).has_value()) << text;
}

TEST(Formats, HaveTheTagOfTheirType) {
  EXPECT_EQ(kvant::format_info(kvant::format_id<kvant::fp32>).name, "fp32");
  EXPECT_EQ(kvant::format_info(kvant::format_id<kvant::int4>).name, "int4");
  EXPECT_EQ(kvant::format_info(kvant::format_id<kvant::nf4>).name, "nf4");
  EXPECT_EQ(kvant::format_info(kvant::format_id<kvant::ternary>).name, "ternary");
}

TEST(Formats, SayTheirWidthRangeAndSpecialValues) {
  for (const FormatInfo& f : kFormats) {
    SCOPED_TRACE(f.name);
    const reference::NumberFormat& spec = specification(f);
    EXPECT_EQ(f.bits, static_cast<unsigned>(spec.bits));
    EXPECT_EQ(static_cast<double>(f.max), spec.max);
    EXPECT_EQ(f.low, spec.low);
    EXPECT_EQ(f.high, spec.high);
    EXPECT_EQ(f.has_inf, spec.has_inf);
    EXPECT_EQ(f.has_nan, spec.has_nan);
    const bool integer = spec.family == reference::Family::integer || spec.family == reference::Family::sign;
    const bool scales = spec.family == reference::Family::exponent || spec.family == reference::Family::unsigned_fn;
    const bool no_negatives = scales || f.name == "even2";
    EXPECT_EQ(f.is_signed, integer ? spec.low < 0 : !no_negatives);
    EXPECT_EQ(f.is_auxiliary(), no_negatives);
    EXPECT_EQ(f.fraction_bits, spec.fraction);
    EXPECT_EQ(f.step(), std::ldexp(1.0f, -spec.fraction));
    EXPECT_EQ(f.kind, integer                                      ? kvant::FormatKind::integer
                      : spec.family == reference::Family::table    ? kvant::FormatKind::codebook
                      : spec.family == reference::Family::exponent ? kvant::FormatKind::exponent
                                                                   : kvant::FormatKind::minifloat);
  }
}

TEST(Formats, TellKernelsTheirFieldsAndThresholds) {
  for (const FormatInfo& f : kFormats) {
    SCOPED_TRACE(f.name);
    const reference::NumberFormat& spec = specification(f);
    const bool is_float = reference::is_float_family(spec.family);
    EXPECT_EQ(f.mantissa_bits, is_float ? spec.mantissa_bits : 0);
    EXPECT_EQ(f.min_exponent, is_float ? 1 - spec.bias : 0);
    const bool by_thresholds = spec.family == reference::Family::table || spec.family == reference::Family::sign;
    ASSERT_EQ(f.thresholds != nullptr, by_thresholds);
    if (!by_thresholds) continue;
    ASSERT_EQ(f.threshold_count, f.name == "fp4_bnb" ? 14u : (1u << f.bits) - 1);
    const reference::Encoder expected(spec);
    reference::Mismatches differ{std::string(f.name)};
    std::vector<float> inputs = reference::random_uniform(20000, 1.1f * f.max, 9);
    for (const float x : {0.0f, -0.0f, 0x1p-149f, -0x1p-149f, INFINITY, -INFINITY}) inputs.push_back(x);
    for (const float x : inputs) {
      std::uint32_t index = 0;
      for (unsigned i = 0; i < f.threshold_count; ++i) index += f.thresholds[i] < kvant::order_key(x) ? 1u : 0u;
      differ.compare(f.codes != nullptr ? f.codes[index] : index, expected(x), x);
    }
  }
}

TEST(Formats, DecodeEveryCodeToItsSpecifiedValue) {
  for (const FormatInfo& f : kFormats) {
    if (f.bits > 16) continue;
    const reference::NumberFormat& spec = specification(f);
    reference::Mismatches differ(std::string(f.name));
    for (std::uint32_t code = 0; code < (1u << f.bits); ++code) {
      const double expected = reference::decode(spec, code);
      const float got = f.decode(code);
      if (std::isnan(expected)) {
        differ.compare(std::isnan(got) ? 1 : 0, 1, static_cast<float>(code));
      } else {
        // Bits, not values: -0 is not +0. Every value of at most 16 bits is exact in float.
        const bool decimal = spec.family == reference::Family::table;
        ASSERT_EQ(static_cast<double>(static_cast<float>(expected)), decimal ? static_cast<double>(got) : expected);
        differ.compare(reference::to_bits(got), reference::to_bits(static_cast<float>(expected)),
                       static_cast<float>(code));
      }
    }
  }
}

TEST(Formats, Fp32IsTheFloatItself) {
  reference::Mismatches decode("decode");
  reference::Mismatches encode("encode");
  for (const float x : reference::random_patterns(1000000, 1)) {
    const std::uint32_t bits = reference::to_bits(x);
    decode.compare(reference::to_bits(kvant::fp32::decode(bits)), bits, x);
    if (!std::isnan(x) && !std::isinf(x)) encode.compare(kvant::fp32::encode(x), bits, x);
  }
  for (const std::uint32_t bits : {0u, 1u, 0x80000000u, 0x80000001u, 0x007fffffu, 0x00800000u, 0x7f7fffffu})
    EXPECT_EQ(kvant::fp32::encode(reference::from_bits(bits)), bits);
  const float inf = INFINITY;
  EXPECT_EQ(kvant::fp32::encode(inf), 0x7f7fffffu);
  EXPECT_EQ(kvant::fp32::encode(-inf, {kvant::Rounding::nearest_even, kvant::Overflow::ieee, 0}), 0xff800000u);
}

TEST(Formats, NaNCodesKeepSignAndPayloadWhenDecoded) {
  // The mantissa's bits at the top of binary32's; whether a signalling NaN is made quiet is left open.
  for (std::uint32_t code = 0x7c01; code <= 0x7fff; ++code) {
    const std::uint32_t expected = 0x7f800000u | (code & 0x3ffu) << 13;
    EXPECT_EQ(reference::to_bits(kvant::fp16::decode(static_cast<std::uint16_t>(code))) | 0x400000u,
              expected | 0x400000u);
    EXPECT_EQ(reference::to_bits(kvant::fp16::decode(static_cast<std::uint16_t>(code | 0x8000u))) | 0x400000u,
              expected | 0x80400000u);
  }
}

TEST(Formats, Nf4HasAnExactZeroAtIndex7) { EXPECT_EQ(kvant::nf4::decode(7), 0.0f); }

// Formats are usable in constant expressions.
static_assert(kvant::fp16::encode(1.0f) == 0x3c00 && kvant::fp16::decode(0x3c00) == 1.0f);
static_assert(kvant::bf16::encode(-2.0f) == 0xc000 && kvant::bf16::decode(0xc000) == -2.0f);
static_assert(kvant::fp8_e4m3fn::encode(1e9f) == 0x7e && kvant::fp8_e4m3fn::decode(0x7e) == 448.0f);
static_assert(kvant::fp8_e5m2::encode(0x1p-16f) == 0x01);
static_assert(kvant::fp4_e2m1::encode(2.5f) == 4 && kvant::fp4_e2m1::decode(7) == 6.0f);
static_assert(kvant::int4::encode(-9.0f) == 8 && kvant::int4::decode(8) == -8.0f);
static_assert(kvant::uint4::encode(-1.0f) == 0 && kvant::uint4::decode(15) == 15.0f);
static_assert(kvant::int1::encode(-0.5f) == 0 && kvant::int1::decode(0) == -1.0f);
static_assert(kvant::ternary::encode(-3.0f) == 3 && kvant::ternary::decode(3) == -1.0f);
static_assert(kvant::nf4::encode(1.0f) == 15 && kvant::nf4::decode(0) == -1.0f);
static_assert(kvant::format_from_name("int8") == kvant::format_id<kvant::int8>);
static_assert(kvant::format_info(kvant::format_id<kvant::int8>).encode(3.0f) == 3);
static_assert(kvant::e8m0::encode(1.1f) == 127 && kvant::e8m0::decode(0) == 0x1p-127f);
static_assert(kvant::ue4m3::encode(-1.0f) == 0 && kvant::ue4m3::decode(0xfe) == 448.0f);
static_assert(kvant::int8_q6::encode(1.0f) == 64 && kvant::int8_q6::decode(0x80) == -2.0f);
static_assert(kvant::fp4_bnb::encode(1.0f) == 3 && kvant::fp4_bnb::decode(8) == 0.0f);

}  // namespace
