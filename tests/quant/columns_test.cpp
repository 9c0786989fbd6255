// SPDX-License-Identifier: Apache-2.0
// Coding column by column, and choosing numbers and codes apart, give what quantize() gives.
#include "kvant/quant/columns.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <limits>
#include <string>
#include <vector>

#include "../reference/executors.hpp"
#include "../reference/weights.hpp"
#include "kvant/quant/encode.hpp"

namespace {

using kvant::Matrix;
using kvant::QMatrix;
using kvant::Scheme;

std::vector<std::string> schemes() {
  std::vector<std::string> all{
      "int8-channel",       "int4-g32",           "int4-g32-asym",    "int4-g48-full", "int3-tensor",
      "int1-g32",           "ternary-g32",        "uint5-g32-asym",   "nf4-g64-dq",    "fp4_bnb-g32",
      "iq4_nl-channel",     "fp8_e4m3fnuz-b8x16", "fp8_e5m2-channel", "fp6_e2m3-g32",  "uint4-g32-fzero-scale:bf16",
      "uint8-channel-fzero"};
  for (const kvant::BlockFormat& b : kvant::kBlockFormats) all.emplace_back(b.name);
  return all;
}

TEST(Columns, TakeTheCodesThatRowsTake) {
  const Matrix<float> w = reference::normal_matrix(37, 320, 1);
  for (const std::string& text : schemes()) {
    const QMatrix q = *kvant::quantize(w.view(), *kvant::parse_scheme(text), {.search = true});
    const Matrix<float> values = kvant::dequantize(q);
    QMatrix by_column = *kvant::choose_scales(w.view(), q.scheme, {.search = true});
    EXPECT_EQ(by_column.codes, std::vector<std::uint8_t>(q.codes.size())) << text;
    EXPECT_EQ(by_column.scales[0].values, q.scales[0].values) << text;
    for (const auto& [first, count] : {std::pair<std::size_t, std::size_t>{0, 20}, {20, 17}}) {
      kvant::ColumnCoder coder(by_column, first, count);
      std::vector<float> x(count), value(count);
      for (std::size_t c = 0; c < w.cols(); ++c) {
        for (std::size_t r = 0; r < count; ++r) x[r] = w(first + r, c);
        coder.encode(c, x, {}, value);
        for (std::size_t r = 0; r < count; ++r)
          ASSERT_EQ(value[r], values(first + r, c)) << text << " row " << first + r << " column " << c;
      }
    }
    EXPECT_EQ(by_column.codes, q.codes) << text;
  }
}

TEST(ChooseScales, AndEncodeAreWhatQuantizeDoes) {
  Matrix<float> w = reference::normal_matrix(19, 150, 2);
  w(3, 4) = std::numeric_limits<float>::infinity();
  w(7, 100) = std::numeric_limits<float>::quiet_NaN();
  reference::ThreadedExecutor threads(3);
  const kvant::Context context(kvant::kernels::generic::kTable, threads);
  for (const std::string& text : schemes()) {
    const Scheme scheme = *kvant::parse_scheme(text);
    EXPECT_EQ(kvant::choose_scales(w.view(), scheme).error().code, kvant::ErrorCode::nonfinite) << text;
    for (const kvant::NonFinite policy : {kvant::NonFinite::zero, kvant::NonFinite::keep}) {
      const QMatrix whole = *kvant::quantize(w.view(), scheme, {.nonfinite = policy});
      QMatrix parts = *kvant::choose_scales(w.view(), scheme, {.nonfinite = policy}, context);
      ASSERT_TRUE(kvant::encode(parts, w.view(), policy, context)) << text;
      EXPECT_EQ(parts.codes, whole.codes) << text;
      EXPECT_EQ(parts.zero_points, whole.zero_points) << text;
      EXPECT_EQ(parts.clamped_scales, whole.clamped_scales) << text;
    }
    QMatrix parts = *kvant::choose_scales(w.view(), scheme, {.nonfinite = kvant::NonFinite::zero});
    EXPECT_EQ(kvant::encode(parts, w.view()).error().code, kvant::ErrorCode::nonfinite) << text;
    EXPECT_EQ(kvant::encode(parts, w.view().rows(0, 18)).error().code, kvant::ErrorCode::bad_shape) << text;
  }
}

TEST(ChooseGroup, ChoosesWhatQuantizeChooses) {
  const Matrix<float> w = reference::normal_matrix(6, 100, 3);
  const std::vector<float> weights(100, 0.5f);
  std::size_t free_schemes = 0;
  for (const std::string& text : schemes()) {
    const Scheme scheme = *kvant::parse_scheme(text);
    const bool in_a_row = scheme.granularity.block_rows(6) == 1;
    const bool shared = scheme.scales.outer && !scheme.scales.has_matrix_number();
    EXPECT_EQ(scheme.has_free_groups(), in_a_row && !shared) << text;
    if (!scheme.has_free_groups()) continue;
    ++free_schemes;
    for (const bool search : {false, true}) {
      const QMatrix q = *kvant::quantize(w.view(), scheme, {.search = search, .column_weights = weights});
      QMatrix again = q;
      for (float& s : again.scales[0].values) s = 0.0f;
      for (std::int16_t& z : again.zero_points) z = 0;
      kvant::Grid grid(scheme);
      if (scheme.scales.has_matrix_number()) grid = grid.under(q.scales[1].values[0], q.reciprocal);
      const std::size_t width = scheme.granularity.block_cols(100);
      for (std::size_t r = 0; r < 6; ++r)
        for (std::size_t c = 0, g = 0; c < 100; c += width, ++g) {
          const std::size_t n = std::min(width, 100 - c);
          EXPECT_EQ(kvant::choose_group(again, grid, r, g, w.view().row(r).subspan(c, n),
                                        std::span<const float>(weights).subspan(c, n), search),
                    0u);
        }
      EXPECT_EQ(again.scales[0].values, q.scales[0].values) << text;
      EXPECT_EQ(again.zero_points, q.zero_points) << text;
      if (scheme.offsets) {
        EXPECT_EQ(again.offsets[0].values, q.offsets[0].values) << text;
      }
    }
  }
  EXPECT_GT(free_schemes, 15u);
}

}  // namespace
