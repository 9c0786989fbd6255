// SPDX-License-Identifier: Apache-2.0
#include "kvant/linear/linear.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "kvant/core/rng.hpp"
#include "kvant/quant/encode.hpp"
#include "layers.hpp"

namespace kvant {
namespace {

struct Shape {
  std::size_t n, k;
};
constexpr Shape kShapes[] = {{1, 1}, {7, 9}, {33, 172}, {64, 64}, {100, 200}};

/// y = x * W^T in double on the dequantized weight; activations as an int8 scheme makes them.
double reference(const Matrix<float>& x, const Matrix<float>& w, bool int8_activations, std::size_t i, std::size_t j) {
  double amax = 0;
  for (std::size_t k = 0; k < x.cols(); ++k) amax = std::fmax(amax, std::fabs(static_cast<double>(x(i, k))));
  double sum = 0;
  for (std::size_t k = 0; k < x.cols(); ++k) {
    double a = static_cast<double>(x(i, k));
    if (int8_activations && amax > 0)
      a = std::fmin(std::nearbyint(static_cast<double>(x(i, k) / (static_cast<float>(amax) / 127.5f))), 127) * amax /
          127.5;
    sum += a * static_cast<double>(w(j, k));
  }
  return sum;
}

TEST(Pack, RoundTripsCodesScalesAndZeroPointsExactly) {
  for (const Shape s : kShapes)
    for (const char* text : kSchemes) {
      const QMatrix original = quantized(random_matrix(s.n, s.k, 1).view(), text).weight;
      const QMatrix* const q = &original;
      const auto packed = pack(*q);
      ASSERT_TRUE(packed) << text;
      const QMatrix back = unpack(*packed);
      EXPECT_EQ(back.codes, q->codes) << text << " " << s.n << "x" << s.k;
      ASSERT_EQ(back.scales.size(), q->scales.size()) << text;
      for (std::size_t level = 0; level < q->scales.size(); ++level)
        EXPECT_EQ(back.scales[level].values, q->scales[level].values) << text << " level " << level;
      EXPECT_EQ(back.zero_points, q->zero_points) << text;
      EXPECT_EQ(back.scheme, q->scheme) << text;
    }
}

TEST(Pack, AlignsBytesToCacheLines) {
  const auto q = quantize(random_matrix(40, 96, 1).view(), *parse_scheme("int4-g32"));
  const auto packed = pack(*q);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(packed->bytes.data()) % 64, 0u);
  EXPECT_EQ(packed->shape.panel_stride % 64, 0u);
  EXPECT_EQ(packed->shape.panel_stride, 3u * (4 * 128 + 64));
}

TEST(Pack, KeepsScalesThatHalfPrecisionCannotHold) {
  const auto q = quantize(random_matrix(8, 64, 1).view(), *parse_scheme("int4-g32-scale:fp32"));
  EXPECT_TRUE(pack(*q)->shape.scales_f32);
  EXPECT_EQ(unpack(*pack(*q)).scales[0].values, q->scales[0].values);
}

struct own_sign : kvant::SignBit {
  static constexpr std::string_view kName = "own_sign";
};

TEST(Pack, TakesASignFormatOfOnesOwnLikeThatOfTheList) {
  const Matrix<float> w = random_matrix(40, 96, 1);
  const auto listed = pack(*kvant::quantize<kvant::int1>(w.view(), kvant::PerGroup{32}));
  const auto own = pack(*kvant::quantize<own_sign>(w.view(), kvant::PerGroup{32}));
  ASSERT_TRUE(own);
  ASSERT_EQ(own->bytes.size(), listed->bytes.size());
  EXPECT_EQ(std::memcmp(own->bytes.data(), listed->bytes.data(), own->bytes.size()), 0);
  EXPECT_TRUE(std::equal(std::begin(own->shape.levels), std::end(own->shape.levels), listed->shape.levels));
  EXPECT_EQ(own->shape.zero, listed->shape.zero);
  EXPECT_EQ(own->shape.code_step, listed->shape.code_step);
}

TEST(Linear, EqualsTheDequantizedProductForEverySchemeAndRaggedShape) {
  for (const Shape s : kShapes)
    for (const char* text : kSchemes) {
      const LayerScheme scheme = *parse_layer_scheme(text);
      const QLinear q = quantized(random_matrix(s.n, s.k, 2).view(), text);
      const Matrix<float> exact = dequantize(q.weight);
      const Matrix<float> x = random_matrix(3, s.k, 3);
      Matrix<float> y(3, s.n);
      const bool int8 = scheme.activation == ActivationScheme{};  // others: as codes stand for them, tested elsewhere
      const Matrix<float> seen = scheme.activation && !int8 ? fake_quantize(x.view(), *scheme.activation, {}) : x;
      const auto layer = Linear::from(q);
      ASSERT_TRUE(layer);
      ASSERT_TRUE(layer->multiply(x.view(), y.view()));
      for (std::size_t i = 0; i < 3; ++i)
        for (std::size_t j = 0; j < s.n; ++j) {
          // k fused operations and one rounding per group: |error| <= (k + 8) * 2^-24 * sum |a||w|.
          double magnitude = 0;
          for (std::size_t k = 0; k < s.k; ++k)
            magnitude += std::fabs(static_cast<double>(seen(i, k)) * static_cast<double>(exact(j, k)));
          const double bound = (static_cast<double>(s.k) + 8) * 0x1p-24 * (magnitude + 1);
          EXPECT_NEAR(static_cast<double>(y(i, j)), reference(seen, exact, int8, i, j), 4 * bound)
              << text << " " << s.n << "x" << s.k;
        }
    }
}

TEST(Linear, GivesTheSameBitsForAnyNumberOfRows) {
  for (const char* text : kSchemes) {
    const auto layer = Linear::from(quantized(random_matrix(70, 136, 4).view(), text));
    const Matrix<float> x = random_matrix(9, 136, 5);
    Matrix<float> all(9, 70), one(1, 70);
    ASSERT_TRUE(layer->multiply(x.view(), all.view()));
    for (std::size_t i = 0; i < 9; ++i) {
      ASSERT_TRUE(layer->multiply(x.view().rows(i, 1), one.view()));
      for (std::size_t j = 0; j < 70; ++j) EXPECT_EQ(one(0, j), all(i, j)) << text;
    }
  }
}

TEST(Linear, LooksUpRowsAsTheyDequantize) {
  for (const char* text : kSchemes) {
    const QLinear q = quantized(random_matrix(70, 40, 6).view(), text);
    const Matrix<float> exact = dequantize(q.weight);
    const auto layer = Linear::from(q);
    const std::vector<std::int32_t> ids{69, 0, 33, 0};
    Matrix<float> rows(4, 40);
    ASSERT_TRUE(layer->gather(ids, rows.view()));
    for (std::size_t i = 0; i < ids.size(); ++i)
      for (std::size_t c = 0; c < 40; ++c) EXPECT_EQ(rows(i, c), exact(static_cast<std::size_t>(ids[i]), c)) << text;
  }
}

TEST(Linear, AddsTheBiasAndKeepsFloatLayersExact) {
  const Matrix<float> w = random_matrix(5, 12, 7);
  std::vector<float> bias{1, -2, 3, -4, 5};
  const Linear layer = Linear::from_float(w.view(), format_id<fp32>, bias);
  Matrix<float> x(1, 12), y(1, 5);  // zeros
  ASSERT_TRUE(layer.multiply(x.view(), y.view()));
  for (std::size_t j = 0; j < 5; ++j) EXPECT_EQ(y(0, j), bias[j]);
}

TEST(Linear, IsAValueWhoseCopiesShareNothing) {
  for (const char* text : kSchemes) {
    Linear layer = *Linear::from(quantized(random_matrix(70, 40, 11).view(), text));
    const Matrix<float> x = random_matrix(1, 40, 12);
    Matrix<float> a(1, 70), b(1, 70);
    ASSERT_TRUE(layer.multiply(x.view(), a.view()));
    const Linear copy = layer;
    EXPECT_NE(copy.bytes().data(), layer.bytes().data()) << text;
    layer = Linear();
    ASSERT_TRUE(copy.multiply(x.view(), b.view()));
    for (std::size_t j = 0; j < 70; ++j) EXPECT_EQ(a(0, j), b(0, j)) << text;
  }
}

TEST(Linear, MayBeCopiedAfterItWasMovedFrom) {
  Linear layer = Linear::from_float(random_matrix(5, 12, 7).view(), format_id<fp32>);
  const Linear taken = std::move(layer);
  const Linear copy = layer;  // NOLINT(bugprone-use-after-move)
  layer = taken;
  Matrix<float> x(1, 12, 1.0f), a(1, 5), b(1, 5);
  ASSERT_TRUE(taken.multiply(x.view(), a.view()));
  ASSERT_TRUE(layer.multiply(x.view(), b.view()));
  for (std::size_t j = 0; j < 5; ++j) EXPECT_EQ(a(0, j), b(0, j));
}

TEST(LinearDeathTest, HasABiasForEveryRowOrNone) {
  const Matrix<float> w = random_matrix(5, 12, 7);
  EXPECT_DEATH((void)Linear::from_float(w.view(), format_id<fp32>, {1.0f}), "a bias has one number for each row");
}

TEST(Linear, RefusesViewsThatDoNotFit) {
  const Matrix<float> w = random_matrix(5, 12, 8);
  const Linear layer = Linear::from_float(w.view(), format_id<bf16>);
  Matrix<float> x(2, 11), y(2, 5);
  EXPECT_EQ(layer.multiply(x.view(), y.view()).error().code, ErrorCode::bad_shape);
  Matrix<float> x12(2, 12), y3(3, 5);
  EXPECT_EQ(layer.multiply(x12.view(), y3.view()).error().code, ErrorCode::bad_shape);
  const std::vector<std::int32_t> ids{5};
  Matrix<float> out(1, 12);
  EXPECT_EQ(layer.gather(ids, out.view()).error().code, ErrorCode::usage);
  EXPECT_EQ(Linear::from(QLinear{*quantize(w.view(), *parse_scheme("int8-channel")), {1.0f}}).error().code,
            ErrorCode::bad_shape);
}

TEST(Linear, IsDefinedForEmptyShapes) {
  const Linear none = Linear::from_float(Matrix<float>(0, 8).view(), format_id<fp32>);
  Matrix<float> x(2, 8), y(2, 0);
  EXPECT_TRUE(none.multiply(x.view(), y.view()));
  const Linear empty = Linear::from_float(Matrix<float>(3, 0).view(), format_id<fp32>);
  Matrix<float> x0(1, 0), y3(1, 3, 7.0f);
  EXPECT_TRUE(empty.multiply(x0.view(), y3.view()));
  for (std::size_t j = 0; j < 3; ++j) EXPECT_EQ(y3(0, j), 0.0f);
  Matrix<float> no_rows(0, 8), no_out(0, 0);
  EXPECT_TRUE(none.multiply(no_rows.view(), no_out.view()));
  EXPECT_TRUE(Linear().gather({}, Matrix<float>().view()));
}

/// Runs tasks backwards on two threads: another order must not change a bit.
class BackwardExecutor final : public Executor {
 public:
  [[nodiscard]] unsigned concurrency() const noexcept override { return 2; }
  void run(std::size_t count, Task task, void* context) noexcept override {
    std::thread other([&] {
      for (std::size_t i = count; i-- > count / 2;) task(context, i, 1);
    });
    for (std::size_t i = count / 2; i-- > 0;) task(context, i, 0);
    other.join();
  }
};

TEST(Linear, GivesTheSameBitsOnAnyExecutor) {
  BackwardExecutor executor;
  const Context threads(kernels::generic::kTable, executor);
  for (const char* text : kSchemes) {
    const auto layer = Linear::from(quantized(random_matrix(300, 64, 9).view(), text));
    const Matrix<float> x = random_matrix(2, 64, 10);
    Matrix<float> a(2, 300), b(2, 300);
    ASSERT_TRUE(layer->multiply(x.view(), a.view()));
    ASSERT_TRUE(layer->multiply(x.view(), b.view(), threads));
    for (std::size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a.data()[i], b.data()[i]) << text;
  }
}

}  // namespace
}  // namespace kvant
