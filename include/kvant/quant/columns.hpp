// SPDX-License-Identifier: Apache-2.0
// Coding a matrix column after column, as methods do that put a column's rounding error into the columns that come
// after it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kvant/core/contract.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/quant/choose.hpp"
#include "kvant/quant/format_grid.hpp"
#include "kvant/quant/nested_scales.hpp"
#include "kvant/quant/qmatrix.hpp"

namespace kvant {

/// Codes columns of some rows of a matrix under the numbers that it has. Workers that share a matrix take whole runs of
/// rows each, which begin at multiples of kRows where the matrix has more than that.
class ColumnCoder {
 public:
  /// Rows that a format may code jointly.
  static constexpr std::size_t kRows = 256;

  /// Of the rows [first, first + count) of q, which outlives this.
  ColumnCoder(QMatrix& q, std::size_t first, std::size_t count, const Context& context = {})
      : q_(&q),
        grid_(q.scheme.format, context.kernels()),
        first_(first),
        shifted_(q.offsets.empty() ? 0 : count),
        codes_(count),
        scales_(count),
        offsets_(q.offsets.empty() ? 0 : count),
        zeros_(q.zero_points.empty() ? 0 : count) {
    expects(first <= q.rows && count <= q.rows - first, "rows of the matrix");
  }

  [[nodiscard]] const FormatGrid& grid() const noexcept { return grid_; }

  /// Codes stored column c: `x` has an element for each row, `value` gets what the codes stand for, and so does q.
  /// `weights`: what an error in each row counts for, or empty. A format whose codes depend on each other may code rows
  /// jointly and column after column, each of them once, so columns come in ascending order and each of them once.
  /// Contract: the spans have as many elements as there are rows; all of x is finite, and the thread rounds to nearest
  /// (DefaultFpEnvironment).
  void encode(std::size_t c, std::span<const float> x, std::span<const float> weights, std::span<float> value) {
    expects(c < q_->cols && x.size() == codes_.size() && value.size() == x.size(), "a column of these rows");
    static_cast<void>(weights);  // each element of today's formats has a nearest code, whatever it weighs
    const std::size_t group = c / q_->scheme.granularity.block_cols(q_->cols);
    if (group != group_) load(group);
    const kernels::GroupScales scales = column_scales();
    kernels::GroupScales unshifted = scales;
    unshifted.offsets = {};
    for (std::size_t i = 0; i < shifted_.size(); ++i) shifted_[i] = x[i] + offsets_[i];
    grid_.encode(shifted_.empty() ? x : shifted_, unshifted, codes_);
    grid_.decode(codes_, scales, value);
    std::uint8_t* out = q_->codes.data() + first_ * q_->cols + c;
    for (std::size_t i = 0; i < codes_.size(); ++i, out += q_->cols) *out = codes_[i];
  }

  /// To be called where q's numbers were changed, other than by choose_group() before their first column.
  void reload() noexcept { group_ = kNone; }

 private:
  static constexpr std::size_t kNone = static_cast<std::size_t>(-1);

  void load(std::size_t group) {
    const std::size_t block_rows = q_->scheme.granularity.block_rows(q_->rows);
    const std::size_t width = q_->scheme.granularity.block_cols(q_->cols);
    detail::column_numbers(q_->scheme.scales, q_->scales, block_rows, first_, group, width, q_->reciprocal, scales_);
    if (!offsets_.empty())
      detail::column_numbers(*q_->scheme.offsets, q_->offsets, block_rows, first_, group, width, true, offsets_);
    for (std::size_t i = 0; i < zeros_.size(); ++i)
      zeros_[i] = q_->zero_points[(first_ + i) / block_rows * q_->scales[0].cols + group];
    group_ = group;
  }
  /// A scale for each row.
  [[nodiscard]] kernels::GroupScales column_scales() const noexcept {
    kernels::GroupScales scales{{scales_.data()}, zeros_.empty() ? nullptr : zeros_.data(), 1};
    if (!offsets_.empty()) scales.offsets.stored = offsets_.data();
    return scales;
  }

  QMatrix* q_;
  FormatGrid grid_;
  std::size_t first_;
  std::size_t group_ = kNone;
  std::vector<float> shifted_;
  std::vector<std::uint8_t> codes_;
  std::vector<float> scales_, offsets_;
  std::vector<std::int16_t> zeros_;
};

/// Chooses the numbers of group `group` of row r anew, from x as it is now: its elements in stored order, of which
/// `weights` says what an error counts for, or is empty. How many numbers were clamped. Contract:
/// scheme.has_free_groups(), `grid` is of q's scheme (under its matrix-wide scale, where it has one), and that of
/// choose_searched().
inline std::size_t choose_group(QMatrix& q, const Grid& grid, std::size_t r, std::size_t group,
                                std::span<const float> x, std::span<const float> weights, bool search = true,
                                PowerRule rule = PowerRule::floor) {
  expects(q.scheme.has_free_groups(), "groups that may be chosen by themselves");
  const std::size_t index = r * q.scales[0].cols + group;
  if (q.scheme.offsets) {
    detail::GroupElements elements;
    elements.x = x;
    elements.w = weights;
    const detail::NestedScales chosen = choose_nested_scales(grid, {&elements, 1}, search);
    q.scales[0].values[index] = chosen.scales.inner[0];
    q.offsets[0].values[index] = chosen.offsets.inner[0];
    return chosen.clamped ? 1 : 0;
  }
  const GroupParameters p =
      search || grid.format().has_signs_only() ? choose_searched(grid, x, weights, rule) : choose_plain(grid, x, rule);
  q.scales[0].values[index] = p.stored;
  if (!q.zero_points.empty()) q.zero_points[index] = static_cast<std::int16_t>(p.zero);
  return p.clamped ? 1 : 0;
}

}  // namespace kvant
