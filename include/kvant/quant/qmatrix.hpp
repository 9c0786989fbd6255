// SPDX-License-Identifier: Apache-2.0
// A quantized matrix: codes, scales, zero points. What every method produces, every file stores, every kernel packs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kvant/core/checked.hpp"
#include "kvant/core/contract.hpp"
#include "kvant/kernels/generic.hpp"
#include "kvant/quant/grid.hpp"
#include "kvant/quant/integer_scale_rule.hpp"
#include "kvant/quant/scheme.hpp"

namespace kvant {

/// Double quantization: scales that share a step.
inline constexpr std::size_t kScalesPerStep = 256;

/// One level of scales: a matrix of values, each already rounded to `type`.
struct ScaleLevel {
  FormatId type = format_id<fp16>;
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::vector<float> values;
};

/// What the finest level of a scheme's scales holds. Integer scales fit into 4 bits.
[[nodiscard]] constexpr FormatId finest_scale_type(const Scheme& scheme) noexcept {
  switch (scheme.nesting) {
    case ScaleNesting::double_quant:
      return format_id<int8>;
    case ScaleNesting::integer:
      return format_id<uint4>;
    default:
      return scheme.scale_type;
  }
}

/// rows x cols codes under a scheme. value(r, c) = scale(r, c) * (level(code(r, c)) - zero(r, c)), where the scale of a
/// group with the number s at the finest level is, by the scheme's nesting,
///   none          s
///   double_quant  fma(s, step, mean): s is an int8, `scales[1]` has one step for each 256 groups in row-major order,
///                 `scales[2]` the mean
///   per_tensor    s * g, or s / g where the matrix is `reciprocal`; `scales[1]` is g
///   integer       S * s; `scales[1]` has one S for each row, or each 2048 columns of it
struct QMatrix {
  std::size_t rows = 0;
  std::size_t cols = 0;
  Scheme scheme;
  std::vector<std::uint8_t> codes;        ///< one code per byte, row-major
  std::vector<ScaleLevel> scales;         ///< finest first, one to three levels
  std::vector<std::int16_t> zero_points;  ///< shaped as scales[0]; asymmetric and integer-scaled schemes only
  std::size_t clamped_scales = 0;         ///< scales that were beyond their storage type
  bool reciprocal = false;                ///< per_tensor: scales[1] divides

  [[nodiscard]] std::span<const std::uint8_t> row_codes(std::size_t r) const {
    return std::span(codes).subspan(r * cols, cols);
  }
  /// Scale and zero point of the group that element (r, group * block_cols) belongs to.
  [[nodiscard]] GroupParameters parameters(std::size_t r, std::size_t group) const {
    const Stretch s = stretch(r, group);
    const float stored = *s.scales.stored;
    return {kernels::generic::group_scale(s.scales, stored), s.scales.zeros != nullptr ? *s.scales.zeros : 0, false,
            stored};
  }

  /// The scales of row r from a group on, as kernels take them, and for how many groups they go on like that.
  struct Stretch {
    kernels::GroupScales scales;
    std::size_t groups;
  };
  [[nodiscard]] Stretch stretch(std::size_t r, std::size_t group) const {
    const std::size_t index = r / scheme.granularity.block_rows(rows) * scales[0].cols + group;
    Stretch s{{&scales[0].values[index], zero_points.empty() ? nullptr : &zero_points[index],
               scheme.granularity.block_cols(cols), kernels::ScaleOp::product, 1.0f, 0.0f},
              scales[0].cols - group};
    const auto limit = [&s](std::size_t groups) { s.groups = groups < s.groups ? groups : s.groups; };
    switch (scheme.nesting) {
      case ScaleNesting::none:
        break;
      case ScaleNesting::double_quant:
        s.scales.op = kernels::ScaleOp::affine;
        s.scales.factor = scales[1].values[index / kScalesPerStep];
        s.scales.addend = scales[2].values[0];
        limit(kScalesPerStep - index % kScalesPerStep);
        break;
      case ScaleNesting::per_tensor:
        s.scales.op = reciprocal ? kernels::ScaleOp::quotient : kernels::ScaleOp::product;
        s.scales.factor = scales[1].values[0];
        break;
      case ScaleNesting::integer: {
        const std::size_t per_super = kSuperScaleColumns / s.scales.group;
        s.scales.factor = scales[1].values[r * scales[1].cols + group / per_super];
        limit(per_super - group % per_super);
        break;
      }
    }
    return s;
  }
};

/// Calls body(first column, number of columns, their scales) for each stretch of row r.
template <class Body>
void for_each_stretch(const QMatrix& q, std::size_t r, Body body) {
  const std::size_t width = q.scheme.granularity.block_cols(q.cols);
  for (std::size_t c = 0; c < q.cols;) {
    const QMatrix::Stretch s = q.stretch(r, c / width);
    const std::size_t n = s.groups * width < q.cols - c ? s.groups * width : q.cols - c;
    body(c, n, s.scales);
    c += n;
  }
}

/// Values of row r: `out` has as many elements as the matrix has columns.
inline void dequantize_row(const QMatrix& q, const Grid& grid, std::size_t r, std::span<float> out) {
  expects(out.size() == q.cols && r < q.rows, "a row of the matrix");
  for_each_stretch(q, r, [&](std::size_t first, std::size_t n, const kernels::GroupScales& scales) {
    grid.decode(q.row_codes(r).subspan(first, n), scales, out.subspan(first, n));
  });
}

/// Bits that a rows x cols matrix takes under `scheme`: codes, scales and zero points (at the format's width), without
/// a file's padding.
[[nodiscard]] constexpr std::uint64_t stored_bits(const Scheme& scheme, std::uint64_t rows,
                                                  std::uint64_t cols) noexcept {
  const std::uint64_t codes = rows * cols * scheme.info().bits;
  if (scheme.is_cast()) return codes;
  const std::uint64_t scales = scheme.granularity.scale_rows(rows) * scheme.granularity.scale_cols(cols);
  const std::uint64_t zeros = scheme.symmetry == Symmetry::asymmetric ? scales * scheme.info().bits : 0;
  const std::uint64_t each = format_info(scheme.scale_type).bits;
  switch (scheme.nesting) {
    case ScaleNesting::none:
      break;
    case ScaleNesting::double_quant:
      return codes + zeros + scales * 8 + (ceil_div(scales, std::uint64_t{kScalesPerStep}) + 1) * 32;
    case ScaleNesting::per_tensor:
      return codes + zeros + scales * each + 32;
    case ScaleNesting::integer:
      return codes + scales * integer_scale_rule(scheme).record_bits +
             rows * ceil_div(cols, std::uint64_t{kSuperScaleColumns}) * each;
  }
  return codes + zeros + scales * each;
}

}  // namespace kvant
