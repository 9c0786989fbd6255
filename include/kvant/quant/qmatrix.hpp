// SPDX-License-Identifier: Apache-2.0
// A quantized matrix: codes, scales, zero points. What every method produces, every file stores, every kernel packs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kvant/core/checked.hpp"
#include "kvant/core/contract.hpp"
#include "kvant/quant/grid.hpp"
#include "kvant/quant/scheme.hpp"

namespace kvant {

/// One level of scales: a matrix of values, each already rounded to `type`. An element's scale is the product of its
/// levels' values; a level covers blocks of ceil(rows / this->rows) x ceil(cols / this->cols) elements or scales.
struct ScaleLevel {
  FormatId type = format_id<fp16>;
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::vector<float> values;
};

/// rows x cols codes under a scheme. value(r, c) = scale(r, c) * (level(code(r, c)) - zero(r, c)).
struct QMatrix {
  std::size_t rows = 0;
  std::size_t cols = 0;
  Scheme scheme;
  std::vector<std::uint8_t> codes;        ///< one code per byte, row-major
  std::vector<ScaleLevel> scales;         ///< finest first, one to three levels
  std::vector<std::int16_t> zero_points;  ///< shaped as scales[0], asymmetric schemes only
  std::size_t clamped_scales = 0;         ///< scales that were beyond their storage type

  [[nodiscard]] std::span<const std::uint8_t> row_codes(std::size_t r) const {
    return std::span(codes).subspan(r * cols, cols);
  }
  /// Scale and zero point of the group that element (r, group * block_cols) belongs to.
  [[nodiscard]] GroupParameters parameters(std::size_t r, std::size_t group) const {
    const std::size_t index = r / scheme.granularity.block_rows(rows) * scales[0].cols + group;
    return {scales[0].values[index], zero_points.empty() ? 0 : zero_points[index], false};
  }
};

/// Values of row r: `out` has as many elements as the matrix has columns.
inline void dequantize_row(const QMatrix& q, const Grid& grid, std::size_t r, std::span<float> out) {
  expects(out.size() == q.cols && r < q.rows, "a row of the matrix");
  const std::size_t width = q.scheme.granularity.block_cols(q.cols);
  for (std::size_t c = 0; c < q.cols; c += width) {
    const std::size_t n = q.cols - c < width ? q.cols - c : width;
    grid.decode(q.row_codes(r).subspan(c, n), q.parameters(r, c / width), out.subspan(c, n));
  }
}

/// Bits that a rows x cols matrix takes under `scheme`: codes, scales and zero points (at the format's width), without
/// a file's padding.
[[nodiscard]] constexpr std::uint64_t stored_bits(const Scheme& scheme, std::uint64_t rows,
                                                  std::uint64_t cols) noexcept {
  std::uint64_t bits = rows * cols * scheme.info().bits;
  if (scheme.is_cast()) return bits;
  const std::uint64_t scales = scheme.granularity.scale_rows(rows) * scheme.granularity.scale_cols(cols);
  bits += scales * format_info(scheme.scale_type).bits;
  if (scheme.symmetry == Symmetry::asymmetric) bits += scales * scheme.info().bits;
  return bits;
}

}  // namespace kvant
