// SPDX-License-Identifier: Apache-2.0
// A quantized layer: what a method produces and what files, packing and evaluation consume.
#pragma once

#include <vector>

#include "kvant/quant/qmatrix.hpp"

namespace kvant {

/// y = dequantize(weight) * quantize(x) + bias; activations are treated as weight.scheme.activation says.
struct QLinear {
  QMatrix weight;
  std::vector<float> bias;  ///< [out_features], or empty
  InputParameters input{};  ///< of static activations
};

}  // namespace kvant
