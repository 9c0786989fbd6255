// SPDX-License-Identifier: Apache-2.0
// Quantizing and dequantizing a matrix: the one implementation behind the templated and the run-time entry.
//
//   auto q = kvant::quantize<kvant::int4>(weight.view(), kvant::PerGroup{128});
//   kvant::Matrix<float> back = kvant::dequantize(*q);
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
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

namespace detail {

/// Rows of 16-bit floats as floats, made quiet.
inline Matrix<float> widened(MatrixView<const std::uint16_t> w, FormatId format, const Context& context) {
  Matrix<float> out(w.rows(), w.cols());
  const auto widen = format == format_id<bf16> ? context.kernels().widen_bf16 : context.kernels().widen_fp16;
  context.for_each(w.rows(), [&](std::size_t r) noexcept { widen({w.row(r).data(), w.cols(), out.row(r).data()}); });
  return out;
}

/// Puts the rows of `band` where those of q from `first` on are. Contract: whole bands of one scheme, each number of
/// which belongs to rows, or is the same for all.
inline void place_rows(QMatrix& q, std::size_t first, const QMatrix& band) {
  const auto put = [](auto& all, std::size_t at, const auto& some) {
    std::copy(some.begin(), some.end(), all.begin() + static_cast<std::ptrdiff_t>(at));
  };
  put(q.codes, first * q.cols, band.codes);
  const std::size_t scale_row = first / q.scheme.granularity.block_rows(q.rows);
  const auto put_levels = [&](std::vector<ScaleLevel>& levels, const std::vector<ScaleLevel>& some) {
    put(levels[0].values, scale_row * levels[0].cols, some[0].values);
    for (std::size_t i = 1; i < levels.size(); ++i)
      put(levels[i].values, levels[i].rows == q.rows ? first * levels[i].cols : 0, some[i].values);
  };
  put_levels(q.scales, band.scales);
  if (!q.offsets.empty()) put_levels(q.offsets, band.offsets);
  if (!q.zero_points.empty()) put(q.zero_points, scale_row * q.scales[0].cols, band.zero_points);
  q.clamped_scales += band.clamped_scales;
  q.reciprocal = band.reciprocal;
}

/// The largest finite magnitude, of some rows at a time.
inline float largest_magnitude(MatrixView<const std::uint16_t> w, FormatId format, std::size_t step,
                               const Context& context) {
  float most = 0.0f;
  for (std::size_t first = 0; first < w.rows(); first += step) {
    const Matrix<float> some = widened(w.rows(first, std::min(step, w.rows() - first)), format, context);
    for (std::size_t i = 0; i < some.size(); ++i)
      if (is_finite(some.data()[i]) && magnitude(some.data()[i]) > most) most = magnitude(some.data()[i]);
  }
  return most;
}

}  // namespace detail

/// Quantizes a weight of 16-bit floats, as checkpoints mostly have them, as if it were widened first. Memory holds no
/// more of it as floats than some rows, unless something is stored once for the whole matrix (but for NVFP4's global
/// scale). Errors: as above; usage (`format` is neither bf16 nor fp16).
[[nodiscard]] inline Result<QMatrix> quantize(MatrixView<const std::uint16_t> weight, FormatId format,
                                              const Scheme& scheme, const QuantizeOptions& options = {},
                                              const Context& context = {}) {
  if (format != format_id<bf16> && format != format_id<fp16>)
    return fail(ErrorCode::usage, "16-bit weights are bf16 or fp16");
  constexpr std::size_t kElements = std::size_t{1} << 22;
  const std::size_t block = scheme.granularity.block_rows(weight.rows());
  const std::size_t step =
      std::max<std::size_t>(kElements / std::max<std::size_t>(weight.cols(), 1) / block, 1) * block;
  const bool whole = scheme.spans_matrix() && !scheme.scales.has_matrix_number();
  if (whole || step >= weight.rows())
    return quantize(detail::widened(weight, format, context).view(), scheme, options, context);
  QuantizeOptions each = options;
  if (scheme.scales.has_matrix_number() && !(options.shared_amax > 0.0f) && !(options.matrix_scale > 0.0f))
    each.shared_amax = detail::largest_magnitude(weight, format, step, context);
  QMatrix q = detail::empty_qmatrix(weight.rows(), weight.cols(), scheme);
  for (std::size_t first = 0; first < weight.rows(); first += step) {
    const std::size_t rows = std::min(step, weight.rows() - first);
    const auto band =
        quantize(detail::widened(weight.rows(first, rows), format, context).view(), scheme, each, context);
    if (!band && band.error().code == ErrorCode::nonfinite)  // the row's number is the whole matrix's
      return propagate(detail::check_finite(detail::widened(weight.rows(first, rows), format, context).view(), first));
    if (!band) return propagate(band);
    detail::place_rows(q, first, *band);
  }
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
