// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/weights.hpp"

#include <algorithm>
#include <string_view>
#include <unordered_set>

#include "core/guard.hpp"
#include "kvant/core/contract.hpp"
#include "kvant/quant/encode.hpp"

namespace kvant::io {

Result<Weights> Weights::open(const std::filesystem::path& path, Access access) {
  auto checkpoint = Checkpoint::open(path, access);
  if (!checkpoint) return propagate(checkpoint);
  auto stored = find_stored_weights(*checkpoint);
  if (!stored) return propagate(stored);
  return guarded([&]() -> Result<Weights> {
    Weights result(std::move(*checkpoint));
    std::unordered_set<std::string_view> roles;
    if (*stored) {
      result.stored_ = std::move(**stored);
      for (const StoredWeight& w : result.stored_.weights) {
        WeightInfo info{w.name, {w.rows, w.cols}, w.codes.dtype, w.scheme, 0, w.transposed};
        if (w.transposed) std::swap(info.shape[0], info.shape[1]);
        for (const std::string& name : w.tensors) {
          if (name != w.name + "_shape") info.stored_bytes += result.checkpoint_.find(name)->bytes;
          roles.insert(name);
        }
        result.list_.push_back(std::move(info));
      }
      roles.insert(result.stored_.other_tensors.begin(), result.stored_.other_tensors.end());
      std::sort(result.stored_.weights.begin(), result.stored_.weights.end(),
                [](const StoredWeight& x, const StoredWeight& y) { return x.name < y.name; });
    }
    for (const CheckpointTensor& tensor : result.checkpoint_.tensors())
      if (!roles.contains(tensor.name))
        result.list_.push_back({tensor.name, tensor.shape, tensor.dtype, std::nullopt, tensor.bytes, false});
    std::sort(result.list_.begin(), result.list_.end(),
              [](const WeightInfo& a, const WeightInfo& b) { return a.name < b.name; });
    return result;
  });
}

const WeightInfo* Weights::find(std::string_view name) const noexcept {
  const auto it = std::lower_bound(list_.begin(), list_.end(), name,
                                   [](const WeightInfo& w, std::string_view n) { return w.name < n; });
  return it != list_.end() && it->name == name ? &*it : nullptr;
}

const StoredWeight& Weights::stored(const WeightInfo& weight) const {
  const auto at = std::lower_bound(stored_.weights.begin(), stored_.weights.end(), weight.name,
                                   [](const StoredWeight& w, const std::string& n) { return w.name < n; });
  expects(at != stored_.weights.end() && at->name == weight.name, "a quantized weight");
  return *at;
}

Result<QMatrix> Weights::read_quantized(const WeightInfo& weight) const {
  return read_weight(checkpoint_, stored(weight));
}

LayerInputs Weights::layer_inputs(const WeightInfo& weight) const {
  const StoredWeight& found = stored(weight);
  return {found.scheme.activation, found.input};
}

Result<Matrix<float>> Weights::read_float(const WeightInfo& weight) const {
  if (!weight.scheme) return checkpoint_.read_matrix(*checkpoint_.find(weight.name));
  const auto q = read_quantized(weight);
  if (!q) return propagate(q);
  return guarded([&]() -> Result<Matrix<float>> {
    const Matrix<float> values = dequantize(*q);
    return weight.transposed ? transpose(values.view()) : values;
  });
}

}  // namespace kvant::io
