// SPDX-License-Identifier: Apache-2.0
#include "known_tensors.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

namespace kvant::pipeline {
namespace {

/// As the tensor is stored, by the configuration.
std::vector<std::uint64_t> stored_shape(const nn::TensorUse& use) {
  std::vector<std::uint64_t> shape = use.shape;
  if (use.transposed) std::ranges::reverse(shape);
  if (use.members != 0) shape.insert(shape.begin(), use.members);
  return shape;
}

}  // namespace

KnownTensors::KnownTensors(const io::Weights& weights) {
  if (!weights.config()) return;
  auto config = nn::read_model_config(*weights.config());
  if (!config) return;
  config_ = std::move(*config);
  const std::string_view base = config_->family->base;
  for (const nn::TensorUse& use : config_->tensors) {
    uses_.emplace(use.name, &use);
    if (use.name.starts_with(base)) uses_.emplace(use.name.substr(base.size()), &use);  // of the bare model
  }
}

const nn::TensorUse* KnownTensors::find(const io::WeightInfo& weight) const {
  const auto found = uses_.find(weight.name);
  return found != uses_.end() && stored_shape(*found->second) == weight.shape ? found->second : nullptr;
}

bool is_stack(const io::WeightInfo& weight, const nn::TensorUse* use) noexcept {
  return weight.shape.size() == 3 && use != nullptr && use->members != 0 && use->is_matrix();
}

io::QuantizedWeight quantized_form(const io::WeightInfo& weight, const LayerScheme& scheme, bool transposed) {
  const std::size_t last = weight.shape.size() - 1;
  io::QuantizedWeight out{weight.name, scheme, weight.shape[last - 1], weight.shape[last], transposed};
  if (transposed) std::swap(out.rows, out.cols);
  if (last == 2) {
    out.members = weight.shape[0];
    out.rows *= out.members;
  }
  return out;
}

}  // namespace kvant::pipeline
