// SPDX-License-Identifier: Apache-2.0
#include "kvant/quant/rows.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include "../reference/weights.hpp"
#include "kvant/quant/encode.hpp"

namespace kvant {
namespace {

/// Schemes of every nesting of scales and offsets.
std::vector<std::string> schemes() {
  std::vector<std::string> all{"int4-g32",        "int4-g32-asym",      "int8-channel", "int8-tensor",
                               "int4-b4x32",      "int4-g32-dq",        "int4-g7",      "nf4-g64",
                               "uint4-g32-fzero", "fp8_e4m3fn-b128x128"};
  for (const BlockFormat& b : kBlockFormats) all.emplace_back(b.name);
  return all;
}

TEST(RowsOf, AreTheRowsToTheBit) {
  const Matrix<float> w = reference::normal_matrix(24, 256, 7);
  for (const std::string& text : schemes()) {
    const Scheme scheme = *parse_scheme(text);
    const QMatrix whole = *quantize(w.view(), scheme);
    const Matrix<float> expected = dequantize(whole);
    std::size_t taken = 0;
    for (std::size_t first = 0; first <= 24; ++first)
      for (std::size_t count = 0; first + count <= 24; ++count) {
        const auto part = rows_of(whole, first, count);
        EXPECT_EQ(part.has_value(), check_rows(scheme, 24, 256, first, count).has_value());
        if (!part) {
          EXPECT_EQ(part.error().code, ErrorCode::unsupported);
          continue;
        }
        ++taken;
        const Status ok = check(*part);
        ASSERT_TRUE(ok) << text << " " << first << " " << count << ": " << describe(ok.error());
        const Matrix<float> values = dequantize(*part);
        ASSERT_EQ(values.size(), count * 256) << text;
        ASSERT_TRUE(std::equal(values.data(), values.data() + values.size(), expected.data() + first * 256))
            << text << " " << first << " " << count;
      }
    EXPECT_GE(taken, 25u) << text;
  }
}

TEST(RowsOf, AreRefusedWhereTheyShareANumberWithOthers) {
  const auto check = [](const char* text, std::size_t first, std::size_t count) {
    return check_rows(*parse_scheme(text), 24, 256, first, count).has_value();
  };
  EXPECT_TRUE(check("int4-b8x32", 8, 8));
  EXPECT_TRUE(check("int4-b8x32", 8, 3)) << "the last block may be short";
  EXPECT_TRUE(check("int4-b8x32", 9, 7)) << "all of one block";
  EXPECT_FALSE(check("int4-b8x32", 9, 8));
  EXPECT_FALSE(check("int4-b8x32", 4, 8));
  EXPECT_TRUE(check("int8-tensor", 5, 3));
  EXPECT_TRUE(check("nvfp4", 5, 3));
  EXPECT_TRUE(check("q4_k", 5, 3));
  // 8 scales a row, 256 in a run: the second begins with row 32.
  EXPECT_TRUE(check("int4-g32-dq", 5, 3));
  EXPECT_TRUE(check_rows(*parse_scheme("int4-g32-dq"), 64, 256, 32, 32));
  EXPECT_TRUE(check_rows(*parse_scheme("int4-g32-dq"), 64, 256, 33, 31));
  EXPECT_FALSE(check_rows(*parse_scheme("int4-g32-dq"), 64, 256, 31, 2));
}

TEST(RowsOf, KeepTheOrderOfColumns) {
  QMatrix q = *quantize(reference::normal_matrix(4, 4, 3).view(), *parse_scheme("int8-g2"));
  q.columns = {2, 0, 1, 3};
  const Matrix<float> values = dequantize(q);
  const Matrix<float> part = dequantize(*rows_of(q, 1, 2));
  EXPECT_EQ(std::memcmp(part.data(), values.data() + 4, 8 * sizeof(float)), 0);
}

}  // namespace
}  // namespace kvant
