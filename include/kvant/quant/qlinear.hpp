// SPDX-License-Identifier: Apache-2.0
// A quantized layer: what a method produces and what files, packing and evaluation consume.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/quant/activation_scheme.hpp"
#include "kvant/quant/layer_scheme.hpp"
#include "kvant/quant/qmatrix.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant {

/// A product of two thin float matrices that is added to a weight: left [out, rank] * right [rank, in].
struct LowRankPair {
  Matrix<float> left, right;
};

/// Columns of a weight that are kept as floats, beside codes that stand for 0 there: [out, their number].
struct OutlierColumns {
  std::vector<std::uint32_t> columns;
  Matrix<float> weights;
};

/// y = W * round(input_scale .* x) + bias, with W = dequantize(weight) and what the optional parts add to it.
struct QLinear {
  QMatrix weight;
  std::vector<float> bias{};  ///< [out_features], or empty
  LayerInputs inputs{};       ///< what inputs are rounded to
  /// What each input is multiplied by first, where nothing before the layer could take that factor; empty: nothing.
  std::vector<float> input_scale{};
  std::optional<LowRankPair> low_rank{};
  std::optional<OutlierColumns> outliers{};

  [[nodiscard]] LayerScheme scheme() const noexcept { return {weight.scheme, inputs.activation}; }
};

/// `unsupported` where a layer has parts beyond a matrix, a bias and a scheme for inputs, which neither files nor
/// packed layers hold yet: whatever consumes a layer asks this first, so that no part is lost in silence.
[[nodiscard]] inline Status check_has_no_parts(const QLinear& layer) {
  const char* part = !layer.input_scale.empty() ? "factors for its inputs"
                     : layer.low_rank           ? "a low-rank pair"
                     : layer.outliers           ? "outlier columns"
                                                : nullptr;
  if (part == nullptr) return {};
  return fail(ErrorCode::unsupported,
              "a layer with " + std::string(part) + ", which neither files nor packed layers hold");
}

}  // namespace kvant
