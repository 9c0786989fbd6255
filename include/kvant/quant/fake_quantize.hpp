// SPDX-License-Identifier: Apache-2.0
// Activations rounded to what their codes stand for, in floats: how a layer sees its inputs under a scheme for which
// there are no integer products.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>

#include "kvant/core/contract.hpp"
#include "kvant/core/error.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/numeric/formats.hpp"
#include "kvant/numeric/rounding.hpp"
#include "kvant/quant/encode.hpp"
#include "kvant/quant/scheme.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant {

namespace detail {

/// What inputs are divided by, and the code of 0.
struct InputGrid {
  float scale;
  std::int32_t zero;
};

/// compressed-tensors' choice for inputs that share a scale; of those only finite ones count, and 0 with them.
inline InputGrid choose_input_grid(std::span<const float> x, const ActivationScheme& scheme) noexcept {
  const FormatInfo& format = format_info(scheme.format);
  float low = 0.0f;
  float high = 0.0f;
  for (const float v : x) {
    if (!is_finite(v)) continue;
    if (v < low) low = v;
    if (v > high) high = v;
  }
  const float amax = -low > high ? -low : high;
  if (format.kind != FormatKind::integer) return {divide(amax, fp8_e4m3fn::kMax), 0};
  const float steps = static_cast<float>(format.high - format.low);
  if (scheme.symmetry == Symmetry::symmetric) return {divide(amax, steps / 2), 0};
  const float range = high - low;
  const float scale = is_finite(range) ? divide(range, steps) : divide(high, steps) - divide(low, steps);
  if (scale == 0.0f) return {0.0f, 0};
  return {scale, to_integer(static_cast<float>(format.low) - divide(low, scale), format.low, format.high)};
}

/// out = scale * (code of x - zero); a scale of 0 makes zeros.
inline void round_inputs(std::span<const float> x, FormatId format_id, InputGrid grid, std::span<float> out) noexcept {
  const FormatInfo& format = format_info(format_id);
  const auto zero = static_cast<float>(grid.zero);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float y = divide(x[i], grid.scale == 0.0f ? std::numeric_limits<float>::infinity() : grid.scale);
    if (format.kind == FormatKind::integer)
      out[i] = static_cast<float>(to_integer(y + zero, format.low, format.high) - grid.zero) * grid.scale;
    else
      out[i] = fp8_e4m3fn::decode(fp8_e4m3fn::encode(y)) * grid.scale;
  }
}

/// Inputs as a matrix of weights in a block format.
[[nodiscard]] constexpr Scheme as_weights(const ActivationScheme& s) noexcept {
  return {s.format,     s.granularity, s.symmetry,
          s.scale_type, std::nullopt,  s.is_static ? ScaleNesting::per_tensor : ScaleNesting::none};
}

}  // namespace detail

/// The values of `x` [tokens, features] after rounding to codes and back, to the bit as compressed-tensors 0.20 has
/// them (quantization/lifecycle/forward_helpers.py, utils/helpers.py): scale * (clamp(round(x / scale + zero)) - zero)
/// with, where the scheme is dynamic, scale = max |x| / ((high - low) / 2) and zero = 0, asymmetric scale = (max - min)
/// / (high
/// - low) and zero = round(low - min / scale), for E4M3 scale = max |x| / 448; MX and NVFP4 as quantize() under
/// PowerRule::ct. No result depends on another row. Unlike there, Inf takes no part in a scale and becomes the
/// outermost code, NaN of integers 0, and a group may be cut short by the end of a row. Contract: the scheme is valid.
[[nodiscard]] inline Matrix<float> fake_quantize(MatrixView<const float> x, const ActivationScheme& scheme,
                                                 const InputParameters& input, const Context& context = {}) {
  expects(is_valid(scheme), "a scheme of activations");
  if (scheme.scale_type != format_id<fp32>) {
    QuantizeOptions options;
    options.nonfinite = NonFinite::keep;
    options.power_rule = PowerRule::ct;
    options.matrix_scale = input.scale;
    const Result<QMatrix> q = quantize(x, detail::as_weights(scheme), options, context);
    expects(q.has_value(), "nothing is refused under NonFinite::keep");
    return dequantize(*q, context);
  }
  Matrix<float> out(x.rows(), x.cols());
  const bool grouped = scheme.granularity.kind() == Granularity::Kind::group;
  const std::size_t group = grouped ? scheme.granularity.cols_parameter() : x.cols();
  context.for_each(x.rows(), [&](std::size_t r) {
    for (std::size_t begin = 0; begin < x.cols(); begin += group) {
      const std::span<const float> part = std::span(x.row(r)).subspan(begin, std::min(group, x.cols() - begin));
      const detail::InputGrid grid =
          scheme.is_static ? detail::InputGrid{input.scale, input.zero} : detail::choose_input_grid(part, scheme);
      detail::round_inputs(part, scheme.format, grid, std::span(out.row(r)).subspan(begin, part.size()));
    }
  });
  return out;
}

}  // namespace kvant
