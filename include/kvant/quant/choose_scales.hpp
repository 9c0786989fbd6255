// SPDX-License-Identifier: Apache-2.0
// Choosing all numbers of a matrix: scales, zero points and offsets, for each band of rows that share them. Codes come
// after: encode.hpp.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/core/first_failure.hpp"
#include "kvant/core/fp_environment.hpp"
#include "kvant/core/number_text.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/quant/bands.hpp"
#include "kvant/quant/choose.hpp"
#include "kvant/quant/grid.hpp"
#include "kvant/quant/integer_scales.hpp"
#include "kvant/quant/nested_scales.hpp"
#include "kvant/quant/qmatrix.hpp"
#include "kvant/quant/scheme.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant {

/// Which published rule two-level scales follow where there are several.
enum class ScaleConvention : std::uint8_t {
  compressed_tensors,  ///< NVFP4: value = code * (scale / global), global = 448 * 6 / amax
  modelopt,  ///< NVFP4: value = code * (scale * global), global = amax / (448 * 6); a block of zeros has scale 1
};

struct QuantizeOptions {
  bool search = false;  ///< search each scale for the least squared error instead of taking the plain one
  NonFinite nonfinite = NonFinite::error;
  PowerRule power_rule = PowerRule::floor;  ///< plain scales that are powers of two
  ScaleConvention convention = ScaleConvention::compressed_tensors;
  /// NVFP4: the largest magnitude that the matrix-wide scale must cover, where matrices share it; 0: this
  /// matrix's.
  float shared_amax = 0.0f;
  /// NVFP4: the matrix-wide scale itself, where it is given; 0: it follows from the largest magnitude.
  float matrix_scale = 0.0f;
  /// What an error in each column counts for in a search, finite and not negative; empty: all the same.
  std::span<const float> column_weights{};
};

namespace detail {

inline std::size_t choose_band(const Grid& grid, const Band& band, const QuantizeOptions& options, QMatrix& q) {
  const std::size_t width = q.scheme.granularity.block_cols(q.cols);
  GroupElements elements;
  std::size_t clamped = 0;
  for (std::size_t c = 0, group = 0; c < q.cols; c += width, ++group) {
    elements.gather(band, c, q.cols - c < width ? q.cols - c : width, options.column_weights);
    GroupParameters p = options.search || grid.format().has_signs_only()
                            ? choose_searched(grid, elements.x, elements.w, options.power_rule)
                            : choose_plain(grid, elements.x, options.power_rule);
    if (q.scheme.scales.has_matrix_number() && options.convention == ScaleConvention::modelopt &&
        equals(p.stored, 0.0f))
      p = grid.with_stored(order_key(peak(extremes(grid, elements.x))) == 0 ? 1.0f : 0x1p-9f);
    clamped += p.clamped ? 1 : 0;
    const std::size_t index = band.index * q.scales[0].cols + group;
    q.scales[0].values[index] = p.stored;
    if (!q.zero_points.empty()) q.zero_points[index] = static_cast<std::int16_t>(p.zero);
  }
  return clamped;
}

/// The same for plain scales of a row, at once, and only where nothing out of the ordinary is among its elements.
inline bool choose_ordinary_band(const Grid& grid, const Band& band, const QuantizeOptions& options, QMatrix& q) {
  if (options.search || grid.format().has_signs_only() || q.scheme.scales.is_nested_in_rows() || q.scheme.offsets ||
      options.convention == ScaleConvention::modelopt || band.weight.rows() != 1 || q.cols == 0)
    return false;
  const std::size_t groups = q.scales[0].cols;
  return choose_plain_scales(grid, band.weight.row(0), q.scheme.granularity.block_cols(q.cols), options.power_rule,
                             std::span(q.scales[0].values).subspan(band.index * groups, groups));
}

/// Integer scales of one row, stretch by stretch.
inline std::size_t choose_integer_band(const Grid& grid, const Band& band, const QuantizeOptions& options, QMatrix& q) {
  const std::size_t width = q.scheme.granularity.block_cols(q.cols);
  GroupElements elements;
  std::size_t clamped = 0;
  std::vector<float> cleaned;
  const std::size_t span = q.scheme.scales.outer->covers.cols;
  for (std::size_t c = 0, stretch = 0; c < q.cols; c += span, ++stretch) {
    const std::size_t n = std::min(span, q.cols - c);
    std::span<const float> x = band.weight.row(0).subspan(c, n);
    if (!band.all_finite) {  // a group keeps its place, so what is not finite counts as 0
      cleaned.assign(x.begin(), x.end());
      for (float& v : cleaned)
        if (!is_finite(v)) v = 0.0f;
      x = cleaned;
    }
    const IntegerScales chosen = choose_integer_scales(
        grid, x, width, options.search,
        options.column_weights.empty() ? options.column_weights : options.column_weights.subspan(c, n));
    clamped += chosen.clamped ? 1 : 0;
    q.scales[1].values[band.index * q.scales[1].cols + stretch] = chosen.super;
    const std::size_t first = band.index * q.scales[0].cols + c / width;
    for (std::size_t g = 0; g < chosen.scales.size(); ++g) {
      q.scales[0].values[first + g] = static_cast<float>(chosen.scales[g]);
      q.zero_points[first + g] = chosen.zeros[g];
    }
  }
  return clamped;
}

/// Scales and offsets of one row, outer number by outer number.
inline std::size_t choose_nested_band(const Grid& grid, const Band& band, const QuantizeOptions& options, QMatrix& q) {
  const std::size_t width = q.scheme.granularity.block_cols(q.cols);
  const std::size_t span = q.scheme.scales.outer ? q.scheme.scales.outer->covers.cols : width;
  const std::size_t groups = q.scales[0].cols;
  std::vector<GroupElements> elements(span < q.cols ? ceil_div(span, width) : groups);
  std::size_t clamped = 0;
  for (std::size_t c = 0; c < q.cols; c += span) {
    std::size_t count = 0;
    for (std::size_t at = c; at < q.cols && at < c + span; at += width)
      elements[count++].gather(band, at, std::min(width, q.cols - at), options.column_weights);
    const NestedScales chosen = choose_nested_scales(grid, std::span(elements).first(count), options.search);
    clamped += chosen.clamped ? 1 : 0;
    const auto put = [&](std::vector<ScaleLevel>& levels, const NestedNumbers& numbers) {
      std::copy(numbers.inner.begin(), numbers.inner.end(),
                levels[0].values.begin() + static_cast<std::ptrdiff_t>(band.index * groups + c / width));
      if (levels.size() > 1) levels[1].values[band.index * levels[1].cols + c / span] = numbers.outer;
    };
    put(q.scales, chosen.scales);
    if (q.scheme.offsets) put(q.offsets, chosen.offsets);
  }
  return clamped;
}

/// Scales in fp32 become int8 steps from their mean: -dq.
inline void quantize_scales(QMatrix& q) {
  std::vector<float>& scales = q.scales[0].values;
  double sum = 0;
  for (const float s : scales) sum += static_cast<double>(s);
  const auto mean = static_cast<float>(scales.empty() ? 0.0 : sum / static_cast<double>(scales.size()));
  std::vector<float>& steps = q.scales[1].values;
  const std::size_t run = q.scheme.scales.outer->covers.run;
  for (std::size_t first = 0; first < scales.size(); first += run) {
    const auto block = std::span(scales).subspan(first, std::min(run, scales.size() - first));
    float amax = 0.0f;
    for (const float s : block)
      if (order_key(magnitude(s - mean)) > order_key(amax)) amax = magnitude(s - mean);
    const float step = divide(amax, 127.0f);
    for (float& s : block)
      s = equals(step, 0.0f) ? 0.0f : static_cast<float>(to_integer(divide(s - mean, step), -127, 127));
    steps[first / run] = step;
  }
  q.scales[2].values[0] = mean;
}

/// The scale above all others of NVFP4: the largest block's scale meets the top of its type.
inline float matrix_scale(const Grid& grid, MatrixView<const float> weight, const QuantizeOptions& options) {
  float amax = options.shared_amax;
  if (!(amax > 0.0f)) {
    Extremes all;
    for (std::size_t r = 0; r < weight.rows(); ++r) {
      const Extremes e = extremes(grid, weight.row(r));
      all = {order_key(e.low) < order_key(all.low) ? e.low : all.low,
             order_key(e.high) > order_key(all.high) ? e.high : all.high};
    }
    amax = magnitude(peak(all));
  }
  const float top = grid.scale_format().max * grid.unit();
  const float scale = options.convention == ScaleConvention::modelopt ? divide(amax, top) : divide(top, amax);
  return is_finite(scale) && order_key(scale) != 0 ? scale : 1.0f;
}

/// Codes, scales, zero points and offsets of a scheme, all 0.
inline QMatrix empty_qmatrix(std::size_t rows, std::size_t cols, const Scheme& scheme) {
  QMatrix q{.rows = rows, .cols = cols, .scheme = scheme, .codes = std::vector<std::uint8_t>(rows * cols)};
  const auto levels = [&](const NumberStack& stack) {
    std::vector<ScaleLevel> all = level_shapes(stack, scheme.granularity, rows, cols);
    for (ScaleLevel& level : all) level.values.resize(level.rows * level.cols);
    return all;
  };
  q.scales = levels(scheme.scales);
  if (scheme.offsets) q.offsets = levels(*scheme.offsets);
  if (scheme.symmetry == Symmetry::asymmetric) q.zero_points.resize(q.scales[0].values.size());
  return q;
}

/// Numbers of a band, of which those of no finite weight are left out or refused by policy; the band as it is to be
/// encoded. How many numbers were clamped.
inline Result<std::size_t> choose_for_band(const Grid& grid, Band& band, Matrix<float>& cleaned,
                                           const QuantizeOptions& options, QMatrix& q) {
  if (choose_ordinary_band(grid, band, options, q)) return std::size_t{0};
  if (const Status admitted = admit(band, options.nonfinite, cleaned); !admitted) return propagate(admitted);
  const auto choose = q.scheme.has_integer_scales()                             ? &choose_integer_band
                      : q.scheme.offsets || q.scheme.scales.is_nested_in_rows() ? &choose_nested_band
                                                                                : &choose_band;
  return choose(grid, band, options, q);
}

/// Whether a weight may be quantized so.
inline Status check_request(MatrixView<const float> weight, const Scheme& scheme, const QuantizeOptions& options) {
  if (scheme.is_cast() || scheme.info().bits > 8) return bad_scheme(to_text(scheme), "is a cast; it has no codes");
  if (const Status fits = check_scheme(scheme, to_text(scheme)); !fits) return fits;
  if (!options.column_weights.empty() && options.column_weights.size() != weight.cols())
    return fail(ErrorCode::bad_shape, std::to_string(options.column_weights.size()) + " column weights, expected " +
                                          std::to_string(weight.cols()));
  for (const float w : options.column_weights)
    if (is_negative(w) ? order_key(w) != 0 : !is_finite(w))
      return fail(ErrorCode::usage, "a column weight of " + number_text(w) + ", expected a finite one of at least 0");
  return {};
}

/// Chooses the numbers of every band, and calls encode(grid, band, matrix) for each whose numbers are then known. Those
/// of -dq are known once all are: then it is called for none.
template <class Encode>
Result<QMatrix> choose_bands(MatrixView<const float> weight, const Scheme& scheme, const QuantizeOptions& options,
                             const Context& context, Encode encode) {
  if (const Status ok = check_request(weight, scheme, options); !ok) return propagate(ok);
  const DefaultFpEnvironment standard;  // for what is computed here; tasks have their own
  QMatrix q = empty_qmatrix(weight.rows(), weight.cols(), scheme);
  Grid grid(scheme, context.kernels());
  if (scheme.scales.has_matrix_number()) {
    const float super = options.matrix_scale > 0.0f ? options.matrix_scale : matrix_scale(grid, weight, options);
    q.reciprocal = options.convention == ScaleConvention::compressed_tensors;
    q.scales[1].values[0] = super;
    grid = grid.under(super, q.reciprocal);
  }
  const auto run = [&](std::size_t b) -> Result<std::size_t> {
    Matrix<float> cleaned;
    Band band = band_at(weight, scheme.granularity, b);
    auto clamped = choose_for_band(grid, band, cleaned, options, q);
    if (clamped && scheme.scales.op != ScaleOp::affine) encode(grid, band, q);
    return clamped;
  };
  std::atomic<std::size_t> clamped{0};
  FirstFailure failed;
  context.for_each(q.scales[0].rows, [&](std::size_t b) {
    if (const Result<std::size_t> done = run(b))
      clamped += *done;
    else
      failed.report(b);
  });
  if (failed.any()) return propagate(run(failed.task()));  // once more, for what is wrong with it
  if (scheme.scales.op == ScaleOp::affine) quantize_scales(q);
  q.clamped_scales = clamped;
  return q;
}

}  // namespace detail

/// The numbers of a weight [out_features, in_features], as quantize() chooses them, and codes that are all 0. Errors:
/// those of quantize().
[[nodiscard]] inline Result<QMatrix> choose_scales(MatrixView<const float> weight, const Scheme& scheme,
                                                   const QuantizeOptions& options = {}, const Context& context = {}) {
  return detail::choose_bands(weight, scheme, options, context, [](const Grid&, const detail::Band&, QMatrix&) {});
}

}  // namespace kvant
