// SPDX-License-Identifier: Apache-2.0
// What a method is: a Quantizer turns one weight into one quantized layer. It solves a matrix and never runs a model.
#pragma once

#include <concepts>
#include <span>
#include <string_view>

#include "kvant/core/error.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/quant/encode.hpp"
#include "kvant/quant/qlinear.hpp"
#include "kvant/quant/scheme.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant {

/// One layer as a method sees it.
struct LayerInput {
  std::string_view name;           ///< tensor name; seeds of random streams are made from it
  MatrixView<const float> weight;  ///< [out_features, in_features]
  NonFinite nonfinite = NonFinite::error;
  float shared_amax = 0.0f;                 ///< see QuantizeOptions
  std::span<const float> column_weights{};  ///< likewise
};

/// A method that chooses codes. `kRowwise` promises that each row's result depends on that row alone (unless the
/// granularity is coarser), so that the caller may feed a large matrix in bands of rows.
template <class Q>
concept Quantizer = requires(const Q q, const LayerInput& layer, const Scheme& scheme, const Context& context) {
  { Q::kName } -> std::convertible_to<std::string_view>;
  { Q::kSummary } -> std::convertible_to<std::string_view>;
  { Q::kRowwise } -> std::convertible_to<bool>;
  typename Q::Config;
  { q(layer, scheme, context) } -> std::same_as<Result<QLinear>>;
};

}  // namespace kvant
