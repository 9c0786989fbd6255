// SPDX-License-Identifier: Apache-2.0
// Quantizing and dequantizing a matrix: the one implementation behind the templated and the run-time entry.
//
//   auto q = kvant::quantize<kvant::int4>(weight.view(), kvant::PerGroup{128});
//   kvant::Matrix<float> back = kvant::dequantize(*q);
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/core/fp_environment.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/quant/choose.hpp"
#include "kvant/quant/grid.hpp"
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

struct QuantizeOptions {
  bool search = false;  ///< search each scale for the least squared error instead of taking the plain one
  NonFinite nonfinite = NonFinite::error;
};

namespace detail {

/// Chooses parameters for elements `x` (one group, or a gathered block).
inline GroupParameters choose(const Grid& grid, std::span<const float> x, bool search) {
  return search || has_signs_only(grid.format()) ? choose_searched(grid, x) : choose_plain(grid, x);
}

/// One band of rows that share scales: `block_rows` rows of one matrix.
struct Band {
  MatrixView<const float> weight;  ///< the rows of the band
  std::size_t first_row;
  std::size_t index;  ///< row of the matrix of scales
  bool all_finite;    ///< otherwise NaN and Inf are left out of the choice of parameters
};

inline std::size_t quantize_band(const Grid& grid, const Band& band, bool search, QMatrix& q) {
  const std::size_t width = q.scheme.granularity.block_cols(q.cols);
  std::vector<float> block;
  std::size_t clamped = 0;
  for (std::size_t c = 0, group = 0; c < q.cols; c += width, ++group) {
    const std::size_t n = q.cols - c < width ? q.cols - c : width;
    std::span<const float> elements = band.weight.row(0).subspan(c, n);
    if (band.weight.rows() > 1 || !band.all_finite) {
      block.clear();
      for (std::size_t r = 0; r < band.weight.rows(); ++r)
        for (const float x : band.weight.row(r).subspan(c, n))
          if (is_finite(x)) block.push_back(x);
      elements = block;
    }
    const GroupParameters p = choose(grid, elements, search);
    clamped += p.clamped ? 1 : 0;
    const std::size_t index = band.index * q.scales[0].cols + group;
    q.scales[0].values[index] = p.scale;
    if (!q.zero_points.empty()) q.zero_points[index] = static_cast<std::int16_t>(p.zero);
    for (std::size_t r = 0; r < band.weight.rows(); ++r)
      grid.encode(band.weight.row(r).subspan(c, n), p,
                  std::span(q.codes).subspan((band.first_row + r) * q.cols + c, n));
  }
  return clamped;
}

/// The first element that is not finite, if any.
inline Status check_finite(MatrixView<const float> weight) {
  for (std::size_t r = 0; r < weight.rows(); ++r)
    for (std::size_t c = 0; c < weight.cols(); ++c)
      if (!is_finite(weight(r, c)))
        return fail(ErrorCode::nonfinite, std::string(is_nan(weight(r, c)) ? "NaN" : "Inf") + " at row " +
                                              std::to_string(r) + ", column " + std::to_string(c) +
                                              ", expected finite weights; --nonfinite zero or keep accepts them");
  return {};
}

}  // namespace detail

/// Quantizes a weight [out_features, in_features]. The result does not depend on the context. Errors: `bad_scheme`
/// where the scheme is a cast or its parts do not fit, `nonfinite` by policy.
[[nodiscard]] inline Result<QMatrix> quantize(MatrixView<const float> weight, const Scheme& scheme,
                                              const QuantizeOptions& options = {}, const Context& context = {}) {
  if (scheme.is_cast() || scheme.info().bits > 8)
    return detail::bad_scheme(to_text(scheme), "is a cast; it has no codes");
  if (const Status fits = check_scheme(scheme, to_text(scheme)); !fits) return propagate(fits);
  const Status finite = detail::check_finite(weight);
  Matrix<float> cleaned;
  if (!finite) {
    if (options.nonfinite == NonFinite::error) return propagate(finite);
    if (options.nonfinite == NonFinite::zero) {
      cleaned = Matrix<float>(weight.rows(), weight.cols());
      for (std::size_t r = 0; r < weight.rows(); ++r)
        for (std::size_t c = 0; c < weight.cols(); ++c) cleaned(r, c) = is_finite(weight(r, c)) ? weight(r, c) : 0.0f;
      weight = cleaned.view();
    }
  }
  const Granularity& granularity = scheme.granularity;
  QMatrix q{weight.rows(), weight.cols(), scheme, std::vector<std::uint8_t>(weight.size()), {}, {}, 0};
  const std::size_t bands = granularity.scale_rows(q.rows);
  const std::size_t groups = granularity.scale_cols(q.cols);
  q.scales.push_back({scheme.scale_type, bands, groups, std::vector<float>(bands * groups)});
  if (scheme.symmetry == Symmetry::asymmetric) q.zero_points.resize(bands * groups);

  const Grid grid(scheme, context.kernels());
  const bool all_finite = finite.has_value() || options.nonfinite == NonFinite::zero;
  const std::size_t height = granularity.block_rows(q.rows);
  std::vector<std::size_t> clamped(bands);
  context.for_each(bands, [&](std::size_t b) {
    const DefaultFpEnvironment standard;  // in each task: a thread has its own environment
    const std::size_t first = b * height;
    const std::size_t count = q.rows - first < height ? q.rows - first : height;
    clamped[b] = detail::quantize_band(grid, {weight.rows(first, count), first, b, all_finite}, options.search, q);
  });
  for (const std::size_t n : clamped) q.clamped_scales += n;
  return q;
}

/// `quantize<int4>(view, PerGroup{128})`: the format as a type, everything else as above.
template <Format F>
requires(F::kBits <= 8)
    [[nodiscard]] Result<QMatrix> quantize(MatrixView<const float> weight, Granularity granularity,
                                           Symmetry symmetry = Symmetry::symmetric, const QuantizeOptions& options = {},
                                           const Context& context = {}) {
  return quantize(weight, Scheme{format_id<F>, granularity, symmetry, format_id<fp16>, std::nullopt}, options, context);
}

/// The values that a quantized matrix stands for: exactly what a file of it dequantizes to.
[[nodiscard]] inline Matrix<float> dequantize(const QMatrix& q, const Context& context = {}) {
  Matrix<float> out(q.rows, q.cols);
  const Grid grid(q.scheme);
  context.for_each(q.rows, [&](std::size_t r) {
    const DefaultFpEnvironment standard;
    dequantize_row(q, grid, r, out.row(r));
  });
  return out;
}

}  // namespace kvant
