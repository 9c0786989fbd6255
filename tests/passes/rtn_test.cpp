// SPDX-License-Identifier: Apache-2.0
#include "kvant/passes/rtn.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "../reference/executors.hpp"
#include "../reference/weights.hpp"

namespace {

using kvant::LayerInput;
using kvant::Matrix;
using kvant::QMatrix;
using kvant::Rtn;

LayerInput layer(const Matrix<float>& w) { return {"layers.0.weight", w.view(), kvant::NonFinite::error}; }

TEST(Rtn, TakesThePlainScaleOrTheSearchedOne) {
  const Matrix<float> w = reference::normal_matrix(4, 96, 95);
  const kvant::Scheme scheme = *kvant::parse_scheme("int4-g32");
  for (const bool search : {false, true}) {
    const auto q = Rtn{{search}}(layer(w), scheme, {});
    ASSERT_TRUE(q.has_value());
    const auto expected = kvant::quantize(w.view(), scheme, {search, {}});
    EXPECT_EQ(q->weight.codes, expected->codes);
    EXPECT_EQ(q->weight.scales[0].values, expected->scales[0].values);
    EXPECT_TRUE(q->bias.empty());
  }
}

TEST(Rtn, SearchesByDefault) {
  const Matrix<float> w = reference::normal_matrix(4, 96, 96);
  const kvant::Scheme scheme = *kvant::parse_scheme("int3-g32");
  EXPECT_EQ(Rtn{}(layer(w), scheme, {})->weight.codes, kvant::quantize(w.view(), scheme, {true, {}})->codes);
}

TEST(Rtn, MapsAllZeroGroupToZeroCodes) {
  const Matrix<float> w(2, 64, 0.0f);
  const auto q = Rtn{}(layer(w), *kvant::parse_scheme("int4-g32"), {});
  EXPECT_EQ(q->weight.codes, std::vector<std::uint8_t>(128, 0));
}

TEST(Rtn, IsRowwise) {
  // What kRowwise promises: rows alone give what they give together, unless scales span rows.
  static_assert(Rtn::kRowwise);
  const Matrix<float> w = reference::normal_matrix(6, 70, 97);
  for (const char* text : {"int4-g32", "int8-channel", "int4-g32-asym", "ternary-g32"}) {
    const auto whole = Rtn{}(layer(w), *kvant::parse_scheme(text), {});
    for (std::size_t r = 0; r < 6; ++r) {
      const auto row = Rtn{}(LayerInput{"x", w.view().rows(r, 1), {}}, *kvant::parse_scheme(text), {});
      const auto codes = whole->weight.row_codes(r);
      EXPECT_EQ(row->weight.codes, std::vector<std::uint8_t>(codes.begin(), codes.end())) << text;
    }
  }
}

TEST(Rtn, RefusesNonFiniteWeightsByPolicy) {
  Matrix<float> w(1, 4, 1.0f);
  w(0, 2) = INFINITY;
  const kvant::Scheme scheme = *kvant::parse_scheme("int4-channel");
  EXPECT_EQ(Rtn{}(layer(w), scheme, {}).error().code, kvant::ErrorCode::nonfinite);
  EXPECT_TRUE(Rtn{}({"x", w.view(), kvant::NonFinite::zero}, scheme, {}).has_value());
  EXPECT_TRUE(Rtn{}({"x", w.view(), kvant::NonFinite::keep}, scheme, {}).has_value());
}

TEST(Rtn, RefusesCasts) {
  const Matrix<float> w(1, 4, 1.0f);
  EXPECT_EQ(Rtn{}(layer(w), *kvant::parse_scheme("bf16"), {}).error().code, kvant::ErrorCode::bad_scheme);
}

TEST(Rtn, DoesNotDependOnTheExecutor) {
  const Matrix<float> w = reference::normal_matrix(20, 70, 98);
  reference::ThreadedExecutor threaded(3);
  const kvant::Context context(kvant::kernels::generic::kTable, threaded);
  const kvant::Scheme scheme = *kvant::parse_scheme("int4-g32");
  EXPECT_EQ(Rtn{}(layer(w), scheme, context)->weight.codes, Rtn{}(layer(w), scheme, {})->weight.codes);
}

}  // namespace
