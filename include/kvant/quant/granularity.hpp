// SPDX-License-Identifier: Apache-2.0
// How many weights share a scale.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kvant/core/checked.hpp"

namespace kvant {

/// One scale for the whole matrix.
struct PerTensor {};
/// One scale per output feature (row of the weight).
struct PerChannel {};
/// One scale per `size` consecutive inputs of a row; the last group of a row may be short.
struct PerGroup {
  std::size_t size = 128;
};
/// One scale per block of `rows` x `cols`; blocks at the edges may be smaller.
struct PerBlock {
  std::size_t rows = 128;
  std::size_t cols = 128;
};
/// One scale per row of activations.
struct PerToken {};

/// Any of the above as a value: a scale covers `block_rows(rows)` x `block_cols(cols)` weights.
class Granularity {
 public:
  enum class Kind : std::uint8_t { none, tensor, channel, group, block, token };

  constexpr Granularity() = default;
  constexpr Granularity(PerTensor) : kind_(Kind::tensor) {}
  constexpr Granularity(PerChannel) : kind_(Kind::channel) {}
  constexpr Granularity(PerGroup g) : kind_(Kind::group), cols_(g.size) {}
  constexpr Granularity(PerBlock b) : kind_(Kind::block), rows_(b.rows), cols_(b.cols) {}
  constexpr Granularity(PerToken) : kind_(Kind::token) {}

  [[nodiscard]] constexpr Kind kind() const noexcept { return kind_; }

  /// Rows that share a scale, for a matrix of `rows` rows; at least 1.
  [[nodiscard]] constexpr std::size_t block_rows(std::size_t rows) const noexcept {
    const std::size_t n = kind_ == Kind::tensor ? rows : kind_ == Kind::block ? rows_ : 1;
    return n != 0 ? n : 1;
  }
  /// Columns that share a scale, for a matrix of `cols` columns; at least 1. A group beyond the columns is one group.
  [[nodiscard]] constexpr std::size_t block_cols(std::size_t cols) const noexcept {
    const bool sized = kind_ == Kind::group || kind_ == Kind::block;
    const std::size_t n = sized && cols_ < cols ? cols_ : cols;
    return n != 0 ? n : 1;
  }
  /// Shape of the matrix of scales.
  [[nodiscard]] constexpr std::size_t scale_rows(std::size_t rows) const noexcept {
    return ceil_div(rows, block_rows(rows));
  }
  [[nodiscard]] constexpr std::size_t scale_cols(std::size_t cols) const noexcept {
    return ceil_div(cols, block_cols(cols));
  }
  /// The numbers of its text form: N of gN, R and C of bRxC.
  [[nodiscard]] constexpr std::size_t rows_parameter() const noexcept { return rows_; }
  [[nodiscard]] constexpr std::size_t cols_parameter() const noexcept { return cols_; }

  friend constexpr bool operator==(const Granularity&, const Granularity&) = default;

 private:
  Kind kind_ = Kind::none;
  std::size_t rows_ = 0;
  std::size_t cols_ = 0;
};

}  // namespace kvant
