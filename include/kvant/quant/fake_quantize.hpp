// SPDX-License-Identifier: Apache-2.0
// Activations rounded to what their codes stand for, in floats: how a layer sees its inputs under a scheme for which
// there are no integer products.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "kvant/core/contract.hpp"
#include "kvant/core/error.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/quant/encode.hpp"
#include "kvant/quant/scheme.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant {

namespace detail {

/// Activations as a matrix of weights: one row of it is one token.
[[nodiscard]] constexpr Scheme as_weights(const ActivationScheme& s) noexcept {
  const bool per_token = s.granularity.kind() == Granularity::Kind::token;
  const bool nvfp4 = s.is_static && s.granularity.kind() == Granularity::Kind::group;
  return {s.format,     per_token ? Granularity(PerChannel{}) : s.granularity, s.symmetry, s.scale_type,
          std::nullopt, nvfp4 ? ScaleNesting::per_tensor : ScaleNesting::none};
}

/// Codes under the one scale and zero point that came with the layer.
inline QMatrix quantize_static(MatrixView<const float> x, const Scheme& scheme, const InputParameters& input,
                               const Context& context) {
  QMatrix q = blank(x.rows(), x.cols(), scheme);
  for (float& scale : q.scales[0].values) scale = input.scale;
  for (std::int16_t& zero : q.zero_points) zero = static_cast<std::int16_t>(input.zero);
  const Grid grid(scheme, context.kernels());
  context.for_each(x.rows(), [&](std::size_t r) { encode_band(grid, {x.rows(r, 1), r, 0, true}, q); });
  return q;
}

}  // namespace detail

/// The values of `x` [tokens, features] after rounding: scale * (code - zero), each row by itself, so that no result
/// depends on the other rows. Plain scales: amax / ((2^b - 1) / 2) of integers, amax / 448 of E4M3, those of
/// compressed-tensors for MX and NVFP4; amax is over finite numbers, Inf becomes the outermost code, NaN 0 or the
/// format's NaN. Contract: the scheme is valid.
[[nodiscard]] inline Matrix<float> fake_quantize(MatrixView<const float> x, const ActivationScheme& scheme,
                                                 const InputParameters& input, const Context& context = {}) {
  expects(is_valid(scheme), "a scheme of activations");
  const Scheme weights = detail::as_weights(scheme);
  if (weights.granularity.kind() == Granularity::Kind::tensor)
    return dequantize(detail::quantize_static(x, weights, input, context), context);
  QuantizeOptions options;
  options.nonfinite = NonFinite::keep;
  options.power_rule = PowerRule::ct;
  options.matrix_scale = input.scale;
  const Result<QMatrix> q = quantize(x, weights, options, context);
  expects(q.has_value(), "nothing is refused under NonFinite::keep");
  return dequantize(*q, context);
}

}  // namespace kvant
