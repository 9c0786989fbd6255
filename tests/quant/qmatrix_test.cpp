// SPDX-License-Identifier: Apache-2.0
#include "kvant/quant/qmatrix.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "../reference/weights.hpp"
#include "kvant/quant/encode.hpp"

namespace {

using kvant::QMatrix;
using kvant::stored_bits;

std::uint64_t bits(const char* scheme, std::uint64_t rows, std::uint64_t cols) {
  return stored_bits(*kvant::parse_scheme(scheme), rows, cols);
}

TEST(StoredBits, CountCodesScalesAndZeroPoints) {
  EXPECT_EQ(bits("int4-g128", 2, 256), 2u * 256 * 4 + 4 * 16);
  EXPECT_EQ(bits("int4-g128", 2, 257), 2u * 257 * 4 + 6 * 16) << "the last group is short";
  EXPECT_EQ(bits("int4-g1000", 2, 257), 2u * 257 * 4 + 2 * 16);
  EXPECT_EQ(bits("int4-g128-asym", 2, 256), 2u * 256 * 4 + 4 * (16 + 4));
  EXPECT_EQ(bits("int8-channel", 3, 100), 3u * 100 * 8 + 3 * 16);
  EXPECT_EQ(bits("int8-channel-scale:fp32", 3, 100), 3u * 100 * 8 + 3 * 32);
  EXPECT_EQ(bits("int8-tensor-scale:fp8_e4m3fn", 3, 100), 3u * 100 * 8 + 8);
  EXPECT_EQ(bits("int3-b2x40", 3, 100), 3u * 100 * 3 + 2 * 3 * 16);
  EXPECT_EQ(bits("int1-g128", 1, 128), 128u + 16);
  EXPECT_EQ(bits("ternary-tensor", 4, 8), 4u * 8 * 2 + 16);
  EXPECT_EQ(bits("nf4-g64", 1, 64), 64u * 4 + 16);
  EXPECT_EQ(bits("bf16", 3, 5), 3u * 5 * 16);
  EXPECT_EQ(bits("fp32", 3, 5), 3u * 5 * 32);
  EXPECT_EQ(bits("int4-g128", 0, 256), 0u);
  EXPECT_EQ(bits("int4-g128", 3, 0), 0u);
  EXPECT_EQ(bits("int4-tensor", 0, 0), 0u);
  EXPECT_EQ(bits("int4-g128", 1u << 20, 1u << 20), (std::uint64_t{1} << 40) * 4 + (std::uint64_t{1} << 33) * 16);
}

TEST(StoredBits, EqualWhatAMatrixHolds) {
  const kvant::Matrix<float> w = reference::normal_matrix(5, 130, 91);
  for (const char* text : {"int4-g32", "int4-g32-asym-scale:fp32", "int8-tensor", "int2-b2x64", "nf4-channel"}) {
    const QMatrix q = *kvant::quantize(w.view(), *kvant::parse_scheme(text));
    EXPECT_EQ(bits(text, 5, 130), q.codes.size() * q.scheme.info().bits +
                                      q.scales[0].values.size() * kvant::format_info(q.scheme.scales.inner).bits +
                                      q.zero_points.size() * q.scheme.info().bits)
        << text;
  }
}

TEST(QMatrixTest, FindsTheParametersOfEachElement) {
  QMatrix q;
  q.rows = 3;
  q.cols = 5;
  q.scheme = *kvant::parse_scheme("int4-b2x2-asym");
  q.codes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
  q.scales.push_back({q.scheme.scales.inner, 2, 3, {1, 2, 3, 4, 5, 6}});
  q.zero_points = {0, 1, 2, -1, -2, -3};
  EXPECT_EQ(q.parameters(1, 2).scale, 3.0f);
  EXPECT_EQ(q.parameters(2, 0).scale, 4.0f);
  EXPECT_EQ(q.parameters(2, 2).zero, -3);
  EXPECT_EQ(q.row_codes(1)[0], 5);
  const kvant::Grid grid(q.scheme);
  std::vector<float> row(5);
  // value = scale * (level - zero), levels of four-bit codes 8 … 15 are -8 … -1.
  kvant::dequantize_row(q, grid, 0, row);
  EXPECT_EQ(row, (std::vector<float>{0, 1, 2, 4, 6}));
  kvant::dequantize_row(q, grid, 1, row);
  EXPECT_EQ(row, (std::vector<float>{5, 6, 12, -18, -27}));
  kvant::dequantize_row(q, grid, 2, row);
  EXPECT_EQ(row, (std::vector<float>{-20, -16, -10, -5, 6}));
}

TEST(QMatrixTest, RefusesRowsAndSpansThatDoNotFit) {
  const kvant::Matrix<float> w = reference::normal_matrix(2, 4, 92);
  const QMatrix q = *kvant::quantize(w.view(), *kvant::parse_scheme("int4-channel"));
  const kvant::Grid grid(q.scheme);
  const auto before =
      kvant::set_contract_handler([](const kvant::ContractViolation& v) { throw std::logic_error(v.text); });
  std::vector<float> row(4), short_row(3);
  EXPECT_THROW(kvant::dequantize_row(q, grid, 2, row), std::logic_error);
  EXPECT_THROW(kvant::dequantize_row(q, grid, 0, short_row), std::logic_error);
  EXPECT_NO_THROW(kvant::dequantize_row(q, grid, 1, row));
  kvant::set_contract_handler(before);
}

/// What an element is by itself is what its row decodes to, under every nesting of scales.
TEST(QMatrixTest, TellsTheLevelAndTheValueOfOneElement) {
  const kvant::Matrix<float> w = reference::normal_matrix(6, 72, 93);
  for (const char* text : {"int4-g32", "int4-g32-asym", "int8-tensor", "fp8_e4m3fn-b4x16", "nf4-g64-dq", "nvfp4", "is4",
                           "q4_k", "q3_k", "q5_1", "uint4-g32-fzero"}) {
    const kvant::QMatrix q = *kvant::quantize(w.view(), *kvant::parse_scheme(text));
    const kvant::Matrix<float> values = kvant::dequantize(q);
    for (std::size_t r = 0; r < q.rows; ++r)
      for (std::size_t c = 0; c < q.cols; ++c) ASSERT_EQ(q.value(r, c), values(r, c)) << text;
  }
  kvant::QMatrix q = *kvant::quantize(w.view(), *kvant::parse_scheme("int4-channel"));
  q.codes[0] = 0xf;
  EXPECT_EQ(q.level(0, 0), -1.0f);
}

}  // namespace
