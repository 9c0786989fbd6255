// SPDX-License-Identifier: Apache-2.0
// Matrices and views of them: row-major, rows x cols; a weight is [out_features, in_features].
#pragma once

#include <cstddef>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "kvant/core/contract.hpp"

namespace kvant {

/// A non-owning row-major view: element (r, c) is data[r * stride + c]. Empty in either direction is legal.
template <class T>
class MatrixView {
 public:
  constexpr MatrixView() = default;
  constexpr MatrixView(T* data, std::size_t rows, std::size_t cols, std::size_t stride)
      : data_(data), rows_(rows), cols_(cols), stride_(stride) {
    expects(stride >= cols, "a row's stride covers its columns");
  }
  constexpr MatrixView(T* data, std::size_t rows, std::size_t cols) : MatrixView(data, rows, cols, cols) {}

  /// A view of mutable elements is a view of const ones.
  constexpr operator MatrixView<const T>() const requires(!std::is_const_v<T>) {
    return {data_, rows_, cols_, stride_};
  }

  [[nodiscard]] constexpr T* data() const noexcept { return data_; }
  [[nodiscard]] constexpr std::size_t rows() const noexcept { return rows_; }
  [[nodiscard]] constexpr std::size_t cols() const noexcept { return cols_; }
  [[nodiscard]] constexpr std::size_t stride() const noexcept { return stride_; }
  [[nodiscard]] constexpr std::size_t size() const noexcept { return rows_ * cols_; }

  /// One element; not checked, for loops.
  [[nodiscard]] constexpr T& operator()(std::size_t r, std::size_t c) const { return data_[r * stride_ + c]; }
  [[nodiscard]] constexpr std::span<T> row(std::size_t r) const {
    expects(r < rows_, "a row of the matrix");
    return {data_ + r * stride_, cols_};
  }
  [[nodiscard]] constexpr MatrixView rows(std::size_t first, std::size_t count) const {
    expects(first <= rows_ && count <= rows_ - first, "row range within the matrix");
    return {data_ + first * stride_, count, cols_, stride_};
  }

 private:
  T* data_ = nullptr;
  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
  std::size_t stride_ = 0;
};

/// An owning, dense row-major matrix.
template <class T>
class Matrix {
 public:
  Matrix() = default;
  Matrix(std::size_t rows, std::size_t cols, T fill = T{}) : rows_(rows), cols_(cols), data_(rows * cols, fill) {}
  Matrix(std::size_t rows, std::size_t cols, std::vector<T> data) : rows_(rows), cols_(cols), data_(std::move(data)) {
    expects(data_.size() == rows * cols, "as many elements as rows x cols");
  }

  [[nodiscard]] std::size_t rows() const noexcept { return rows_; }
  [[nodiscard]] std::size_t cols() const noexcept { return cols_; }
  [[nodiscard]] std::size_t size() const noexcept { return data_.size(); }
  [[nodiscard]] T* data() noexcept { return data_.data(); }
  [[nodiscard]] const T* data() const noexcept { return data_.data(); }
  /// One element; not checked, for loops.
  [[nodiscard]] T& operator()(std::size_t r, std::size_t c) { return data_[r * cols_ + c]; }
  [[nodiscard]] const T& operator()(std::size_t r, std::size_t c) const { return data_[r * cols_ + c]; }
  [[nodiscard]] std::span<T> row(std::size_t r) { return view().row(r); }
  [[nodiscard]] std::span<const T> row(std::size_t r) const { return view().row(r); }
  [[nodiscard]] MatrixView<T> view() noexcept { return {data_.data(), rows_, cols_}; }
  [[nodiscard]] MatrixView<const T> view() const noexcept { return {data_.data(), rows_, cols_}; }

 private:
  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
  std::vector<T> data_;
};

/// The transpose, in squares that fit into cache.
template <class T>
[[nodiscard]] Matrix<std::remove_const_t<T>> transpose(MatrixView<T> m) {
  constexpr std::size_t kSquare = 32;
  Matrix<std::remove_const_t<T>> out(m.cols(), m.rows());
  for (std::size_t r = 0; r < m.rows(); r += kSquare)
    for (std::size_t c = 0; c < m.cols(); c += kSquare)
      for (std::size_t i = r; i < m.rows() && i < r + kSquare; ++i)
        for (std::size_t j = c; j < m.cols() && j < c + kSquare; ++j) out(j, i) = m(i, j);
  return out;
}

}  // namespace kvant
