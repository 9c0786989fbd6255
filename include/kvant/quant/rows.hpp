// SPDX-License-Identifier: Apache-2.0
// Some rows of a quantized matrix as a matrix of their own, as one expert's of a stack: codes and scales are copied,
// nothing is rounded again.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "kvant/core/contract.hpp"
#include "kvant/core/error.hpp"
#include "kvant/quant/number_stack.hpp"
#include "kvant/quant/qmatrix.hpp"
#include "kvant/quant/scheme_text.hpp"

namespace kvant {

namespace detail {

/// Whether pieces of `size`, counted from `first` on, lie within pieces that are counted from 0 on.
[[nodiscard]] constexpr bool keeps_pieces(std::size_t size, std::size_t first, std::size_t count) noexcept {
  return first % size == 0 || first % size + count <= size;
}

/// The numbers of a level that rows [first, first + count) of a matrix have; `from` is the number of the first of them
/// in row-major order.
inline ScaleLevel part_of(const ScaleLevel& level, ScaleLevel shape, std::size_t from) {
  const auto begin = level.values.begin() + static_cast<std::ptrdiff_t>(from);
  shape.values.assign(begin, begin + static_cast<std::ptrdiff_t>(shape.rows * shape.cols));
  return shape;
}

/// The levels of a stack for rows [first, first + count) of a rows x cols matrix.
inline std::vector<ScaleLevel> levels_of_rows(const NumberStack& stack, const Granularity& granularity,
                                              const std::vector<ScaleLevel>& levels, std::size_t rows, std::size_t cols,
                                              std::size_t first, std::size_t count) {
  std::vector<ScaleLevel> parts;
  if (levels.empty()) return parts;
  std::vector<ScaleLevel> shapes = level_shapes(stack, granularity, count, cols);
  const std::size_t inner = first / granularity.block_rows(rows) * levels[0].cols;
  parts.push_back(part_of(levels[0], std::move(shapes[0]), inner));
  if (!stack.outer) return parts;
  const Coverage& c = stack.outer->covers;
  const std::size_t outer = c.run != 0 ? inner / c.run : c.rows != 0 ? first / c.rows * levels[1].cols : 0;
  parts.push_back(part_of(levels[1], std::move(shapes[1]), outer));
  if (shapes.size() > 2) parts.push_back(levels[2]);  // the mean
  return parts;
}

}  // namespace detail

/// Whether rows [first, first + count) of a rows x cols matrix can stand by themselves: unless an edge runs through
/// rows, or a run of scales, that share a number. Contract: the matrix has these rows. Errors: unsupported.
[[nodiscard]] inline Status check_rows(const Scheme& scheme, std::size_t rows, std::size_t cols, std::size_t first,
                                       std::size_t count) {
  expects(first <= rows && count <= rows - first, "row range within the matrix");
  const std::size_t height = scheme.granularity.block_rows(rows);
  const auto cut = [&](const NumberStack& stack) {
    if (!stack.outer) return false;
    const Coverage& c = stack.outer->covers;
    const std::size_t groups = scheme.granularity.scale_cols(cols);
    if (c.run != 0) return !detail::keeps_pieces(c.run, first / height * groups, ceil_div(count, height) * groups);
    return c.rows != 0 && !detail::keeps_pieces(c.rows, first, count);
  };
  if (detail::keeps_pieces(height, first, count) && !cut(scheme.scales) && !(scheme.offsets && cut(*scheme.offsets)))
    return {};
  return fail(ErrorCode::unsupported, "rows " + std::to_string(first) + " to " + std::to_string(first + count) +
                                          " share scales of " + to_text(scheme) + " with rows beside them");
}

/// Rows [first, first + count) of a matrix. Contract: it has them, and check() accepts it. Errors: those of
/// check_rows().
[[nodiscard]] inline Result<QMatrix> rows_of(const QMatrix& q, std::size_t first, std::size_t count) {
  if (const Status ok = check_rows(q.scheme, q.rows, q.cols, first, count); !ok) return propagate(ok);
  QMatrix out;
  out.rows = count;
  out.cols = q.cols;
  out.scheme = q.scheme;
  out.columns = q.columns;
  out.reciprocal = q.reciprocal;
  const auto codes = q.codes.begin() + static_cast<std::ptrdiff_t>(first * q.cols);
  out.codes.assign(codes, codes + static_cast<std::ptrdiff_t>(count * q.cols));
  const Granularity& g = q.scheme.granularity;
  out.scales = detail::levels_of_rows(q.scheme.scales, g, q.scales, q.rows, q.cols, first, count);
  if (!q.zero_points.empty()) {
    const auto zeros =
        q.zero_points.begin() + static_cast<std::ptrdiff_t>(first / g.block_rows(q.rows) * q.scales[0].cols);
    out.zero_points.assign(zeros, zeros + static_cast<std::ptrdiff_t>(out.scales[0].values.size()));
  }
  if (q.scheme.offsets)
    out.offsets = detail::levels_of_rows(*q.scheme.offsets, g, q.offsets, q.rows, q.cols, first, count);
  return out;
}

}  // namespace kvant
