// SPDX-License-Identifier: Apache-2.0
// Quantizing and dequantizing a matrix: the one implementation behind the templated and the run-time entry.
//
//   auto q = kvant::quantize<kvant::int4>(weight.view(), kvant::PerGroup{128});
//   kvant::Matrix<float> back = kvant::dequantize(*q);
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/core/first_failure.hpp"
#include "kvant/core/fp_environment.hpp"
#include "kvant/core/number_text.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/quant/choose.hpp"
#include "kvant/quant/grid.hpp"
#include "kvant/quant/integer_scales.hpp"
#include "kvant/quant/qmatrix.hpp"
#include "kvant/quant/scheme.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant {

/// What to do with NaN and Inf among weights.
enum class NonFinite : std::uint8_t {
  error,  ///< refuse with `nonfinite`
  zero,   ///< treat as 0
  keep,   ///< leave them out of the choice of scales; Inf takes the outermost code, NaN the format's NaN or else its 0
};

[[nodiscard]] constexpr std::optional<NonFinite> nonfinite_from_name(std::string_view name) noexcept {
  if (name == "error") return NonFinite::error;
  if (name == "zero") return NonFinite::zero;
  if (name == "keep") return NonFinite::keep;
  return std::nullopt;
}

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
  /// per_tensor: the largest magnitude that the matrix-wide scale must cover, where matrices share it; 0: this
  /// matrix's.
  float shared_amax = 0.0f;
  /// per_tensor: the matrix-wide scale itself, where it is given; 0: it follows from the largest magnitude.
  float matrix_scale = 0.0f;
  /// What an error in each column counts for in a search, finite and not negative; empty: all the same.
  std::span<const float> column_weights{};
};

namespace detail {

/// One band of rows that share scales: `block_rows` rows of one matrix.
struct Band {
  MatrixView<const float> weight;  ///< the rows of the band
  std::size_t first_row;
  std::size_t index;  ///< row of the matrix of scales
  bool all_finite;    ///< otherwise NaN and Inf are left out of the choice of parameters
};

inline Band band_at(MatrixView<const float> weight, const Granularity& granularity, std::size_t index) noexcept {
  const std::size_t height = granularity.block_rows(weight.rows());
  const std::size_t first = index * height;
  const std::size_t rows = weight.rows() - first < height ? weight.rows() - first : height;
  return {weight.rows(first, rows), first, index, true};
}

/// Without a branch per element, which compilers turn into vectors.
inline bool all_finite(std::span<const float> x) noexcept {
  std::uint32_t carries = 0;  // of magnitudes from Inf on, into the place of the sign
  for (const float v : x) carries |= (float_bits(v) & 0x7fffffffu) + 0x00800000u;
  return carries >> 31 == 0;
}

/// `nonfinite`, with the place of the first NaN or Inf; the first row counts as `first_row`.
inline Status check_finite(MatrixView<const float> weight, std::size_t first_row) {
  for (std::size_t r = 0; r < weight.rows(); ++r) {
    const std::span<const float> row = weight.row(r);
    if (all_finite(row)) continue;
    const auto c = std::find_if_not(row.begin(), row.end(), [](float v) { return is_finite(v); });
    return fail(ErrorCode::nonfinite, std::string(is_nan(*c) ? "NaN" : "Inf") + " at row " +
                                          std::to_string(first_row + r) + ", column " +
                                          std::to_string(c - row.begin()) +
                                          ", expected finite weights; --nonfinite zero or keep accepts them");
  }
  return {};
}

/// Does with NaN and Inf what is to be done; `cleaned` keeps the band's rows where they have to change.
inline Status admit(Band& band, NonFinite policy, Matrix<float>& cleaned) {
  const MatrixView<const float> weight = band.weight;
  const Status finite = check_finite(weight, band.first_row);
  if (finite || policy == NonFinite::error) return finite;
  band.all_finite = false;
  if (policy == NonFinite::keep) return {};
  cleaned = Matrix<float>(weight.rows(), weight.cols());
  for (std::size_t r = 0; r < weight.rows(); ++r)
    for (std::size_t c = 0; c < weight.cols(); ++c) cleaned(r, c) = is_finite(weight(r, c)) ? weight(r, c) : 0.0f;
  band.weight = cleaned.view();
  band.all_finite = true;
  return {};
}

/// The elements of a group that its parameters are chosen from, and what they weigh: in place, or gathered.
class GroupElements {
 public:
  void gather(const Band& band, std::size_t column, std::size_t n, std::span<const float> column_weights) {
    const std::span<const float> weights = column_weights.empty() ? column_weights : column_weights.subspan(column, n);
    if (band.weight.rows() == 1 && band.all_finite) {
      x = band.weight.row(0).subspan(column, n);
      w = weights;
      return;
    }
    values_.clear();
    weights_.clear();
    for (std::size_t r = 0; r < band.weight.rows(); ++r) {
      const std::span<const float> row = band.weight.row(r).subspan(column, n);
      for (std::size_t i = 0; i < n; ++i) {
        if (!is_finite(row[i])) continue;
        values_.push_back(row[i]);
        if (!weights.empty()) weights_.push_back(weights[i]);
      }
    }
    x = values_;
    w = weights_;
  }
  std::span<const float> x, w;

 private:
  std::vector<float> values_, weights_;
};

inline std::size_t choose_band(const Grid& grid, const Band& band, const QuantizeOptions& options, QMatrix& q) {
  const std::size_t width = q.scheme.granularity.block_cols(q.cols);
  GroupElements elements;
  std::size_t clamped = 0;
  for (std::size_t c = 0, group = 0; c < q.cols; c += width, ++group) {
    elements.gather(band, c, q.cols - c < width ? q.cols - c : width, options.column_weights);
    GroupParameters p = options.search || grid.format().has_signs_only()
                            ? choose_searched(grid, elements.x, elements.w, options.power_rule)
                            : choose_plain(grid, elements.x, options.power_rule);
    if (q.scheme.nesting == ScaleNesting::per_tensor && options.convention == ScaleConvention::modelopt &&
        p.stored == 0.0f)
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
  if (options.search || grid.format().has_signs_only() || q.scheme.nesting == ScaleNesting::integer ||
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
  for (std::size_t c = 0, stretch = 0; c < q.cols; c += kSuperScaleColumns, ++stretch) {
    const std::size_t n = q.cols - c < kSuperScaleColumns ? q.cols - c : kSuperScaleColumns;
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

inline void encode_band(const Grid& grid, const Band& band, QMatrix& q) {
  for (std::size_t r = 0; r < band.weight.rows(); ++r) {
    const std::size_t row = band.first_row + r;
    for_each_stretch(q, row, [&](std::size_t first, std::size_t n, const kernels::GroupScales& scales) {
      grid.encode(band.weight.row(r).subspan(first, n), scales, std::span(q.codes).subspan(row * q.cols + first, n));
    });
  }
}

/// Scales in fp32 become int8 steps from their mean: see ScaleNesting::double_quant.
inline void quantize_scales(QMatrix& q) {
  std::vector<float>& scales = q.scales[0].values;
  double sum = 0;
  for (const float s : scales) sum += static_cast<double>(s);
  const auto mean = static_cast<float>(scales.empty() ? 0.0 : sum / static_cast<double>(scales.size()));
  ScaleLevel steps{format_id<fp32>, 1, ceil_div(scales.size(), kScalesPerStep), {}};
  for (std::size_t first = 0; first < scales.size(); first += kScalesPerStep) {
    const auto block = std::span(scales).subspan(first, std::min(kScalesPerStep, scales.size() - first));
    float amax = 0.0f;
    for (const float s : block)
      if (order_key(magnitude(s - mean)) > order_key(amax)) amax = magnitude(s - mean);
    const float step = divide(amax, 127.0f);
    for (float& s : block) s = step == 0.0f ? 0.0f : static_cast<float>(to_integer(divide(s - mean, step), -127, 127));
    steps.values.push_back(step);
  }
  q.scales.push_back(std::move(steps));
  q.scales.push_back({format_id<fp32>, 1, 1, {mean}});
}

/// The matrix-wide scale of ScaleNesting::per_tensor: the largest block's scale meets the top of its type.
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

/// Codes, scales and zero points of a scheme, all 0; the matrix-wide scale comes with Grid::under().
inline QMatrix blank(std::size_t rows, std::size_t cols, const Scheme& scheme) {
  QMatrix q{.rows = rows, .cols = cols, .scheme = scheme, .codes = std::vector<std::uint8_t>(rows * cols)};
  const std::size_t bands = scheme.granularity.scale_rows(rows);
  const std::size_t groups = scheme.granularity.scale_cols(cols);
  q.scales.push_back({finest_scale_type(scheme), bands, groups, std::vector<float>(bands * groups)});
  if (scheme.symmetry == Symmetry::asymmetric) q.zero_points.resize(bands * groups);
  if (scheme.nesting == ScaleNesting::integer) {
    const std::size_t stretches = ceil_div(cols, kSuperScaleColumns);
    q.scales.push_back({scheme.scale_type, rows, stretches, std::vector<float>(rows * stretches)});
  }
  return q;
}

/// Parameters of a band, and its codes unless scales change once all of them are known. How many scales were clamped.
inline Result<std::size_t> quantize_band(const Grid& grid, Band band, const QuantizeOptions& options, QMatrix& q) {
  std::size_t clamped = 0;
  Matrix<float> cleaned;
  if (!choose_ordinary_band(grid, band, options, q)) {
    if (const Status admitted = admit(band, options.nonfinite, cleaned); !admitted) return propagate(admitted);
    clamped = q.scheme.nesting == ScaleNesting::integer ? choose_integer_band(grid, band, options, q)
                                                        : choose_band(grid, band, options, q);
  }
  if (q.scheme.nesting != ScaleNesting::double_quant) encode_band(grid, band, q);
  return clamped;
}

}  // namespace detail

/// Quantizes a weight [out_features, in_features]. The result does not depend on the context. A scale beyond its
/// storage type becomes the largest there is, which is no error: QMatrix::clamped_scales counts them. Errors:
/// `bad_scheme` where the scheme is a cast or its parts do not fit, `bad_shape` where there is not one column weight
/// for each column, `usage` where one is negative or not finite, `nonfinite` by policy.
[[nodiscard]] inline Result<QMatrix> quantize(MatrixView<const float> weight, const Scheme& scheme,
                                              const QuantizeOptions& options = {}, const Context& context = {}) {
  if (scheme.is_cast() || scheme.info().bits > 8)
    return detail::bad_scheme(to_text(scheme), "is a cast; it has no codes");
  if (const Status fits = check_scheme(scheme, to_text(scheme)); !fits) return propagate(fits);
  if (!options.column_weights.empty() && options.column_weights.size() != weight.cols())
    return fail(ErrorCode::bad_shape, std::to_string(options.column_weights.size()) + " column weights, expected " +
                                          std::to_string(weight.cols()));
  for (const float w : options.column_weights)
    if (is_negative(w) ? order_key(w) != 0 : !is_finite(w))
      return fail(ErrorCode::usage, "a column weight of " + number_text(w) + ", expected a finite one of at least 0");
  const DefaultFpEnvironment standard;  // for what is computed here; tasks have their own
  QMatrix q = detail::blank(weight.rows(), weight.cols(), scheme);
  Grid grid(scheme, context.kernels());
  if (scheme.nesting == ScaleNesting::per_tensor) {
    const float super =
        options.matrix_scale > 0.0f ? options.matrix_scale : detail::matrix_scale(grid, weight, options);
    q.reciprocal = options.convention == ScaleConvention::compressed_tensors;
    q.scales.push_back({format_id<fp32>, 1, 1, {super}});
    grid = grid.under(super, q.reciprocal);
  }
  const std::size_t bands = q.scales[0].rows;
  const auto quantize_band = [&](std::size_t b) {
    return detail::quantize_band(grid, detail::band_at(weight, scheme.granularity, b), options, q);
  };
  std::atomic<std::size_t> clamped{0};
  FirstFailure failed;
  context.for_each(bands, [&](std::size_t b) {
    if (const Result<std::size_t> done = quantize_band(b))
      clamped += *done;
    else
      failed.report(b);
  });
  if (failed.any()) return propagate(quantize_band(failed.task()));  // once more, for what is wrong with it
  if (scheme.nesting == ScaleNesting::double_quant) {
    detail::quantize_scales(q);
    context.for_each(bands, [&](std::size_t b) {
      Matrix<float> cleaned;
      detail::Band band = detail::band_at(weight, scheme.granularity, b);
      if (options.nonfinite == NonFinite::zero && !detail::admit(band, options.nonfinite, cleaned)) return;
      detail::encode_band(grid, band, q);
    });
  }
  q.clamped_scales = clamped;
  return q;
}

/// `quantize<int4>(view, PerGroup{128})`: the format as a type, everything else as above.
template <Format F>
requires(F::kBits <= 8)
    [[nodiscard]] Result<QMatrix> quantize(MatrixView<const float> weight, Granularity granularity,
                                           Symmetry symmetry = Symmetry::symmetric, const QuantizeOptions& options = {},
                                           const Context& context = {}) {
  return quantize(weight, Scheme{format_id<F>, granularity, symmetry, format_id<fp16>, std::nullopt, {}}, options,
                  context);
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
