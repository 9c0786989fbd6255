// SPDX-License-Identifier: Apache-2.0
// Layers in programs that are not kvant's: hosts with floating-point environments of their own, and matrices made by
// hand from another program's codes.
#include <gtest/gtest.h>

#include <cfenv>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "../reference/executors.hpp"
#include "../reference/fp_modes.hpp"
#include "../reference/weights.hpp"
#include "kvant/linear/linear.hpp"
#include "kvant/numeric/runtime_codebook.hpp"
#include "kvant/quant/encode.hpp"
#include "layers.hpp"

namespace kvant {
namespace {

/// Ordinary rows, and rows of subnormal numbers, which a host that flushes them would lose.
Matrix<float> activations(std::size_t rows, std::size_t cols) {
  Matrix<float> x = reference::normal_matrix(rows, cols, 5);
  for (std::size_t c = 0; c < cols; ++c) x(rows - 1, c) *= 1e-39f;
  return x;
}

Result<Linear> layer(const char* scheme) {
  const Matrix<float> w = reference::normal_matrix(70, 96, 3);
  if (std::string(scheme) == "bf16") return Linear::from_float(w.view(), format_id<bf16>);
  return Linear::from(quantized(w.view(), scheme));
}

TEST(Linear, GivesTheSameBitsInEveryFpModeAndOnAnyThread) {
  const Matrix<float> x = activations(5, 96);
  for (const char* scheme : {"bf16", "int4-g32", "int8-channel/int8-token", "int4-g32/fp8_e4m3fn-token", "nf4-g64"}) {
    const auto linear = layer(scheme);
    ASSERT_TRUE(linear) << scheme;
    Matrix<float> expected(5, 70);
    ASSERT_TRUE(linear->multiply(x.view(), expected.view()));
    EXPECT_NE(expected(4, 0), 0.0f) << scheme;
    for (const reference::FpMode& mode : reference::kFpModes) {
      reference::ThreadedExecutor threads(3, [&mode] {
        std::fesetround(mode.rounding);
        if (mode.flush) reference::flush_subnormals();
      });
      const Context context(kernels::generic::kTable, threads);
      Matrix<float> y(5, 70);
      Matrix<float> on_threads(5, 70);
      bool done = false;
      {
        const reference::ScopedFpMode scoped(mode);
        done = linear->multiply(x.view(), y.view()) && linear->multiply(x.view(), on_threads.view(), context);
      }
      EXPECT_TRUE(done);
      EXPECT_EQ(0, std::memcmp(y.data(), expected.data(), y.size() * 4)) << scheme << " " << mode.name;
      EXPECT_EQ(0, std::memcmp(on_threads.data(), expected.data(), y.size() * 4)) << scheme << " " << mode.name;
    }
  }
}

struct Defect {
  const char* what;
  const char* scheme;
  std::function<void(QMatrix&)> make;
  ErrorCode code;
};

TEST(HandMade, MatricesAreCheckedBeforeTheyAreRead) {
  const float kNaN = std::numeric_limits<float>::quiet_NaN();
  const std::vector<Defect> defects{
      {"a code is missing", "int4-g32", [](QMatrix& q) { q.codes.pop_back(); }, ErrorCode::bad_shape},
      {"too many rows", "int4-g32", [](QMatrix& q) { q.rows += 1; }, ErrorCode::bad_shape},
      {"sizes overflow", "int4-g32", [](QMatrix& q) { q.rows = q.cols = std::size_t{1} << 33; }, ErrorCode::bad_shape},
      {"no scales", "int4-g32", [](QMatrix& q) { q.scales.clear(); }, ErrorCode::bad_shape},
      {"a scale is missing", "int4-g32", [](QMatrix& q) { q.scales[0].values.pop_back(); }, ErrorCode::bad_shape},
      {"scales of another shape", "int4-g32", [](QMatrix& q) { std::swap(q.scales[0].rows, q.scales[0].cols); },
       ErrorCode::bad_shape},
      {"a level too many", "int4-g32", [](QMatrix& q) { q.scales.push_back(q.scales[0]); }, ErrorCode::bad_shape},
      {"a level is missing", "nvfp4", [](QMatrix& q) { q.scales.pop_back(); }, ErrorCode::bad_shape},
      {"a zero point is missing", "int4-g32-asym", [](QMatrix& q) { q.zero_points.pop_back(); }, ErrorCode::bad_shape},
      {"zero points nobody asked for", "int4-g32", [](QMatrix& q) { q.zero_points.resize(q.scales[0].values.size()); },
       ErrorCode::bad_shape},
      {"a code of 5 bits", "int4-g32", [](QMatrix& q) { q.codes[7] = 16; }, ErrorCode::usage},
      {"a scale that fp16 rounds", "int4-g32", [](QMatrix& q) { q.scales[0].values[1] = 0.1f; }, ErrorCode::usage},
      {"a scale that is NaN", "int4-g32", [kNaN](QMatrix& q) { q.scales[0].values[1] = kNaN; }, ErrorCode::usage},
      {"a zero point of 5 bits", "int4-g32-asym", [](QMatrix& q) { q.zero_points[0] = 8; }, ErrorCode::usage},
      {"a column twice", "int4-g32", [](QMatrix& q) { q.columns.assign(q.cols, 0); }, ErrorCode::bad_shape},
      {"an order of too few columns", "int4-g32", [](QMatrix& q) { q.columns = {0}; }, ErrorCode::bad_shape},
      {"a cast", "int4-g32", [](QMatrix& q) { q.scheme = Scheme{format_id<bf16>}; }, ErrorCode::bad_scheme},
  };
  for (const Defect& d : defects) {
    const auto good = quantize(reference::normal_matrix(12, 96, 3).view(), *parse_scheme(d.scheme));
    ASSERT_TRUE(good);
    EXPECT_TRUE(check(*good)) << d.scheme;
    QMatrix q = *good;
    d.make(q);
    const Status checked = check(q);
    ASSERT_FALSE(checked) << d.what;
    EXPECT_EQ(checked.error().code, d.code) << d.what << ": " << checked.error().message;
    const auto packed = pack(q);
    ASSERT_FALSE(packed) << d.what;
    EXPECT_EQ(packed.error().code, d.code) << d.what;
    const auto linear = Linear::from({q, {}});
    ASSERT_FALSE(linear) << d.what;
    EXPECT_EQ(linear.error().code, d.code) << d.what;
  }
}

TEST(HandMade, ColumnsInAnotherOrderAreMultipliedInTheirOwn) {
  const Matrix<float> w = reference::normal_matrix(12, 96, 3);
  QMatrix q = *quantize(w.view(), *parse_scheme("int4-g32"));
  const Matrix<float> stored = dequantize(q);
  for (std::size_t c = 0; c < 96; ++c) q.columns.push_back(static_cast<std::uint32_t>(c * 37 % 96));
  ASSERT_TRUE(check(q));
  const Matrix<float> values = dequantize(q);
  Matrix<float> x(1, 96);
  const auto linear = Linear::from({q, {}});
  ASSERT_TRUE(linear);
  Matrix<float> y(1, 12);
  for (std::size_t c = 0; c < 96; ++c) {
    x(0, c) = 1.0f;  // one column at a time
    ASSERT_TRUE(linear->multiply(x.view(), y.view()));
    x(0, c) = 0.0f;
    for (std::size_t r = 0; r < 12; ++r) {
      EXPECT_EQ(y(0, r), values(r, c));
      EXPECT_EQ(values(r, c * 37 % 96), stored(r, c));
    }
  }
}

TEST(HandMade, FormatsKeepANameThatNoFileReads) {
  std::vector<float> levels;
  for (int i = 0; i < 16; ++i) levels.push_back(static_cast<float>(i) - 8);
  for (const char* name : {"mine", "int4", "nf4"}) {
    const auto book = RuntimeCodebook::make(name, levels);
    ASSERT_TRUE(book);
    Scheme scheme = *parse_scheme("int4-g64");
    scheme.format = book->id();
    EXPECT_EQ(to_text(scheme), "custom:" + std::string(name) + "-g64");
    EXPECT_FALSE(parse_scheme(to_text(scheme))) << name;
  }
}

}  // namespace
}  // namespace kvant
