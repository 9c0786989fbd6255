// SPDX-License-Identifier: Apache-2.0
#include "kvant/io/weights.hpp"

#include <algorithm>
#include <unordered_set>

#include "guard.hpp"
#include "kvant/io/stored_weight.hpp"
#include "kvant/quant/encode.hpp"

namespace kvant::io {

Result<Weights> Weights::open(const std::filesystem::path& path, Access access) {
  auto checkpoint = Checkpoint::open(path, access);
  if (!checkpoint) return propagate(checkpoint);
  auto stored = find_stored_weights(*checkpoint);
  if (!stored) return propagate(stored);
  return guarded([&]() -> Result<Weights> {
    Weights result(std::move(*checkpoint));
    std::unordered_set<std::string> roles;
    if (*stored) {
      result.convention_ = (*stored)->convention;
      for (QuantizedWeight& w : (*stored)->weights) {
        WeightInfo info{w.name, {w.rows, w.cols}, DType::u8, w.scheme, 0};
        for (const TensorSpec& spec : stored_tensors(w, result.convention_)) {
          const CheckpointTensor* tensor = result.checkpoint_.find(spec.name);
          if (tensor == nullptr)
            return fail(ErrorCode::bad_metadata, "is missing, but the quantization configuration needs it",
                        {path.string(), spec.name, {}});
          if (spec.name != w.name + "_shape") info.stored_bytes += tensor->bytes;
          if (!roles.insert(spec.name).second)
            return fail(ErrorCode::bad_metadata, "belongs to two quantized weights", {path.string(), spec.name, {}});
        }
        info.dtype = result.checkpoint_.find(stored_tensors(w, result.convention_).front().name)->dtype;
        result.list_.push_back(std::move(info));
      }
    }
    for (const CheckpointTensor& tensor : result.checkpoint_.tensors())
      if (!roles.contains(tensor.name))
        result.list_.push_back({tensor.name, tensor.shape, tensor.dtype, std::nullopt, tensor.bytes});
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

Result<QMatrix> Weights::read_quantized(const WeightInfo& weight) const {
  expects(weight.scheme && !weight.scheme->is_cast(), "a quantized weight");
  return read_weight(checkpoint_, {weight.name, *weight.scheme, weight.shape[0], weight.shape[1]}, convention_);
}

Result<Matrix<float>> Weights::read_float(const WeightInfo& weight) const {
  if (!weight.scheme) return checkpoint_.read_matrix(*checkpoint_.find(weight.name));
  const auto q = read_quantized(weight);
  if (!q) return propagate(q);
  return guarded([&]() -> Result<Matrix<float>> { return dequantize(*q); });
}

}  // namespace kvant::io
