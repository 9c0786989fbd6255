// SPDX-License-Identifier: Apache-2.0
// A quantized layer: what a method produces and what files, packing and evaluation consume.
#pragma once

#include <vector>

#include "kvant/quant/activation_scheme.hpp"
#include "kvant/quant/layer_scheme.hpp"
#include "kvant/quant/qmatrix.hpp"

namespace kvant {

/// y = dequantize(weight) * quantize(x) + bias.
struct QLinear {
  QMatrix weight;
  std::vector<float> bias{};  ///< [out_features], or empty
  LayerInputs inputs{};       ///< what they are rounded to

  [[nodiscard]] LayerScheme scheme() const noexcept { return {weight.scheme, inputs.activation}; }
};

}  // namespace kvant
