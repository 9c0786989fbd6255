// SPDX-License-Identifier: Apache-2.0
#include "kvant/quant/distortion.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "../reference/check.hpp"
#include "../reference/distortion.hpp"
#include "../reference/weights.hpp"
#include "kvant/quant/encode.hpp"

namespace {

using kvant::Distortion;
using kvant::DistortionMeter;

Distortion measured(const std::vector<float>& x, const std::vector<float>& y) {
  DistortionMeter meter;
  meter.add(x, y);
  return meter.result();
}

/// n additions of non-negative doubles err by at most n 2^-53, relative; a difference of sums a little more.
void expect_close(const Distortion& got, const reference::Measures& expected, std::size_t n) {
  const double tolerance = 4 * static_cast<double>(n) * 0x1p-53;
  const auto near = [&](double value, long double exact) {
    EXPECT_NEAR(value, static_cast<double>(exact), tolerance * static_cast<double>(std::fabs(exact)));
  };
  near(got.mse, expected.mse);
  EXPECT_NEAR(got.sqnr_db, static_cast<double>(expected.sqnr_db), 10 * tolerance + 1e-12);
  near(got.relative_error, expected.relative_error);
  near(got.max_abs_error, expected.max_abs_error);
  EXPECT_NEAR(got.cosine, static_cast<double>(expected.cosine), tolerance);
}

TEST(Distortion, EqualsItsDefinitionInLongDouble) {
  for (const std::size_t n : {1u, 2u, 31u, 1000u, 20000u}) {
    const std::vector<float> x = reference::normal_weights(n, 40);
    std::vector<float> y = reference::normal_weights(n, 41, 0.002);
    for (std::size_t i = 0; i < n; ++i) y[i] += x[i];
    expect_close(measured(x, y), reference::measure(x, y), n);
    const std::vector<float> unrelated = reference::normal_weights(n, 42);
    expect_close(measured(x, unrelated), reference::measure(x, unrelated), n);
  }
}

TEST(Distortion, HasHandComputedValues) {
  const Distortion d = measured({3.0f, 4.0f}, {3.0f, 3.0f});
  EXPECT_DOUBLE_EQ(d.mse, 0.5);
  EXPECT_DOUBLE_EQ(d.sqnr_db, 10 * std::log10(25.0));
  EXPECT_DOUBLE_EQ(d.relative_error, 0.2);
  EXPECT_DOUBLE_EQ(d.max_abs_error, 1.0);
  EXPECT_DOUBLE_EQ(d.cosine, 21.0 / (5.0 * std::sqrt(18.0)));
}

TEST(Distortion, OfNothingIsNone) {
  for (const Distortion& d : {DistortionMeter{}.result(), measured({}, {})}) {
    EXPECT_EQ(d.mse, 0.0);
    EXPECT_EQ(d.sqnr_db, std::numeric_limits<double>::infinity());
    EXPECT_EQ(d.relative_error, 0.0);
    EXPECT_EQ(d.max_abs_error, 0.0);
    EXPECT_EQ(d.cosine, 1.0);
  }
}

TEST(Distortion, OfEqualMatricesIsNone) {
  const std::vector<float> x{1.0f, -2.0f, 0.0f};
  const Distortion d = measured(x, x);
  EXPECT_EQ(d.mse, 0.0);
  EXPECT_EQ(d.sqnr_db, std::numeric_limits<double>::infinity());
  EXPECT_EQ(d.relative_error, 0.0);
  EXPECT_NEAR(d.cosine, 1.0, 0x1p-52);
}

TEST(Distortion, IsDefinedWhereOneSideIsZero) {
  const Distortion both = measured({0.0f, -0.0f}, {0.0f, 0.0f});
  EXPECT_EQ(both.mse, 0.0);
  EXPECT_EQ(both.sqnr_db, std::numeric_limits<double>::infinity());
  EXPECT_EQ(both.relative_error, 0.0);
  EXPECT_EQ(both.cosine, 1.0);
  const Distortion lost = measured({3.0f, 4.0f}, {0.0f, 0.0f});
  EXPECT_DOUBLE_EQ(lost.sqnr_db, 0.0);
  EXPECT_DOUBLE_EQ(lost.relative_error, 1.0);
  EXPECT_EQ(lost.cosine, 0.0);
  const Distortion made_up = measured({0.0f, 0.0f}, {3.0f, 4.0f});
  EXPECT_EQ(made_up.sqnr_db, -std::numeric_limits<double>::infinity());
  EXPECT_EQ(made_up.relative_error, std::numeric_limits<double>::infinity());
  EXPECT_EQ(made_up.max_abs_error, 4.0);
  EXPECT_EQ(made_up.cosine, 0.0);
}

TEST(Distortion, SurvivesHugeAndTinyNumbers) {
  const float largest = 3.4028234663852886e38f;
  const Distortion huge = measured({largest, -largest}, {-largest, largest});
  EXPECT_DOUBLE_EQ(huge.relative_error, 2.0);
  EXPECT_DOUBLE_EQ(huge.cosine, -1.0);
  const float smallest = 0x1p-149f;
  const Distortion tiny = measured({smallest, smallest}, {smallest, 0.0f});
  EXPECT_DOUBLE_EQ(tiny.relative_error, std::sqrt(0.5));
  EXPECT_DOUBLE_EQ(tiny.cosine, std::sqrt(0.5));
  EXPECT_EQ(tiny.max_abs_error, 0x1p-149);
}

TEST(Distortion, AddsUpPieceByPieceAndMeterByMeter) {
  const std::vector<float> x = reference::normal_weights(300, 43);
  const std::vector<float> y = reference::normal_weights(300, 44);
  DistortionMeter first, second;
  const std::span<const float> a(x), b(y);
  first.add(a.subspan(0, 100), b.subspan(0, 100));
  second.add(a.subspan(100, 150), b.subspan(100, 150));
  second.add(a.subspan(250), b.subspan(250));
  first.add(second);
  first.add(DistortionMeter{});
  expect_close(first.result(), reference::measure(x, y), x.size());
}

TEST(Distortion, RefusesPiecesOfDifferentSizes) {
  const auto before =
      kvant::set_contract_handler([](const kvant::ContractViolation& v) { throw std::logic_error(v.text); });
  DistortionMeter meter;
  const std::vector<float> x(3), y(2);
  EXPECT_THROW(meter.add(x, y), std::logic_error);
  kvant::set_contract_handler(before);
}

/// 6.02 dB a bit for a fine uniform quantizer: the schemes must stand in this order, and about this far apart.
TEST(Distortion, OrdersSchemesByTheirBits) {
  const kvant::Matrix<float> w = reference::normal_matrix(16, 512, 45);
  const auto sqnr = [&](const std::string& scheme, bool search) {
    const auto q = kvant::quantize(w.view(), *kvant::parse_scheme(scheme), {search, {}});
    const kvant::Matrix<float> values = kvant::dequantize(*q);
    return measured({w.data(), w.data() + w.size()}, {values.data(), values.data() + values.size()}).sqnr_db;
  };
  for (const bool search : {false, true}) {
    double before = sqnr("int2-g32", search);
    for (const char* scheme : {"int3-g32", "int4-g32", "int5-g32", "int6-g32", "int7-g32", "int8-g32"}) {
      const double now = sqnr(scheme, search);
      EXPECT_GT(now, before + 4) << scheme;
      EXPECT_LT(now, before + 9) << scheme;
      before = now;
    }
    EXPECT_GT(sqnr("int4-g32", search), sqnr("int4-g128", search));
    EXPECT_GT(sqnr("int4-g128", search), sqnr("int4-tensor", search));
    EXPECT_GT(sqnr("nf4-g64", search), sqnr("fp4_e2m1-g64", search) - 1);
    EXPECT_GT(sqnr("fp8_e4m3fn-channel", search), 25);
  }
  EXPECT_GT(sqnr("int2-g32", true), sqnr("int1-g32", true));
}

}  // namespace
