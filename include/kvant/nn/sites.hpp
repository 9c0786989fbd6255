// SPDX-License-Identifier: Apache-2.0
// What follows from a model's steps for methods: which layers read one input, and what can take a factor per channel of
// that input.
//
//   for (const InputSite& site : input_sites(model.config()))
//     site.readers;    // q_proj, k_proj, v_proj: they see the same rows, and engines join them
//     site.producer;   // input_layernorm: readers' columns times s, its weight divided by s, and nothing has changed
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/nn/steps.hpp"

namespace kvant::nn {

/// Layers that read one input.
struct InputSite {
  /// What takes the factors: nothing, the weight and the bias of a norm, or rows of a matrix and their bias.
  enum class Producer : std::uint8_t { none, norm, rows };

  std::vector<TensorId> readers;  ///< in the order of the steps; experts of one mixture among them
  std::size_t columns = 0;
  Producer kind = Producer::none;
  TensorId producer = kNoTensor;  ///< the norm's weight, or the matrix
  TensorId bias = kNoTensor;      ///< what is divided with it
  bool plus_one = false;          ///< the norm multiplies by 1 + weight
  /// For each column of the input the element or the row that makes it. Columns with the same number must have one
  /// factor: heads of grouped-query attention share their values.
  std::vector<std::uint32_t> sources{};
  std::size_t block = SIZE_MAX;  ///< of ModelConfig::blocks; SIZE_MAX: in none of them
};

/// All sites of a model, in the order of the steps. A factor passes from a layer's input to what made it
///   through `gate`, to what multiplies (not to what an activation made)
///   through `attend`, to the values, each for all the heads that read it, those of a source in the encoder's lists
///   through copies and scales
/// and is taken by a norm's weight or by the rows of a layer. Where anything else reads what it would change, nothing
/// takes it.
[[nodiscard]] std::vector<InputSite> input_sites(const ModelConfig& config);

}  // namespace kvant::nn
