// SPDX-License-Identifier: Apache-2.0
// Quantizing and dequantizing a matrix: the one implementation behind the templated and the run-time entry.
//
//   auto q = kvant::quantize<kvant::int4>(weight.view(), kvant::PerGroup{128});
//   kvant::Matrix<float> back = kvant::dequantize(*q);
#pragma once

#include <cstddef>
#include <span>

#include "kvant/core/error.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/quant/bands.hpp"
#include "kvant/quant/choose_scales.hpp"
#include "kvant/quant/format_grid.hpp"
#include "kvant/quant/qmatrix.hpp"
#include "kvant/quant/scheme.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant {

namespace detail {

inline void encode_band(const FormatGrid& grid, const Band& band, QMatrix& q) {
  for (std::size_t r = 0; r < band.weight.rows(); ++r) {
    const std::size_t row = band.first_row + r;
    for_each_stretch(q, row, [&](std::size_t first, std::size_t n, const kernels::GroupScales& scales) {
      grid.encode(band.weight.row(r).subspan(first, n), scales, std::span(q.codes).subspan(row * q.cols + first, n));
    });
  }
}

/// Numbers and codes of one band, where they do not wait for all numbers. How many numbers were clamped.
inline Result<std::size_t> quantize_band(const Grid& grid, Band band, const QuantizeOptions& options, QMatrix& q) {
  Matrix<float> cleaned;
  auto clamped = choose_for_band(grid, band, cleaned, options, q);
  if (clamped) encode_band(grid, band, q);
  return clamped;
}

}  // namespace detail

/// Gives each weight the code nearest to it under the numbers that q has. NaN and Inf are treated by `nonfinite` as
/// quantize() does. Errors: bad_shape (the weight is not of q's shape), unsupported (q's columns are in another order),
/// nonfinite.
[[nodiscard]] inline Status encode(QMatrix& q, MatrixView<const float> weight, NonFinite nonfinite = NonFinite::error,
                                   const Context& context = {}) {
  if (weight.rows() != q.rows || weight.cols() != q.cols)
    return fail(ErrorCode::bad_shape, "a weight of " + std::to_string(weight.rows()) + " x " +
                                          std::to_string(weight.cols()) + ", expected " + std::to_string(q.rows) +
                                          " x " + std::to_string(q.cols));
  if (!q.columns.empty())
    return fail(ErrorCode::unsupported, "the columns of a quantized matrix are not in their own order");
  const FormatGrid grid(q.scheme.format, context.kernels());
  FirstFailure failed;
  const auto run = [&](std::size_t b) -> Status {
    Matrix<float> cleaned;
    detail::Band band = detail::band_at(weight, q.scheme.granularity, b);
    if (const Status admitted = detail::admit(band, nonfinite, cleaned); !admitted) return admitted;
    detail::encode_band(grid, band, q);
    return {};
  };
  context.for_each(q.scales[0].rows, [&](std::size_t b) {
    if (!run(b)) failed.report(b);
  });
  return failed.any() ? run(failed.task()) : Status{};
}

/// Quantizes a weight [out_features, in_features]: choose_scales() and encode(), band by band. The result does not
/// depend on the context. A scale beyond its storage type becomes the largest there is, which is no error:
/// QMatrix::clamped_scales counts them. Errors: `bad_scheme` where the scheme is a cast or its parts do not fit,
/// `bad_shape` where there is not one column weight for each column, `usage` where one is negative or not finite,
/// `nonfinite` by policy.
[[nodiscard]] inline Result<QMatrix> quantize(MatrixView<const float> weight, const Scheme& scheme,
                                              const QuantizeOptions& options = {}, const Context& context = {}) {
  auto q = detail::choose_bands(
      weight, scheme, options, context,
      [](const Grid& grid, const detail::Band& band, QMatrix& matrix) { detail::encode_band(grid, band, matrix); });
  if (q && scheme.scales.op == ScaleOp::affine)
    if (const Status ok = encode(*q, weight, options.nonfinite, context); !ok) return propagate(ok);
  return q;
}

/// `quantize<int4>(view, PerGroup{128})`: the format as a type, everything else as above.
template <Format F>
requires(F::kBits <= 8)
    [[nodiscard]] Result<QMatrix> quantize(MatrixView<const float> weight, Granularity granularity,
                                           Symmetry symmetry = Symmetry::symmetric, const QuantizeOptions& options = {},
                                           const Context& context = {}) {
  return quantize(weight, Scheme{format_id<F>, granularity, symmetry, {}, {}}, options, context);
}

/// The values that rows of a quantized matrix stand for: exactly what a file of it dequantizes to. Contract: there are
/// `count` rows from `first` on.
[[nodiscard]] inline Matrix<float> dequantize_rows(const QMatrix& q, std::size_t first, std::size_t count,
                                                   const Context& context = {}) {
  Matrix<float> out(count, q.cols);
  const Grid grid(q.scheme, context.kernels());
  context.for_each(count, [&](std::size_t r) { dequantize_row(q, grid, first + r, out.row(r)); });
  return out;
}
/// The same for all rows.
[[nodiscard]] inline Matrix<float> dequantize(const QMatrix& q, const Context& context = {}) {
  return dequantize_rows(q, 0, q.rows, context);
}

}  // namespace kvant
