// SPDX-License-Identifier: Apache-2.0
#include "kvant/quant/granularity.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

using kvant::Granularity;

TEST(Granularity, CountsScalesByWalkingTheBlocks) {
  const std::vector<Granularity> all{
      kvant::PerTensor{},     kvant::PerChannel{},       kvant::PerToken{},         kvant::PerGroup{1},
      kvant::PerGroup{32},    kvant::PerGroup{128},      kvant::PerGroup{1000},     kvant::PerBlock{1, 1},
      kvant::PerBlock{2, 64}, kvant::PerBlock{128, 128}, kvant::PerGroup{SIZE_MAX}, kvant::PerBlock{SIZE_MAX, 3}};
  for (const Granularity& g : all)
    for (const std::size_t rows : {0u, 1u, 3u, 7u, 129u})
      for (const std::size_t cols : {0u, 1u, 31u, 33u, 127u, 128u, 200u}) {
        const std::size_t height = g.block_rows(rows);
        const std::size_t width = g.block_cols(cols);
        ASSERT_GE(height, 1u);
        ASSERT_GE(width, 1u);
        std::size_t down = 0;
        std::size_t across = 0;
        for (std::size_t r = 0; r < rows; r += height < rows - r ? height : rows - r) ++down;
        for (std::size_t c = 0; c < cols; c += width < cols - c ? width : cols - c) ++across;
        EXPECT_EQ(g.scale_rows(rows), down);
        EXPECT_EQ(g.scale_cols(cols), across);
      }
}

TEST(Granularity, GivesBlockSizes) {
  EXPECT_EQ(Granularity(kvant::PerTensor{}).block_rows(7), 7u);
  EXPECT_EQ(Granularity(kvant::PerTensor{}).block_cols(9), 9u);
  EXPECT_EQ(Granularity(kvant::PerChannel{}).block_rows(7), 1u);
  EXPECT_EQ(Granularity(kvant::PerChannel{}).block_cols(9), 9u);
  EXPECT_EQ(Granularity(kvant::PerGroup{4}).block_rows(7), 1u);
  EXPECT_EQ(Granularity(kvant::PerGroup{4}).block_cols(9), 4u);
  EXPECT_EQ(Granularity(kvant::PerGroup{40}).block_cols(9), 9u) << "a group beyond the columns is one group";
  EXPECT_EQ(Granularity(kvant::PerBlock{2, 4}).block_rows(7), 2u);
  EXPECT_EQ(Granularity(kvant::PerBlock{2, 4}).block_cols(9), 4u);
}

TEST(Granularity, ComparesByKindAndSize) {
  EXPECT_EQ(Granularity(kvant::PerGroup{4}), Granularity(kvant::PerGroup{4}));
  EXPECT_NE(Granularity(kvant::PerGroup{4}), Granularity(kvant::PerGroup{5}));
  EXPECT_NE(Granularity(kvant::PerBlock{1, 4}), Granularity(kvant::PerGroup{4}));
  EXPECT_NE(Granularity(kvant::PerChannel{}), Granularity(kvant::PerToken{}));
  EXPECT_EQ(Granularity{}.kind(), Granularity::Kind::none);
}

}  // namespace
