// SPDX-License-Identifier: Apache-2.0
#include "orientation.hpp"

#include <algorithm>
#include <cstddef>

namespace kvant::pipeline {
namespace {

constexpr std::string_view kWeight = ".weight";

/// What the length of a weight's bias tells; nothing of a square.
Orientation by_bias(const io::Weights& weights, const io::WeightInfo& weight) {
  if (weight.shape.size() != 2 || !weight.name.ends_with(kWeight)) return Orientation::unknown;
  const std::string stem = weight.name.substr(0, weight.name.size() - kWeight.size());
  const io::WeightInfo* bias = weights.find(stem + ".bias");
  if (bias == nullptr || bias->shape.size() != 1 || weight.shape[0] == weight.shape[1]) return Orientation::unknown;
  if (bias->shape[0] == weight.shape[0]) return Orientation::out_in;
  return bias->shape[0] == weight.shape[1] ? Orientation::in_out : Orientation::unknown;
}

}  // namespace

std::string_view layer_of(std::string_view name) {
  std::size_t last = 0;
  for (std::size_t at = 0; at < name.size();) {
    const std::size_t end = std::min(name.find('.', at), name.size());
    if (end != at && name.substr(at, end - at).find_first_not_of("0123456789") == std::string_view::npos) last = end;
    at = end + 1;
  }
  return name.substr(0, last);
}

Orientations::Orientations(const io::Weights& weights) : weights_(weights) {
  for (const io::WeightInfo& w : weights.list())
    if (by_bias(weights, w) == Orientation::in_out) layers_.emplace(layer_of(w.name));
}

Orientation Orientations::of(const io::WeightInfo& weight) const {
  const Orientation told = by_bias(weights_, weight);
  if (told != Orientation::unknown || weight.shape.size() != 2 || weight.shape[0] != weight.shape[1]) return told;
  return layers_.contains(layer_of(weight.name)) ? Orientation::in_out : Orientation::unknown;
}

}  // namespace kvant::pipeline
