// SPDX-License-Identifier: Apache-2.0
// The seam of methods, by two that only this test has: sequential rounding as GPTQ does it, over every format and every
// nesting of scales, and factors for the columns that read an input.
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "../reference/weights.hpp"
#include "kvant/linear/linear.hpp"
#include "kvant/passes/passes.hpp"
#include "kvant/quant/columns.hpp"

namespace {

using kvant::Context;
using kvant::LayerInput;
using kvant::LayerScheme;
using kvant::LayerStatistics;
using kvant::Matrix;
using kvant::Needs;
using kvant::QLinear;
using kvant::Result;

/// U with U^T U = (H + damping)^-1, upper triangular, in double.
std::vector<double> inverse_factor(const Matrix<float>& upper, double damping) {
  const std::size_t n = upper.rows();
  std::vector<double> h(n * n), l(n * n), inverse(n * n), u(n * n);
  double mean = 0;
  for (std::size_t i = 0; i < n; ++i) mean += static_cast<double>(upper(i, i)) / static_cast<double>(n);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j)
      h[i * n + j] = static_cast<double>(i <= j ? upper(i, j) : upper(j, i)) + (i == j ? damping * mean : 0.0);
  const auto cholesky = [n](const std::vector<double>& a, std::vector<double>& out) {
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j <= i; ++j) {
        double sum = a[i * n + j];
        for (std::size_t k = 0; k < j; ++k) sum -= out[i * n + k] * out[j * n + k];
        out[i * n + j] = i == j ? std::sqrt(sum) : sum / out[j * n + j];
      }
  };
  cholesky(h, l);
  for (std::size_t c = 0; c < n; ++c) {  // H^-1, column by column
    std::vector<double> y(n);
    for (std::size_t i = 0; i < n; ++i) {
      double sum = i == c ? 1.0 : 0.0;
      for (std::size_t k = 0; k < i; ++k) sum -= l[i * n + k] * y[k];
      y[i] = sum / l[i * n + i];
    }
    for (std::size_t i = n; i-- > 0;) {
      double sum = y[i];
      for (std::size_t k = i + 1; k < n; ++k) sum -= l[k * n + i] * inverse[k * n + c];
      inverse[i * n + c] = sum / l[i * n + i];
    }
  }
  std::vector<double> lower(n * n);
  cholesky(inverse, lower);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j < n; ++j) u[i * n + j] = lower[j * n + i];
  return u;
}

struct SequentialConfig {
  bool search = true;
  bool fresh_groups = false;
  double damping = 0.01;
  template <class Self, class Visitor>
  static void visit(Self& config, Visitor&& visitor) {
    visitor("search", config.search, "search scales");
    visitor("fresh_groups", config.fresh_groups, "choose a group's scale when its first column comes");
    visitor("damping", config.damping, "part of the mean diagonal that is added to it");
  }
};

/// Columns one after the other, each one's error put into the columns behind it.
struct Sequential {
  using Config = SequentialConfig;
  static constexpr std::string_view kName = "sequential";
  static constexpr std::string_view kSummary = "for a test";
  static constexpr bool kRowwise = true;
  static constexpr Needs kNeeds = Needs::gram;
  Config config{};

  Result<QLinear> operator()(const LayerInput& layer, const LayerScheme& scheme, const Context& context) const {
    auto chosen = kvant::choose_scales(layer.weight, scheme.weight, {.search = config.search}, context);
    if (!chosen) return propagate(chosen);
    kvant::QMatrix& q = *chosen;
    const std::vector<double> u = inverse_factor(layer.inputs->gram, config.damping);
    Matrix<float> w(q.rows, q.cols);
    for (std::size_t r = 0; r < q.rows; ++r)
      std::copy(layer.weight.row(r).begin(), layer.weight.row(r).end(), w.row(r).begin());
    const bool fresh = config.fresh_groups && scheme.weight.has_free_groups();
    const std::size_t width = scheme.weight.granularity.block_cols(q.cols);
    kvant::Grid grid(scheme.weight, context.kernels());
    if (scheme.weight.scales.has_matrix_number()) grid = grid.under(q.scales[1].values[0], q.reciprocal);
    kvant::ColumnCoder coder(q, 0, q.rows, context);
    std::vector<float> x(q.rows), value(q.rows);
    for (std::size_t c = 0; c < q.cols; ++c) {
      for (std::size_t r = 0; fresh && c % width == 0 && r < q.rows; ++r)
        kvant::choose_group(q, grid, r, c / width, w.view().row(r).subspan(c, std::min(width, q.cols - c)), {},
                            config.search);
      for (std::size_t r = 0; r < q.rows; ++r) x[r] = w(r, c);
      coder.encode(c, x, {}, value);
      for (std::size_t r = 0; r < q.rows; ++r) {
        const double error = (static_cast<double>(x[r]) - static_cast<double>(value[r])) / u[c * q.cols + c];
        for (std::size_t d = c + 1; d < q.cols; ++d) w(r, d) -= static_cast<float>(error * u[c * q.cols + d]);
      }
    }
    return QLinear{std::move(q), {layer.bias.begin(), layer.bias.end()}, {scheme.activation, {}}};
  }
};
static_assert(kvant::Quantizer<Sequential>);

using AnyMethod = kvant::AnyQuantizerOf<kvant::QuantizerList<kvant::Rtn, Sequential>>;

/// Inputs whose features go together: few directions, and noise.
Matrix<float> correlated_inputs(std::size_t rows, std::size_t features) {
  const Matrix<float> directions = reference::normal_matrix(6, features, 11);
  const Matrix<float> mix = reference::normal_matrix(rows, 6, 12);
  Matrix<float> x = reference::normal_matrix(rows, features, 13);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < features; ++c) {
      x(r, c) *= 5.0f;
      for (std::size_t k = 0; k < 6; ++k) x(r, c) += 2500.0f * mix(r, k) * directions(k, c);
    }
  return x;
}

double output_error(const Matrix<float>& w, const Matrix<float>& v, const Matrix<float>& x) {
  double sum = 0;
  for (std::size_t i = 0; i < x.rows(); ++i)
    for (std::size_t r = 0; r < w.rows(); ++r) {
      double e = 0;
      for (std::size_t c = 0; c < w.cols(); ++c)
        e += (static_cast<double>(w(r, c)) - static_cast<double>(v(r, c))) * static_cast<double>(x(i, c));
      sum += e * e;
    }
  return sum;
}

std::vector<std::string> schemes() {
  std::vector<std::string> all{"int4-g32",         "int3-g32-asym",  "int2-g32",    "int4-channel",
                               "int4-g32-full",    "nf4-g64-dq",     "ternary-g32", "int1-g32",
                               "iq4_nl-g32",       "fp4_bnb-g64",    "int3-tensor", "fp8_e4m3fn-b16x32",
                               "fp6_e3m2-channel", "uint3-g32-fzero"};
  for (const kvant::BlockFormat& b : kvant::kBlockFormats) all.emplace_back(b.name);
  return all;
}

TEST(Methods, WithStatisticsRunOverEveryFormatAndNesting) {
  const Matrix<float> w = reference::normal_matrix(24, 96, 21);
  const Matrix<float> x = correlated_inputs(256, 96);
  LayerStatistics statistics;
  kvant::add_inputs(statistics, Needs::gram, x.view());
  const LayerInput layer{"layer", w.view(), kvant::NonFinite::error, 0.0f, &statistics};
  for (const std::string& text : schemes()) {
    const LayerScheme scheme = kvant::parse_layer_scheme(text + "/int8-token").value();
    const auto run = [&](std::string_view method) {
      const auto q = AnyMethod::parse(method).value()(layer, scheme, {});
      EXPECT_TRUE(q) << text << ": " << method;
      EXPECT_TRUE(kvant::check(q->weight)) << text;
      EXPECT_EQ(q->scheme(), scheme);
      return output_error(w, kvant::dequantize(q->weight), x);
    };
    const double rounded = run("rtn"), sequential = run("sequential"), fresh = run("sequential:fresh_groups=true");
    EXPECT_LT(sequential, 0.5 * rounded) << text;
    EXPECT_LT(fresh, 0.6 * rounded) << text;
  }
}

TEST(Methods, SayWhatTheyNeed) {
  EXPECT_EQ(AnyMethod::parse("sequential")->needs(), Needs::gram);
  EXPECT_EQ(kvant::AnyQuantizer().needs(), Needs::nothing);
  EXPECT_EQ(AnyMethod::parse("sequential:damping=0.05,search=false")->name(), "sequential");
  EXPECT_FALSE(AnyMethod::parse("sequential:damping=much"));
}

TEST(Methods, WeighColumnsByTheSquaresOfTheirInputs) {
  const Matrix<float> w = reference::normal_matrix(8, 64, 22);
  Matrix<float> x = reference::normal_matrix(100, 64, 23);
  for (std::size_t r = 0; r < 100; ++r)
    for (std::size_t c = 0; c < 64; c += 2) x(r, c) *= 30.0f;
  LayerStatistics statistics;
  kvant::add_inputs(statistics, Needs::channels, x.view());
  const auto run = [&](const LayerStatistics* inputs) {
    const auto q =
        kvant::Rtn{}({"layer", w.view(), kvant::NonFinite::error, 0.0f, inputs}, *kvant::parse_scheme("int3-g32"), {});
    return output_error(w, kvant::dequantize(q->weight), x);
  };
  EXPECT_LT(run(&statistics), 0.9 * run(nullptr));
}

// ---- transforms ----------------------------------------------------------------------------------------------------

struct BalanceConfig {
  double strength = 0.5;
  template <class Self, class Visitor>
  static void visit(Self& config, Visitor&& visitor) {
    visitor("strength", config.strength, "0: weights stay; 1: inputs become flat");
  }
};

/// Moves magnitude from inputs into weights: s = amax(x)^a / amax(w)^(1 - a).
struct Balance {
  using Config = BalanceConfig;
  static constexpr std::string_view kName = "balance";
  static constexpr std::string_view kSummary = "for a test";
  static constexpr Needs kNeeds = Needs::channels;
  Config config{};

  Result<std::vector<float>> operator()(const kvant::InputSite& site, std::span<const LayerScheme>,
                                        const Context&) const {
    std::vector<float> factors(site.features());
    for (std::size_t c = 0; c < factors.size(); ++c) {
      float most = 0;
      for (const auto& reader : site.readers)
        for (std::size_t r = 0; r < reader.rows(); ++r) most = std::max(most, std::fabs(reader(r, c)));
      const double input = site.inputs->amax[c];
      factors[c] = input > 0 && most > 0
                       ? static_cast<float>(std::pow(input, config.strength) / std::pow(most, 1 - config.strength))
                       : 1.0f;
    }
    return factors;
  }
};
static_assert(kvant::Transform<Balance>);

/// x -> norm -> two layers, with a few large features.
struct Site {
  Matrix<float> x = reference::normal_matrix(40, 64, 31), a = reference::normal_matrix(16, 64, 32),
                b = reference::normal_matrix(8, 64, 33);
  std::vector<float> norm = std::vector<float>(64, 1.0f);
  Site() {
    for (std::size_t c = 0; c < 64; c += 13) norm[c] = 60.0f;
  }
  [[nodiscard]] Matrix<float> input() const {
    Matrix<float> y = x;
    for (std::size_t r = 0; r < y.rows(); ++r)
      for (std::size_t c = 0; c < 64; ++c) y(r, c) *= norm[c];
    return y;
  }
  [[nodiscard]] double w8a8_error(const Site& original) const {
    const Matrix<float> exact = original.input(), seen = input();
    double sum = 0;
    for (const auto& [w, of] : {std::pair{&a, &original.a}, {&b, &original.b}}) {
      const auto scheme = kvant::parse_layer_scheme("int8-channel/int8-token").value();
      const auto layer = kvant::Linear::from(kvant::Rtn{}({"w", w->view()}, scheme, {}).value()).value();
      Matrix<float> y(seen.rows(), w->rows());
      EXPECT_TRUE(layer.multiply(seen.view(), y.view()));
      for (std::size_t i = 0; i < y.rows(); ++i)
        for (std::size_t r = 0; r < w->rows(); ++r) {
          double expected = 0;
          for (std::size_t c = 0; c < 64; ++c)
            expected += static_cast<double>(exact(i, c)) * static_cast<double>((*of)(r, c));
          sum += std::pow(expected - static_cast<double>(y(i, r)), 2);
        }
    }
    return sum;
  }
};

TEST(Transforms, FoldFactorsIntoWhatMadeTheInput) {
  const Site original;
  Site changed;
  LayerStatistics statistics;
  kvant::add_inputs(statistics, Needs::channels, original.input().view());
  const std::vector<kvant::MatrixView<float>> readers{changed.a.view(), changed.b.view()};
  const kvant::InputSite site{readers, changed.norm, {}, {}, &statistics};
  const std::vector<float> factors = Balance{}(site, {}, {}).value();
  const auto left = kvant::fold_factors(site, factors);
  ASSERT_TRUE(left);
  EXPECT_TRUE(left->empty()) << "the norm took them";
  EXPECT_LT(changed.w8a8_error(original), 0.2 * original.w8a8_error(original));
}

TEST(Transforms, LeaveFactorsToTheLayerWhereNothingTakesThem) {
  Site site;
  const std::vector<kvant::MatrixView<float>> readers{site.a.view()};
  const std::vector<float> factors(64, 2.0f);
  const float before = site.a(3, 5);
  const auto left = kvant::fold_factors({readers}, factors);
  ASSERT_TRUE(left);
  EXPECT_EQ(*left, std::vector<float>(64, 0.5f));
  EXPECT_EQ(site.a(3, 5), 2.0f * before);
  // Rows of the matrix that makes the input, with its bias.
  Matrix<float> producer(64, 3, 1.0f);
  std::vector<float> bias(64, 3.0f);
  EXPECT_TRUE(kvant::fold_factors({readers, {}, producer.view(), bias}, factors)->empty());
  EXPECT_EQ(producer(63, 2), 0.5f);
  EXPECT_EQ(bias[0], 1.5f);
  // A norm with a bias, as LayerNorm.
  std::vector<float> norm(64, 4.0f);
  EXPECT_TRUE(kvant::fold_factors({readers, norm, {}, bias}, factors)->empty());
  EXPECT_EQ(norm[5], 2.0f);
  EXPECT_EQ(bias[5], 0.75f);
  // What does not fit changes nothing.
  const float now = site.a(3, 5);
  for (const float bad : {0.0f, -1.0f, INFINITY, NAN, 1e-45f}) {
    std::vector<float> wrong(64, 1.0f);
    wrong[63] = bad;
    EXPECT_EQ(kvant::fold_factors({readers}, wrong).error().code, kvant::ErrorCode::usage) << bad;
  }
  EXPECT_EQ(kvant::fold_factors({readers}, std::vector<float>(63, 2.0f)).error().code, kvant::ErrorCode::bad_shape);
  EXPECT_EQ(site.a(3, 5), now);
}

TEST(Transforms, PartsOfALayerAreRefusedWhereTheyWouldBeLost) {
  const Matrix<float> w = reference::normal_matrix(4, 32, 41);
  const QLinear plain = kvant::Rtn{}({"w", w.view()}, *kvant::parse_scheme("int4-g32"), {}).value();
  EXPECT_TRUE(kvant::Linear::from(plain));
  QLinear scaled = plain, corrected = plain, outliers = plain;
  scaled.input_scale.assign(32, 2.0f);
  corrected.low_rank = kvant::LowRankPair{Matrix<float>(4, 1), Matrix<float>(1, 32)};
  outliers.outliers = kvant::OutlierColumns{{3}, Matrix<float>(4, 1)};
  for (const QLinear* layer : {&scaled, &corrected, &outliers}) {
    EXPECT_EQ(kvant::Linear::from(*layer).error().code, kvant::ErrorCode::unsupported);
    EXPECT_EQ(kvant::check_has_no_parts(*layer).error().code, kvant::ErrorCode::unsupported);
  }
}

}  // namespace
