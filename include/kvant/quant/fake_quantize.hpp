// SPDX-License-Identifier: Apache-2.0
// Activations rounded to what their codes stand for, in floats: how a layer sees its inputs under a scheme for which
// there are no integer products.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>

#include "kvant/core/checked.hpp"
#include "kvant/core/contract.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/numeric/formats.hpp"
#include "kvant/numeric/rounding.hpp"
#include "kvant/quant/activation_scheme.hpp"
#include "kvant/quant/choose.hpp"
#include "kvant/quant/grid.hpp"
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
  if (equals(scale, 0.0f)) return {0.0f, 0};
  return {scale, to_integer(static_cast<float>(format.low) - divide(low, scale), format.low, format.high)};
}

/// out = scale * (code of x - zero); a scale of 0 makes zeros.
inline void round_inputs(std::span<const float> x, FormatId format_id, InputGrid grid, std::span<float> out) noexcept {
  const FormatInfo& format = format_info(format_id);
  const auto zero = static_cast<float>(grid.zero);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float y = divide(x[i], equals(grid.scale, 0.0f) ? std::numeric_limits<float>::infinity() : grid.scale);
    if (format.kind == FormatKind::integer)
      out[i] = static_cast<float>(to_integer(y + zero, format.low, format.high) - grid.zero) * grid.scale;
    else
      out[i] = fp8_e4m3fn::decode(fp8_e4m3fn::encode(y)) * grid.scale;
  }
}

/// Inputs as a matrix of weights in a block format.
[[nodiscard]] constexpr Scheme as_weights(const ActivationScheme& s) noexcept {
  const NumberStack under_one{s.scale_type, OuterLevel{format_id<fp32>}, ScaleOp::quotient};
  return {s.format, s.granularity, s.symmetry, s.is_static ? under_one : NumberStack{s.scale_type}, {}};
}

}  // namespace detail

/// Rows of inputs as their codes stand for them, to the bit as compressed-tensors 0.20 has them
/// (quantization/lifecycle/forward_helpers.py, utils/helpers.py): scale * (clamp(round(x / scale + zero)) - zero) with,
/// where the scheme is dynamic, scale = max |x| / ((high - low) / 2) and zero = 0, asymmetric scale = (max - min) /
/// (high - low) and zero = round(low - min / scale), for E4M3 scale = max |x| / 448; MX and NVFP4 as quantize() under
/// PowerRule::ct. Unlike there, Inf takes no part in a scale and becomes the outermost code, NaN of integers 0, and a
/// group may be cut short by the end of a row. Needs no memory.
class InputRounder {
 public:
  /// Contract: the scheme is valid.
  InputRounder(const ActivationScheme& scheme, const InputParameters& input, const kernels::Kernels& table)
      : scheme_(scheme), input_(input) {
    expects(is_valid(scheme), "a scheme of activations");
    if (scheme.scale_type == format_id<fp32>) return;
    grid_.emplace(detail::as_weights(scheme), table);
    if (scheme.is_static) grid_ = grid_->under(input.scale, true);
  }

  /// One row; `out` is as long as it.
  void operator()(std::span<const float> x, std::span<float> out) const noexcept {
    const bool grouped = scheme_.granularity.kind() == Granularity::Kind::group;
    const std::size_t group = grouped ? scheme_.granularity.cols_parameter() : x.size();
    if (grid_) return round_blocks(x, group, out);
    for (std::size_t begin = 0; begin < x.size(); begin += group) {
      const std::span<const float> part = x.subspan(begin, std::min(group, x.size() - begin));
      const detail::InputGrid grid =
          scheme_.is_static ? detail::InputGrid{input_.scale, input_.zero} : detail::choose_input_grid(part, scheme_);
      detail::round_inputs(part, scheme_.format, grid, out.subspan(begin, part.size()));
    }
  }

 private:
  /// Groups of 16 or 32 under scales of 8 bits, some at a time.
  void round_blocks(std::span<const float> x, std::size_t group, std::span<float> out) const noexcept {
    constexpr std::size_t kElements = 512;
    std::array<float, kElements / 16> stored;
    std::array<std::uint8_t, kElements> codes;
    const ScaleOp op = scheme_.is_static ? ScaleOp::quotient : ScaleOp::product;
    const kernels::GroupScales scales{{stored.data(), op, scheme_.is_static ? input_.scale : 1.0f}, nullptr, group};
    for (std::size_t begin = 0; begin < x.size(); begin += kElements) {
      const std::span<const float> part = x.subspan(begin, std::min(kElements, x.size() - begin));
      const auto its_stored = std::span(stored).first(ceil_div(part.size(), group));
      if (!choose_plain_scales(*grid_, part, group, PowerRule::ct, its_stored))
        for (std::size_t g = 0; g < its_stored.size(); ++g)
          its_stored[g] =
              choose_plain(*grid_, part.subspan(g * group, std::min(group, part.size() - g * group)), PowerRule::ct)
                  .stored;
      const auto its_codes = std::span(codes).first(part.size());
      grid_->encode(part, scales, its_codes);
      grid_->decode(its_codes, scales, out.subspan(begin, part.size()));
    }
  }

  ActivationScheme scheme_;
  InputParameters input_;
  std::optional<Grid> grid_;
};

/// The rows of `x` [tokens, features] through an InputRounder. No result depends on another row.
[[nodiscard]] inline Matrix<float> fake_quantize(MatrixView<const float> x, const ActivationScheme& scheme,
                                                 const InputParameters& input, const Context& context = {}) {
  const InputRounder round(scheme, input, context.kernels());
  Matrix<float> out(x.rows(), x.cols());
  context.for_each(x.rows(), [&](std::size_t r) { round(x.row(r), out.row(r)); });
  return out;
}

}  // namespace kvant
