// SPDX-License-Identifier: Apache-2.0
// Whole matrices against an independent quantizer, code for code: formats x granularities x symmetries x scale types
// x ragged shapes.
#include "kvant/quant/encode.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "../reference/check.hpp"
#include "../reference/executors.hpp"
#include "../reference/quantize.hpp"
#include "../reference/weights.hpp"
#include "kvant/core/rng.hpp"

namespace {

using kvant::Matrix;
using kvant::MatrixView;
using kvant::QMatrix;
using kvant::Scheme;

struct Shape {
  std::size_t rows, cols;
};
constexpr Shape kShapes[] = {{0, 0},  {0, 31},  {1, 0},   {3, 0},   {1, 1},   {1, 31},  {1, 33},  {3, 1},
                             {3, 32}, {3, 127}, {7, 128}, {7, 200}, {5, 113}, {13, 37}, {2, 257}, {1, 131}};

struct Case {
  const char* text;
  std::size_t height, width;  // 0: all of the matrix
};
constexpr Case kGranularities[] = {{"tensor", 0, 0}, {"channel", 1, 0},  {"g1", 1, 1},          {"g32", 1, 32},
                                   {"g128", 1, 128}, {"g1000", 1, 1000}, {"g37", 1, 37},        {"b1x1", 1, 1},
                                   {"b2x32", 2, 32}, {"b4x7", 4, 7},     {"b128x128", 128, 128}};

/// Weights with an outlier, zeros of both signs and a tie-prone part, so that every branch is met.
std::vector<float> weights(const Shape& shape, std::uint32_t seed) {
  std::vector<float> x = reference::normal_weights(shape.rows * shape.cols, seed);
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (i % 29 == 5) x[i] = 0.0f;
    if (i % 31 == 6) x[i] = -0.0f;
    if (i % 53 == 7) x[i] *= 16.0f;
    if (i % 7 == 3) x[i] = static_cast<float>(static_cast<int>(x[i] * 512.0f)) / 512.0f;  // multiples: ties occur
  }
  return x;
}

void compare(const std::string& text, const reference::Quantizer& oracle, const Case& granularity, const Shape& shape,
             const std::vector<float>& x) {
  const auto q = kvant::quantize({x.data(), shape.rows, shape.cols}, *kvant::parse_scheme(text));
  ASSERT_TRUE(q.has_value()) << text;
  const std::size_t height = granularity.height != 0 ? granularity.height : shape.rows;
  const std::size_t width = granularity.width != 0 ? granularity.width : shape.cols;
  const reference::Quantized expected = oracle(x, shape.rows, shape.cols, height, width);
  const std::string where = text + " " + std::to_string(shape.rows) + "x" + std::to_string(shape.cols);
  ASSERT_EQ(q->rows, shape.rows);
  ASSERT_EQ(q->cols, shape.cols);
  ASSERT_EQ(q->scales.size(), 1u);
  ASSERT_EQ(q->scales[0].values.size(), q->scales[0].rows * q->scales[0].cols) << where;
  ASSERT_EQ(q->scales[0].values, expected.scales) << where;
  ASSERT_EQ(std::vector<int>(q->zero_points.begin(), q->zero_points.end()), expected.zeros) << where;
  ASSERT_EQ(q->clamped_scales, expected.clamped) << where;
  ASSERT_EQ(q->codes, expected.codes) << where;
  const Matrix<float> back = kvant::dequantize(*q);
  for (std::size_t r = 0; r < shape.rows; ++r)
    for (std::size_t c = 0; c < shape.cols; ++c) {
      const std::size_t group = r / height * q->scales[0].cols + c / width;
      const reference::Group g{expected.scales[group], expected.zeros.empty() ? 0 : expected.zeros[group], false};
      // One rounded product of two floats, hence exact in double before it is rounded.
      ASSERT_EQ(back(r, c), static_cast<float>(oracle.value(expected.codes[r * shape.cols + c], g))) << where;
    }
}

void compare_everywhere(const std::string& format, const std::string& symmetry, reference::Zero zero) {
  for (const char* scale : {"fp16", "bf16", "fp32", "fp8_e4m3fn"}) {
    const reference::Quantizer oracle(format, zero, scale);
    for (const Case& granularity : kGranularities) {
      std::uint32_t seed = 50;
      for (const Shape& shape : kShapes) {
        // fp8 scales start at 2^-9: larger weights for them.
        std::vector<float> x = weights(shape, ++seed);
        if (std::string(scale) == "fp8_e4m3fn")
          for (float& v : x) v *= 4096.0f;
        const std::string text = format + "-" + granularity.text + symmetry + "-scale:" + scale;
        ASSERT_NO_FATAL_FAILURE(compare(text, oracle, granularity, shape, x));
      }
    }
  }
}

class PlainSymmetric : public testing::TestWithParam<const char*> {};
TEST_P(PlainSymmetric, EqualsTheIndependentQuantizer) {
  compare_everywhere(GetParam(), "", reference::Zero::symmetric);
}
INSTANTIATE_TEST_SUITE_P(Formats, PlainSymmetric,
                         testing::Values("int8", "int7", "int6", "int5", "int4", "int3", "int2", "uint8", "uint4",
                                         "uint2", "uint1", "fp8_e4m3fn", "fp8_e5m2", "fp4_e2m1", "nf4"),
                         [](const auto& p) { return std::string(p.param); });

class PlainAsymmetric : public testing::TestWithParam<const char*> {};
TEST_P(PlainAsymmetric, EqualsTheIndependentQuantizer) {
  compare_everywhere(GetParam(), "-asym", reference::Zero::asymmetric);
}
INSTANTIATE_TEST_SUITE_P(Formats, PlainAsymmetric,
                         testing::Values("int8", "int5", "int4", "int3", "int2", "uint8", "uint4", "uint3", "uint2",
                                         "uint1"),
                         [](const auto& p) { return std::string(p.param); });

class PlainFull : public testing::TestWithParam<const char*> {};
TEST_P(PlainFull, EqualsTheIndependentQuantizer) { compare_everywhere(GetParam(), "-full", reference::Zero::full); }
INSTANTIATE_TEST_SUITE_P(Formats, PlainFull, testing::Values("int8", "int6", "int4", "int3", "int2"),
                         [](const auto& p) { return std::string(p.param); });

QMatrix plain(const std::vector<float>& x, const char* scheme) {
  auto q = kvant::quantize({x.data(), 1, x.size()}, *kvant::parse_scheme(scheme));
  EXPECT_TRUE(q.has_value());
  return *q;
}

TEST(PlainScale, IsTheLargestMagnitudeOverHalfTheSteps) {
  // Worked by hand: 6 / 7.5 = 0.8 -> fp16 0.7998046875; 12.75 / 127.5 = 0.1 -> fp16 0.0999755859375.
  EXPECT_EQ(plain({6.0f, -1.0f}, "int4-channel").scales[0].values[0], 0.7998046875f);
  EXPECT_EQ(plain({-6.0f, 1.0f}, "int4-channel").scales[0].values[0], 0.7998046875f);
  EXPECT_EQ(plain({12.75f, -1.0f}, "int8-channel").scales[0].values[0], 0.0999755859375f);
  EXPECT_EQ(plain({6.0f, -1.0f}, "int4-channel-scale:fp32").scales[0].values[0], 6.0f / 7.5f);
  EXPECT_EQ(plain({896.0f, -1.0f}, "fp8_e4m3fn-channel").scales[0].values[0], 2.0f);
  EXPECT_EQ(plain({3.0f, -1.0f}, "fp4_e2m1-channel").scales[0].values[0], 0.5f);
  EXPECT_EQ(plain({3.0f, -4.0f}, "nf4-channel").scales[0].values[0], 4.0f);
}

TEST(PlainScale, OfFullMayBeNegativeSoThatThePeakMeetsTheLeastCode) {
  const QMatrix positive = plain({8.0f, -4.0f, 1.0f, 0.0f}, "int4-channel-full");
  EXPECT_EQ(positive.scales[0].values[0], -1.0f);
  EXPECT_EQ(positive.codes, (std::vector<std::uint8_t>{8, 4, 15, 0}));
  const QMatrix negative = plain({-8.0f, 4.0f, 1.0f, 0.0f}, "int4-channel-full");
  EXPECT_EQ(negative.scales[0].values[0], 1.0f);
  EXPECT_EQ(negative.codes, (std::vector<std::uint8_t>{8, 4, 1, 0}));
  EXPECT_EQ(kvant::dequantize(positive)(0, 0), 8.0f);
  const QMatrix both = plain({-8.0f, 8.0f}, "int4-channel-full");  // the positive one of two peaks
  EXPECT_EQ(both.scales[0].values[0], -1.0f);
  EXPECT_EQ(both.codes, (std::vector<std::uint8_t>{7, 8}));
}

TEST(PlainScale, OfAsymmetricSpansTheRangeWithZeroInIt) {
  const QMatrix both = plain({-1.0f, 14.0f, 0.5f, 0.0f}, "int4-channel-asym");
  EXPECT_EQ(both.scales[0].values[0], 1.0f);
  EXPECT_EQ(both.zero_points, (std::vector<std::int16_t>{-7}));
  EXPECT_EQ(both.codes, (std::vector<std::uint8_t>{8, 7, 9, 9}));
  const QMatrix above = plain({15.0f, 30.0f}, "uint4-channel-asym");  // zero belongs to the range
  EXPECT_EQ(above.scales[0].values[0], 2.0f);
  EXPECT_EQ(above.zero_points, (std::vector<std::int16_t>{0}));
  EXPECT_EQ(above.codes, (std::vector<std::uint8_t>{8, 15}));
  const QMatrix below = plain({-15.0f, -30.0f}, "uint4-channel-asym");
  EXPECT_EQ(below.zero_points, (std::vector<std::int16_t>{15}));
  EXPECT_EQ(below.codes, (std::vector<std::uint8_t>{7, 0}));
}

TEST(Quantize, RepeatsItselfOnItsOwnValues) {
  // With the same scales, a value that a code stands for takes that code again (or another one of the same value).
  for (const char* text :
       {"int8-g32", "int4-g32", "int2-g32", "int4-g32-asym", "uint4-g32-asym", "int4-g32-full", "fp8_e4m3fn-g32",
        "fp8_e5m2-g32", "fp4_e2m1-g32", "nf4-g32", "ternary-g32", "int1-g32", "int4-b2x16", "int4-tensor"}) {
    const Matrix<float> w = reference::normal_matrix(5, 100, 60);
    const QMatrix q = *kvant::quantize(w.view(), *kvant::parse_scheme(text));
    const Matrix<float> back = kvant::dequantize(q);
    const kvant::Grid grid(q.scheme);
    const std::size_t width = q.scheme.granularity.block_cols(q.cols);
    for (std::size_t r = 0; r < q.rows; ++r)
      for (std::size_t c = 0; c < q.cols; ++c) {
        const kvant::GroupParameters p = q.parameters(r, c / width);
        std::uint8_t again = 0;
        grid.encode({&back(r, c), 1}, p, {&again, 1});
        ASSERT_EQ(grid.decode(again, p), back(r, c)) << text;
        if (grid.values()[again] != 0.0f) {
          ASSERT_EQ(again, q.codes[r * q.cols + c]) << text;
        }
      }
  }
}

TEST(Quantize, ReadsStridedViews) {
  const Matrix<float> wide = reference::normal_matrix(6, 90, 61);
  const MatrixView<const float> part(wide.data() + 5, 6, 70, 90);
  Matrix<float> dense(6, 70);
  for (std::size_t r = 0; r < 6; ++r)
    for (std::size_t c = 0; c < 70; ++c) dense(r, c) = part(r, c);
  for (const char* text : {"int4-g32", "int4-tensor", "int4-b4x16"}) {
    const auto a = kvant::quantize(part, *kvant::parse_scheme(text));
    const auto b = kvant::quantize(dense.view(), *kvant::parse_scheme(text));
    EXPECT_EQ(a->codes, b->codes) << text;
    EXPECT_EQ(a->scales[0].values, b->scales[0].values) << text;
  }
}

TEST(Quantize, HasTheFormatAsATypeToo) {
  const Matrix<float> w = reference::normal_matrix(3, 70, 62);
  const auto typed = kvant::quantize<kvant::int4>(w.view(), kvant::PerGroup{32}, kvant::Symmetry::asymmetric);
  const auto parsed = kvant::quantize(w.view(), *kvant::parse_scheme("int4-g32-asym"));
  EXPECT_EQ(typed->codes, parsed->codes);
  EXPECT_EQ(typed->scales[0].values, parsed->scales[0].values);
  EXPECT_EQ(typed->scheme, parsed->scheme);
}

TEST(Quantize, RefusesCastsAndPartsThatDoNotFit) {
  const Matrix<float> w(1, 4, 1.0f);
  for (const char* text : {"fp32", "bf16", "fp16"}) {
    const auto q = kvant::quantize(w.view(), *kvant::parse_scheme(text));
    ASSERT_FALSE(q.has_value());
    EXPECT_EQ(q.error().code, kvant::ErrorCode::bad_scheme);
  }
  Scheme s = *kvant::parse_scheme("nf4-g64");
  s.symmetry = kvant::Symmetry::asymmetric;
  EXPECT_EQ(kvant::quantize(w.view(), s).error().code, kvant::ErrorCode::bad_scheme);
  s = *kvant::parse_scheme("int4-g64");
  s.granularity = kvant::PerGroup{0};
  EXPECT_EQ(kvant::quantize(w.view(), s).error().code, kvant::ErrorCode::bad_scheme);
  s.granularity = kvant::Granularity{};
  EXPECT_EQ(kvant::quantize(w.view(), s).error().code, kvant::ErrorCode::bad_scheme);
}

TEST(Quantize, DoesNotDependOnTheExecutor) {
  const Matrix<float> w = reference::normal_matrix(37, 150, 63);
  reference::ShuffledExecutor shuffled;
  reference::ThreadedExecutor threaded(5);
  for (const bool search : {false, true})
    for (const char* text : {"int4-g32", "int4-channel-asym", "int2-b8x32", "int8-tensor", "ternary-g64", "nf4-g64"}) {
      const Scheme scheme = *kvant::parse_scheme(text);
      const auto serial = kvant::quantize(w.view(), scheme, {search, kvant::NonFinite::error});
      const Matrix<float> values = kvant::dequantize(*serial);
      for (kvant::Executor* executor :
           {static_cast<kvant::Executor*>(&shuffled), static_cast<kvant::Executor*>(&threaded)}) {
        const kvant::Context context(kvant::kernels::generic::kTable, *executor);
        const auto q = kvant::quantize(w.view(), scheme, {search, kvant::NonFinite::error}, context);
        EXPECT_EQ(q->codes, serial->codes) << text;
        EXPECT_EQ(q->scales[0].values, serial->scales[0].values) << text;
        EXPECT_EQ(q->zero_points, serial->zero_points) << text;
        const Matrix<float> again = kvant::dequantize(*q, context);
        EXPECT_TRUE(std::equal(values.data(), values.data() + values.size(), again.data())) << text;
      }
    }
}

/// Weights of 16 bits, in bands of rows and as a whole.
TEST(Encode, QuantizesHalfsAsTheFloatsThatTheyAre) {
  const std::size_t rows = 40, cols = std::size_t{1} << 17;  // more than one band
  kvant::Matrix<std::uint16_t> halfs(rows, cols);
  kvant::Matrix<float> floats(rows, cols);
  kvant::Rng random(5);
  for (const kvant::FormatId format : {kvant::format_id<kvant::bf16>, kvant::format_id<kvant::fp16>}) {
    for (std::size_t i = 0; i < halfs.size(); ++i) {
      const float x = random.uniform() - 0.5f;
      halfs.data()[i] = static_cast<std::uint16_t>(kvant::format_info(format).encode(x));
      floats.data()[i] = kvant::format_info(format).decode(halfs.data()[i]);
    }
    for (const char* text : {"int4-g128", "nvfp4", "int8-tensor", "q4_k", "int4-b8x128"}) {
      const kvant::Scheme scheme = *kvant::parse_scheme(text);
      const auto a = kvant::quantize(halfs.view(), format, scheme), b = kvant::quantize(floats.view(), scheme);
      ASSERT_TRUE(a && b) << text;
      EXPECT_TRUE(kvant::check(*a)) << text;
      EXPECT_TRUE(a->codes == b->codes) << text;
      for (std::size_t l = 0; l < b->scales.size(); ++l)
        EXPECT_TRUE(a->scales[l].values == b->scales[l].values) << text;
      for (std::size_t l = 0; l < b->offsets.size(); ++l) EXPECT_TRUE(a->offsets[l].values == b->offsets[l].values);
      EXPECT_EQ(a->reciprocal, b->reciprocal);
    }
  }
  EXPECT_EQ(
      kvant::quantize(halfs.view(), kvant::format_id<kvant::fp32>, *kvant::parse_scheme("int4-g128")).error().code,
      kvant::ErrorCode::usage);
}

TEST(Encode, TakesSchemesMadeOfParts) {
  using namespace kvant;
  static_assert(make_scheme<int4>(PerGroup{128}).format == format_id<int4>);
  EXPECT_EQ(make_scheme<int4>(PerGroup{32}, {.symmetry = Symmetry::asymmetric, .scale = format_id<bf16>}),
            *parse_scheme("int4-g32-asym-scale:bf16"));
  EXPECT_EQ(make_scheme<nf4>(PerGroup{64}, {.double_quant = true}), *parse_scheme("nf4-g64-dq"));
  EXPECT_EQ(make_scheme<uint4>(PerChannel{}, {.float_zero = true}), *parse_scheme("uint4-channel-fzero"));
  EXPECT_FALSE(quantize(Matrix<float>(2, 4).view(), make_scheme<nf4>(PerChannel{}, {.float_zero = true})));
}

}  // namespace
