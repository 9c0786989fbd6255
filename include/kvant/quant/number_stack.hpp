// SPDX-License-Identifier: Apache-2.0
// How the numbers of groups are stored: scales, and the offsets of formats that have them. A number is stored as it is,
// or as a small one under a level above it that many groups share. Every nesting of scales is such a value; quantizing,
// files, packing and reports read it.
#pragma once

#include <cmath>
#include <cstddef>
#include <optional>
#include <span>
#include <vector>

#include "kvant/core/checked.hpp"
#include "kvant/kernels/kernels.hpp"
#include "kvant/numeric/formats.hpp"
#include "kvant/quant/granularity.hpp"

namespace kvant {

using kernels::ScaleOp;

/// What one number of an outer level covers.
struct Coverage {
  std::size_t rows = 0;  ///< of weights; 0: all
  std::size_t cols = 0;  ///< likewise, a multiple of the group
  std::size_t run = 0;   ///< where not 0: so many inner numbers in row-major order; rows and cols do not count
  friend constexpr bool operator==(const Coverage&, const Coverage&) = default;
};

struct OuterLevel {
  FormatId type;
  Coverage covers{};
  friend constexpr bool operator==(const OuterLevel&, const OuterLevel&) = default;
};

/// A group's number is `inner`; under an outer level inner * outer, inner / outer or fma(inner, outer, mean), by `op`,
/// with one fp32 mean for the matrix.
struct NumberStack {
  FormatId inner = format_id<fp16>;
  std::optional<OuterLevel> outer{};
  ScaleOp op = ScaleOp::product;

  /// Whether something is stored once for the whole matrix.
  [[nodiscard]] constexpr bool spans_matrix() const noexcept {
    return outer && (outer->covers.run != 0 || outer->covers.rows == 0);
  }
  /// Whether that is one number of a product or quotient.
  [[nodiscard]] constexpr bool has_matrix_number() const noexcept {
    return outer && outer->covers == Coverage{} && op != ScaleOp::affine;
  }
  /// Whether the outer numbers belong to rows.
  [[nodiscard]] constexpr bool is_nested_in_rows() const noexcept { return outer && !spans_matrix(); }
  /// What a group's number is rounded to by itself: the inner type where all above it is known, the outer one where
  /// inner numbers are small integers under it, and none where both come of all numbers.
  [[nodiscard]] constexpr FormatId chosen_type() const noexcept {
    return op == ScaleOp::affine ? format_id<fp32> : is_nested_in_rows() ? outer->type : inner;
  }
  friend constexpr bool operator==(const NumberStack&, const NumberStack&) = default;
};

/// One level of numbers: a matrix of values, each already rounded to `type`.
struct ScaleLevel {
  FormatId type = format_id<fp16>;
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::vector<float> values;
};

/// The levels of a stack for a rows x cols matrix of weights, the inner one first, without values: one row and column
/// of inner numbers for each of groups.
[[nodiscard]] inline std::vector<ScaleLevel> level_shapes(const NumberStack& stack, const Granularity& granularity,
                                                          std::size_t rows, std::size_t cols) {
  std::vector<ScaleLevel> levels{{stack.inner, granularity.scale_rows(rows), granularity.scale_cols(cols), {}}};
  if (!stack.outer) return levels;
  const Coverage& c = stack.outer->covers;
  if (c.run != 0)
    levels.push_back({stack.outer->type, 1, ceil_div(levels[0].rows * levels[0].cols, c.run), {}});
  else
    levels.push_back(
        {stack.outer->type, c.rows != 0 ? ceil_div(rows, c.rows) : 1, c.cols != 0 ? ceil_div(cols, c.cols) : 1, {}});
  if (stack.op == ScaleOp::affine) levels.push_back({format_id<fp32>, 1, 1, {}});
  return levels;
}

/// The same without the inner one.
[[nodiscard]] inline std::vector<ScaleLevel> outer_level_shapes(const NumberStack& stack,
                                                                const Granularity& granularity, std::size_t rows,
                                                                std::size_t cols) {
  std::vector<ScaleLevel> levels = level_shapes(stack, granularity, rows, cols);
  levels.erase(levels.begin());
  return levels;
}

/// Bits that the levels take, without a file's padding.
[[nodiscard]] constexpr std::uint64_t stored_bits(const NumberStack& stack, const Granularity& granularity,
                                                  std::uint64_t rows, std::uint64_t cols) noexcept {
  const std::uint64_t numbers = granularity.scale_rows(rows) * granularity.scale_cols(cols);
  std::uint64_t bits = numbers * format_info(stack.inner).bits;
  if (!stack.outer) return bits;
  const Coverage& c = stack.outer->covers;
  const std::uint64_t outer = c.run != 0 ? ceil_div(numbers, std::uint64_t{c.run})
                                         : (c.rows != 0 ? ceil_div(rows, std::uint64_t{c.rows}) : 1) *
                                               (c.cols != 0 ? ceil_div(cols, std::uint64_t{c.cols}) : 1);
  return bits + outer * format_info(stack.outer->type).bits + (stack.op == ScaleOp::affine ? 32 : 0);
}

namespace detail {

/// Where the outer number lies that covers a group, and for how many groups of its row.
struct OuterPlace {
  std::size_t index;
  std::size_t groups;
};
/// Of group `group` of row `row`, which is number `index` of `inner`. Contract: the stack has an outer level.
[[nodiscard]] constexpr OuterPlace outer_place(const Coverage& c, const ScaleLevel& inner, const ScaleLevel& outer,
                                               std::size_t index, std::size_t row, std::size_t group,
                                               std::size_t width) noexcept {
  if (c.run != 0) return {index / c.run, c.run - index % c.run};
  const std::size_t line = (c.rows != 0 ? row / c.rows : 0) * outer.cols;
  if (c.cols == 0 || outer.cols <= 1) return {line, inner.cols - group};
  const std::size_t per_outer = c.cols / width;
  return {line + group / per_outer, per_outer - group % per_outer};
}

/// The numbers of a row of groups from one on, as kernels take them, and for how many groups they go on like that.
struct NumberRun {
  kernels::GroupNumbers numbers;
  std::size_t groups;
};
/// `divides`: whether a quotient is one; otherwise it is the product.
[[nodiscard]] inline NumberRun number_run(const NumberStack& stack, const std::vector<ScaleLevel>& levels,
                                          std::size_t index, std::size_t row, std::size_t group, std::size_t width,
                                          bool divides) noexcept {
  const ScaleLevel& inner = levels[0];
  NumberRun run{{&inner.values[index]}, inner.cols - group};
  if (!stack.outer) return run;
  const OuterPlace at = outer_place(stack.outer->covers, inner, levels[1], index, row, group, width);
  run.numbers.op = stack.op == ScaleOp::quotient && !divides ? ScaleOp::product : stack.op;
  run.numbers.factor = levels[1].values[at.index];
  if (stack.op == ScaleOp::affine) run.numbers.addend = levels[2].values[0];
  run.groups = at.groups < run.groups ? at.groups : run.groups;
  return run;
}

/// The numbers of group `group` of rows first, first + 1, …: out.size() of them. What number_run() says of each,
/// without its divisions.
inline void column_numbers(const NumberStack& stack, const std::vector<ScaleLevel>& levels, std::size_t block_rows,
                           std::size_t first, std::size_t group, std::size_t width, bool divides,
                           std::span<float> out) {
  const ScaleLevel& inner = levels[0];
  const auto index = [&](std::size_t row) { return (block_rows == 1 ? row : row / block_rows) * inner.cols + group; };
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = inner.values[index(first + i)];
  if (!stack.outer) return;
  const Coverage& c = stack.outer->covers;
  const ScaleLevel& outer = levels[1];
  const std::size_t column = c.cols == 0 || outer.cols <= 1 ? 0 : group / (c.cols / width);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const std::size_t row = first + i;
    const std::size_t at =
        c.run != 0 ? index(row) / c.run : (c.rows <= 1 ? row * c.rows : row / c.rows) * outer.cols + column;
    const float factor = outer.values[at];
    if (stack.op == ScaleOp::affine)
      out[i] = std::fma(out[i], factor, levels[2].values[0]);
    else
      out[i] = stack.op == ScaleOp::quotient && divides ? divide(out[i], factor) : out[i] * factor;
  }
}

/// The inner number that `number` was made of. Where the outer one vanishes, or vanishes beside the mean, several mean
/// the same, and this is one of them.
[[nodiscard]] inline float inner_number(const FormatInfo& type, const kernels::GroupNumbers& n, float number) noexcept {
  if (n.op == ScaleOp::product && order_key(n.factor) == order_key(1.0f)) return number;
  if (order_key(n.factor) == 0) return 0.0f;
  const float inner = n.op == ScaleOp::quotient ? number * n.factor : divide(number - n.addend, n.factor);
  return type.decode(type.encode(inner));
}

}  // namespace detail

}  // namespace kvant
