// SPDX-License-Identifier: Apache-2.0
// What a model's steps know of its tensors, where its family is one of the list.
#pragma once

#include <map>
#include <optional>
#include <string>

#include "kvant/io/weights.hpp"
#include "kvant/nn/families.hpp"

namespace kvant::pipeline {

class KnownTensors {
 public:
  explicit KnownTensors(const io::Weights& weights);
  /// What a stored tensor is for; null where the steps do not read it, or not in that shape.
  [[nodiscard]] const nn::TensorUse* find(const io::WeightInfo& weight) const;

 private:
  std::optional<nn::ModelConfig> config_;
  std::map<std::string, const nn::TensorUse*, std::less<>> uses_;
};

/// Whether a float weight of three dimensions holds matrices of layers, one above the other.
[[nodiscard]] bool is_stack(const io::WeightInfo& weight, const nn::TensorUse* use) noexcept;

/// A weight as it will be quantized. Contract: it is a matrix, or a stack.
[[nodiscard]] io::QuantizedWeight quantized_form(const io::WeightInfo& weight, const LayerScheme& scheme,
                                                 bool transposed);

}  // namespace kvant::pipeline
