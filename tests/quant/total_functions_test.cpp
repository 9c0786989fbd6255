// SPDX-License-Identifier: Apache-2.0
// Quantizing is defined for every input: nothing at all, zeros of both signs, constants, subnormals, huge numbers,
// outliers, NaN and Inf by policy, for every format, granularity, symmetry and scale type.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "../reference/check.hpp"
#include "../reference/weights.hpp"
#include "kvant/quant/encode.hpp"
#include "support/test_cases.hpp"

namespace {

using kvant::ErrorCode;
using kvant::FormatInfo;
using kvant::Matrix;
using kvant::NonFinite;
using kvant::QMatrix;

std::vector<std::string> schemes() {
  std::vector<std::string> all;
  for (const FormatInfo& f : kvant::kFormats)
    for (const char* granularity : {"-tensor", "-channel", "-g1", "-g32", "-b2x16"})
      for (const char* symmetry : {"", "-asym", "-full"})
        for (const char* scale : {"", "-scale:bf16", "-scale:fp32", "-scale:fp8_e4m3fn", "-scale:fp8_e5m2"}) {
          const std::string text = std::string(f.name) + granularity + symmetry + scale;
          if (kvant::parse_scheme(text)) all.push_back(text);
        }
  return all;
}

/// What holds for every quantized matrix of finite weights.
void check_invariants(const QMatrix& q, const std::string& what) {
  const FormatInfo& f = q.scheme.info();
  const FormatInfo& scale = kvant::format_info(q.scheme.scales.inner);
  ASSERT_EQ(q.codes.size(), q.rows * q.cols) << what;
  for (const std::uint8_t code : q.codes) {
    ASSERT_LT(code, 1u << f.bits) << what;
    ASSERT_TRUE(std::isfinite(f.decode(code))) << what;
    if (f.name == "ternary") {
      ASSERT_NE(code, 2) << what;
    }
  }
  for (const float s : q.scales[0].values) {
    ASSERT_TRUE(std::isfinite(s)) << what;
    ASSERT_EQ(scale.decode(scale.encode(s, {})), s) << what << ": what is simulated is what is stored";
    if (q.scheme.symmetry != kvant::Symmetry::full) {
      ASSERT_GE(s, 0.0f) << what;
    }
  }
  for (const int zero : q.zero_points) {
    ASSERT_GE(zero, f.low) << what;
    ASSERT_LE(zero, f.high) << what;
  }
  ASSERT_EQ(q.zero_points.size(), q.scheme.symmetry == kvant::Symmetry::asymmetric ? q.scales[0].values.size() : 0u);
  ASSERT_LE(q.clamped_scales, q.scales[0].values.size()) << what;
  const Matrix<float> values = kvant::dequantize(q);
  for (std::size_t i = 0; i < values.size(); ++i) ASSERT_TRUE(std::isfinite(values.data()[i])) << what;
}

struct Input {
  const char* name;
  Matrix<float> weights;
};

std::vector<Input> inputs() {
  std::vector<Input> all;
  const auto filled = [](std::size_t rows, std::size_t cols, std::initializer_list<float> pattern) {
    std::vector<float> x(rows * cols);
    for (std::size_t i = 0; i < x.size(); ++i) x[i] = pattern.begin()[i % pattern.size()];
    return Matrix<float>(rows, cols, x);
  };
  const float smallest = 0x1p-149f;
  const float largest = 3.4028234663852886e38f;
  all.push_back({"no rows", Matrix<float>(0, 33)});
  all.push_back({"no columns", Matrix<float>(3, 0)});
  all.push_back({"nothing", Matrix<float>(0, 0)});
  all.push_back({"one element", filled(1, 1, {0.75f})});
  all.push_back({"one negative element", filled(1, 1, {-0.75f})});
  all.push_back({"zeros", filled(3, 33, {0.0f})});
  all.push_back({"negative zeros", filled(3, 33, {-0.0f})});
  all.push_back({"zeros of both signs", filled(3, 33, {0.0f, -0.0f})});
  all.push_back({"a constant", filled(3, 33, {0.3f})});
  all.push_back({"a negative constant", filled(3, 33, {-0.3f})});
  all.push_back({"smallest subnormals", filled(2, 33, {smallest, -smallest, 0.0f})});
  all.push_back({"subnormals", filled(2, 33, {1e-40f, -3e-39f, 2e-38f})});
  all.push_back({"fp16 subnormals", filled(2, 33, {0x1p-24f, -0x1p-20f, 0x1.8p-23f})});
  all.push_back({"largest numbers", filled(2, 33, {largest, -largest, 1.0f})});
  all.push_back({"the largest negative number", filled(2, 33, {-largest, 1e30f})});
  all.push_back({"all the largest number", filled(2, 33, {largest})});
  all.push_back({"half the largest number", filled(2, 33, {1.7e38f, -1.7e38f})});
  all.push_back({"one outlier", filled(3, 33, {0.01f, -0.02f, 0.015f})});
  all.back().weights(1, 20) = 1e30f;
  all.push_back({"beyond fp16", filled(3, 33, {1e6f, -2e7f, 3e5f})});
  all.push_back({"every exponent", Matrix<float>(4, 64)});
  for (std::size_t i = 0; i < 256; ++i)
    all.back().weights.data()[i] =
        reference::from_bits((i < 255 ? static_cast<std::uint32_t>(i) << 23 : 1u) | 0x12345u);
  return all;
}

TEST(TotalFunctions, HoldTheirInvariantsOnEveryInput) {
  const std::vector<Input> all = inputs();
  for (const std::string& text : schemes())
    for (const Input& input : all)
      for (const bool search : {false, true}) {
        const auto q = kvant::quantize(input.weights.view(), *kvant::parse_scheme(text), {search, NonFinite::error});
        ASSERT_TRUE(q.has_value()) << text;
        ASSERT_NO_FATAL_FAILURE(check_invariants(*q, text + (search ? ", searched, " : ", ") + input.name));
      }
}

TEST(TotalFunctions, MapZerosToZeros) {
  for (const std::string& text : schemes())
    for (const float zero : {0.0f, -0.0f})
      for (const bool search : {false, true}) {
        const Matrix<float> w(3, 33, zero);
        const QMatrix q = *kvant::quantize(w.view(), *kvant::parse_scheme(text), {search, NonFinite::error});
        EXPECT_EQ(q.clamped_scales, 0u);
        for (const float s : q.scales[0].values) EXPECT_EQ(s, 0.0f) << text;
        const Matrix<float> values = kvant::dequantize(q);
        for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values.data()[i], 0.0f) << text;
      }
}

TEST(TotalFunctions, KeepAConstantWithinHalfAStep) {
  for (const std::string& text : schemes()) {
    const auto scheme = *kvant::parse_scheme(text);
    if (scheme.scales.inner != kvant::format_id<kvant::fp16>) continue;
    for (const float constant : {1.0f, -1.0f}) {
      if (!scheme.info().is_signed && constant < 0 && scheme.symmetry == kvant::Symmetry::symmetric) continue;
      const Matrix<float> w(2, 33, constant);
      for (const bool search : {false, true}) {
        const QMatrix q = *kvant::quantize(w.view(), scheme, {search, NonFinite::error});
        const Matrix<float> values = kvant::dequantize(q);
        // Half a step of integers (their unit lies half a step beyond the largest code); half a gap at the top of
        // the others, at most 1/6 of the value for fp4. A zero point rounds by half a step more, an fp16 scale by
        // 2^-11 of the value.
        const bool integer = scheme.info().kind == kvant::FormatKind::integer;
        const float step = integer ? std::fabs(q.scales[0].values[0]) : std::fabs(constant) / 3;
        const float steps = scheme.symmetry == kvant::Symmetry::asymmetric ? 1.0f : 0.5f;
        for (std::size_t i = 0; i < values.size(); ++i)
          ASSERT_NEAR(values.data()[i], constant, steps * step + 0x1p-11f) << text << " " << constant;
      }
    }
  }
}

TEST(TotalFunctions, ClampAndCountScalesBeyondFp16) {
  // 65504 * 7.5 = 491280 is the largest weight that int4 can scale by fp16; the tie to 65536 lies at 65520 * 7.5.
  const auto clamped = [](float weight, const char* scheme) {
    const Matrix<float> w(1, 1, weight);
    return kvant::quantize(w.view(), *kvant::parse_scheme(scheme))->clamped_scales;
  };
  EXPECT_EQ(clamped(491280.0f, "int4-tensor"), 0u);
  EXPECT_EQ(clamped(491399.0f, "int4-tensor"), 0u);
  EXPECT_EQ(clamped(491400.0f, "int4-tensor"), 1u);
  EXPECT_EQ(clamped(-491400.0f, "int4-tensor"), 1u);
  EXPECT_EQ(clamped(1e30f, "int4-tensor-scale:bf16"), 0u);
  EXPECT_EQ(clamped(1e30f, "int4-tensor-scale:fp8_e5m2"), 1u);
  EXPECT_EQ(clamped(1e30f, "int4-tensor-full"), 1u);
  EXPECT_EQ(clamped(1e30f, "uint4-tensor-asym"), 1u);
  EXPECT_EQ(clamped(1e30f, "ternary-tensor"), 1u);
  Matrix<float> w(4, 64, 0.01f);
  w(1, 3) = 1e30f;
  w(1, 40) = -1e30f;
  w(3, 0) = 3.4e38f;
  for (const bool search : {false, true}) {
    const QMatrix q = *kvant::quantize(w.view(), *kvant::parse_scheme("int4-g32"), {search, NonFinite::error});
    EXPECT_EQ(q.clamped_scales, 3u);
    const Matrix<float> values = kvant::dequantize(q);
    EXPECT_EQ(values(1, 3), 65504.0f * 7);
    EXPECT_EQ(values(1, 40), 65504.0f * -8);
    EXPECT_NEAR(values(0, 0), 0.01f, 0.001f) << "other groups are untouched";
  }
}

TEST(TotalFunctions, MapGroupsBelowHalfTheSmallestScaleToExactZeros) {
  const auto scale = [](float weight, const char* scheme) {
    const Matrix<float> w(1, 5, weight);
    const QMatrix q = *kvant::quantize(w.view(), *kvant::parse_scheme(scheme));
    const Matrix<float> values = kvant::dequantize(q);
    for (std::size_t i = 0; i < values.size(); ++i)
      EXPECT_EQ(values.data()[i] == 0.0f, q.scales[0].values[0] == 0.0f) << scheme;
    return q.scales[0].values[0];
  };
  // Smallest fp16: 2^-24; a scale of 2^-25 is the tie and goes to zero.
  EXPECT_EQ(scale(7.5f * 0x1p-25f, "int4-tensor"), 0.0f);
  EXPECT_EQ(scale(-7.5f * 0x1p-25f, "int4-tensor"), 0.0f);
  EXPECT_EQ(scale(7.5f * 0x1.001p-25f, "int4-tensor"), 0x1p-24f);
  EXPECT_EQ(scale(8.0f * 0x1p-25f, "int4-tensor-full"), 0.0f);
  EXPECT_EQ(scale(15.0f * 0x1p-25f, "int4-tensor-asym"), 0.0f);
  EXPECT_EQ(scale(448.0f * 0x1p-25f, "fp8_e4m3fn-tensor"), 0.0f);
  EXPECT_EQ(scale(0x1p-25f, "ternary-tensor"), 0.0f);
  EXPECT_EQ(scale(0x1p-24f, "ternary-tensor"), 0x1p-24f);
  EXPECT_EQ(scale(1e-40f, "int4-tensor-scale:fp8_e4m3fn"), 0.0f);
  EXPECT_GT(scale(1e-38f, "int4-tensor-scale:fp32"), 0.0f);
}

TEST(TotalFunctions, QuantizeSubnormalsUnderFp32Scales) {
  const std::vector<float> x{1e-40f, -2e-40f, 3e-40f, -4e-40f};
  const auto q = kvant::quantize({x.data(), 1, 4}, *kvant::parse_scheme("int8-tensor-scale:fp32"));
  const Matrix<float> values = kvant::dequantize(*q);
  for (std::size_t i = 0; i < 4; ++i) EXPECT_NEAR(values(0, i), x[i], 2e-42f);
}

Matrix<float> spoiled(float bad) {
  Matrix<float> w = reference::normal_matrix(3, 70, 80);
  w(1, 5) = bad;
  w(1, 69) = -bad;
  return w;
}

TEST(NonFinite, IsRefusedWithItsPlaceByDefault) {
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    const Matrix<float> w = spoiled(bad);
    const auto q = kvant::quantize(w.view(), *kvant::parse_scheme("int4-g32"));
    ASSERT_FALSE(q.has_value());
    EXPECT_EQ(q.error().code, ErrorCode::nonfinite);
    EXPECT_NE(q.error().message.find(std::isnan(bad) ? "NaN" : "Inf"), std::string::npos);
    EXPECT_NE(q.error().message.find("row 1"), std::string::npos);
    EXPECT_NE(q.error().message.find("column 5"), std::string::npos);
  }
}

TEST(NonFinite, IsZeroByRequest) {
  std::size_t count = 0;
  for (const std::string& text : schemes()) {
    if (count++ % kvant::test::test_stride() != 0) continue;
    Matrix<float> zeroed = spoiled(0.0f);
    zeroed(1, 69) = 0.0f;
    for (const bool search : {false, true})
      for (const float bad : {NAN, INFINITY, -INFINITY}) {
        const Matrix<float> w = spoiled(bad);
        const auto got = kvant::quantize(w.view(), *kvant::parse_scheme(text), {search, NonFinite::zero});
        const auto expected = kvant::quantize(zeroed.view(), *kvant::parse_scheme(text), {search, NonFinite::error});
        ASSERT_TRUE(got.has_value());
        ASSERT_EQ(got->codes, expected->codes) << text;
        ASSERT_EQ(got->scales[0].values, expected->scales[0].values) << text;
      }
  }
}

TEST(NonFinite, IsLeftOutOfTheChoiceOfScalesWhenKept) {
  // The parameters are those of the group without the bad elements.
  std::vector<float> x = reference::normal_weights(32, 81);
  std::vector<float> without(x.begin() + 2, x.end());
  for (const std::string& text : schemes()) {
    if (text.find("-channel") == std::string::npos) continue;
    for (const bool search : {false, true})
      for (const float bad : {NAN, INFINITY, -INFINITY}) {
        x[0] = bad;
        x[1] = -bad;
        const auto got =
            kvant::quantize({x.data(), 1, x.size()}, *kvant::parse_scheme(text), {search, NonFinite::keep});
        const auto expected =
            kvant::quantize({without.data(), 1, without.size()}, *kvant::parse_scheme(text), {search, {}});
        ASSERT_TRUE(got.has_value());
        ASSERT_EQ(got->scales[0].values, expected->scales[0].values) << text;
        ASSERT_EQ(got->zero_points, expected->zero_points) << text;
        ASSERT_EQ(std::vector<std::uint8_t>(got->codes.begin() + 2, got->codes.end()), expected->codes) << text;
      }
  }
}

TEST(NonFinite, TakesTheOutermostCodesWhenKept) {
  const auto values = [](const char* scheme) {
    const std::vector<float> x{INFINITY, -INFINITY, NAN, 1.0f, -0.5f};
    const auto q = kvant::quantize({x.data(), 1, x.size()}, *kvant::parse_scheme(scheme), {false, NonFinite::keep});
    const Matrix<float> back = kvant::dequantize(*q);
    return std::vector<float>(back.data(), back.data() + back.size());
  };
  const float int4_scale = 0.13330078125f;  // 1 / 7.5 in fp16
  EXPECT_EQ(values("int4-tensor")[0], 7 * int4_scale);
  EXPECT_EQ(values("int4-tensor")[1], -8 * int4_scale);
  EXPECT_EQ(values("int4-tensor")[2], 0.0f);
  EXPECT_EQ(values("nf4-tensor")[0], 1.0f);
  EXPECT_EQ(values("nf4-tensor")[1], -1.0f);
  EXPECT_EQ(values("nf4-tensor")[2], 0.0f);
  EXPECT_EQ(values("fp4_e2m1-tensor")[2], 0.0f);
  EXPECT_TRUE(std::isnan(values("fp8_e4m3fn-tensor")[2])) << "a format that has NaN keeps it";
  EXPECT_TRUE(std::isfinite(values("fp8_e5m2-tensor")[0])) << "saturated";
}

TEST(NonFinite, MayBeAllThereIs) {
  for (const std::string& text : schemes())
    for (const bool search : {false, true}) {
      const Matrix<float> w(3, 33, NAN);
      for (const NonFinite policy : {NonFinite::zero, NonFinite::keep}) {
        const auto q = kvant::quantize(w.view(), *kvant::parse_scheme(text), {search, policy});
        ASSERT_TRUE(q.has_value()) << text;
        for (const float s : q->scales[0].values) ASSERT_EQ(s, 0.0f) << text;
        const Matrix<float> values = kvant::dequantize(*q);
        for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values.data()[i], 0.0f) << text;
      }
      EXPECT_EQ(kvant::quantize(w.view(), *kvant::parse_scheme(text)).error().code, ErrorCode::nonfinite);
    }
}

}  // namespace
