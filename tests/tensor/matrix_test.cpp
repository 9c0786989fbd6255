// SPDX-License-Identifier: Apache-2.0
#include "kvant/tensor/matrix.hpp"
#include "kvant/tensor/stack.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <numeric>
#include <stdexcept>
#include <type_traits>
#include <utility>
#include <vector>

namespace {

using kvant::Matrix;
using kvant::MatrixView;

class MatrixContracts : public testing::Test {
 protected:
  MatrixContracts()
      : before_(
            kvant::set_contract_handler([](const kvant::ContractViolation& v) { throw std::logic_error(v.text); })) {}
  ~MatrixContracts() override { kvant::set_contract_handler(before_); }

 private:
  kvant::ContractHandler before_;
};

std::vector<int> counted(std::size_t n) {
  std::vector<int> v(n);
  std::iota(v.begin(), v.end(), 0);
  return v;
}

TEST(MatrixViewTest, AddressesRowsByTheirStride) {
  std::vector<int> data = counted(20);
  const MatrixView<int> v(data.data(), 4, 3, 5);
  for (std::size_t r = 0; r < 4; ++r) {
    ASSERT_EQ(v.row(r).size(), 3u);
    for (std::size_t c = 0; c < 3; ++c) {
      EXPECT_EQ(v(r, c), static_cast<int>(r * 5 + c));
      EXPECT_EQ(v.row(r)[c], static_cast<int>(r * 5 + c));
    }
  }
  EXPECT_EQ(v.size(), 12u);
  EXPECT_EQ(v.stride(), 5u);
  v(3, 2) = -1;
  EXPECT_EQ(data[17], -1);
}

TEST(MatrixViewTest, TakesRowRangesWithTheSameStride) {
  std::vector<int> data = counted(20);
  const MatrixView<int> v(data.data(), 4, 3, 5);
  const MatrixView<int> part = v.rows(1, 2);
  EXPECT_EQ(part.rows(), 2u);
  EXPECT_EQ(part.cols(), 3u);
  EXPECT_EQ(part(1, 2), 12);
  EXPECT_EQ(v.rows(4, 0).rows(), 0u);
  EXPECT_EQ(v.rows(0, 4).data(), v.data());
}

TEST(MatrixViewTest, OfMutableElementsIsAViewOfConstOnes) {
  static_assert(std::is_convertible_v<MatrixView<float>, MatrixView<const float>>);
  static_assert(!std::is_convertible_v<MatrixView<const float>, MatrixView<float>>);
  static_assert(!std::is_convertible_v<MatrixView<float>, MatrixView<const double>>);
  std::vector<int> data = counted(6);
  const MatrixView<int> v(data.data(), 2, 2, 3);
  const MatrixView<const int> constant = v;
  EXPECT_EQ(constant.data(), v.data());
  EXPECT_EQ(constant.stride(), 3u);
  EXPECT_EQ(constant(1, 1), 4);
}

TEST(MatrixViewTest, MayBeEmptyInEitherDirection) {
  const MatrixView<const float> nothing;
  EXPECT_EQ(nothing.rows(), 0u);
  EXPECT_EQ(nothing.size(), 0u);
  const MatrixView<const float> no_columns(nullptr, 3, 0);
  EXPECT_EQ(no_columns.size(), 0u);
  EXPECT_TRUE(no_columns.row(2).empty());
  const MatrixView<const float> no_rows(nullptr, 0, 7);
  EXPECT_EQ(no_rows.rows(0, 0).cols(), 7u);
}

TEST_F(MatrixContracts, RefuseRowRangesOutsideTheMatrix) {
  std::vector<int> data = counted(6);
  const MatrixView<int> v(data.data(), 3, 2);
  EXPECT_THROW(static_cast<void>(v.rows(2, 2)), std::logic_error);
  EXPECT_THROW(static_cast<void>(v.rows(4, 0)), std::logic_error);
  EXPECT_THROW(static_cast<void>(v.rows(static_cast<std::size_t>(-1), 2)), std::logic_error) << "the sum wraps";
  EXPECT_NO_THROW(static_cast<void>(v.rows(1, 2)));
}

TEST_F(MatrixContracts, RefuseAStrideBelowTheColumns) {
  std::vector<int> data = counted(6);
  EXPECT_THROW(MatrixView<int>(data.data(), 2, 3, 2), std::logic_error);
}

TEST_F(MatrixContracts, RefuseDataOfAnotherSize) {
  EXPECT_THROW(Matrix<int>(2, 3, counted(5)), std::logic_error);
  EXPECT_THROW(Matrix<int>(2, 3, counted(7)), std::logic_error);
  EXPECT_NO_THROW(Matrix<int>(2, 3, counted(6)));
}

TEST(MatrixTest, OwnsItsElementsRowByRow) {
  Matrix<int> m(2, 3, counted(6));
  EXPECT_EQ(m(1, 0), 3);
  m(1, 2) = 9;
  EXPECT_EQ(m.row(1)[2], 9);
  EXPECT_EQ(m.view()(1, 2), 9);
  const Matrix<int> copy = m;
  m(1, 2) = 0;
  EXPECT_EQ(copy(1, 2), 9);
  EXPECT_EQ(copy.view().row(0)[1], 1);
  EXPECT_EQ(copy.size(), 6u);
  EXPECT_EQ(Matrix<int>(2, 2, 5)(1, 1), 5);
  EXPECT_EQ(Matrix<int>(0, 4).size(), 0u);
}

TEST_F(MatrixContracts, HandOutNoRowThatIsNotThere) {
  Matrix<int> m(4, 3);
  const Matrix<int>& constant = m;
  EXPECT_THROW((void)m.row(4), std::logic_error);
  EXPECT_THROW((void)constant.row(4), std::logic_error);
  EXPECT_THROW((void)m.view().row(100000000), std::logic_error);
  EXPECT_THROW((void)m.view().rows(3, 2), std::logic_error);
  EXPECT_NO_THROW((void)m.row(3));
}

TEST(Transpose, SwapsRowsAndColumnsOfAnyShape) {
  for (const auto& [rows, cols] : {std::pair<std::size_t, std::size_t>{1, 1}, {3, 70}, {65, 33}, {0, 5}}) {
    Matrix<int> m(rows, cols);
    for (std::size_t i = 0; i < m.size(); ++i) m.data()[i] = static_cast<int>(i);
    const Matrix<int> t = kvant::transpose(m.view());
    ASSERT_EQ(t.rows(), cols);
    ASSERT_EQ(t.cols(), rows);
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t c = 0; c < cols; ++c) EXPECT_EQ(t(c, r), m(r, c));
  }
}

TEST_F(MatrixContracts, HoldForStacks) {
  Matrix<int> m(6, 2);
  for (std::size_t i = 0; i < m.size(); ++i) m.data()[i] = static_cast<int>(i);
  EXPECT_EQ(kvant::transpose_each(m.view(), 2), (std::vector<int>{0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11}));
  EXPECT_EQ(kvant::transpose_each(m.view(), 6), counted(12));
  EXPECT_TRUE(kvant::transpose_each(Matrix<int>(0, 3).view(), 0).empty());
  EXPECT_THROW((void)kvant::transpose_each(m.view(), 4), std::logic_error);
  EXPECT_THROW((void)kvant::transpose_each(m.view(), 0), std::logic_error);
}

}  // namespace
