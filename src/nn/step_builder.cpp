// SPDX-License-Identifier: Apache-2.0
#include "step_builder.hpp"

#include <algorithm>
#include <utility>
#include <variant>

#include "kvant/nn/families.hpp"

namespace kvant::nn {

bool is_bidirectional(const ModelConfig& config) noexcept {
  for (const Block& block : config.blocks)
    for (const Step& step : block.steps)
      if (const auto* attend = std::get_if<Attend>(&step); attend != nullptr && attend->both_ways) return true;
  return false;
}

bool StepBuilder::is_stored(std::string_view tensor) const {
  if (weights_ == nullptr || weights_->find(std::string(tensor)) != nullptr) return true;
  const std::string_view base = config_.family->base;
  return tensor.starts_with(base) && weights_->find(std::string(tensor.substr(base.size()))) != nullptr;
}

void StepBuilder::begin(std::vector<Block>& blocks, std::string prefix) {
  blocks.push_back({prefix, {}});
  begin(blocks.back().steps, std::move(prefix));
}

Slice StepBuilder::buffer(std::string_view name, std::size_t width) {
  const auto [entry, is_new] = buffers_.try_emplace(std::string(name), static_cast<BufferId>(config_.buffers.size()));
  if (is_new) config_.buffers.push_back({std::string(name), 0});
  std::size_t& widest = config_.buffers[entry->second].width;
  widest = std::max(widest, width);
  return {entry->second, 0, 1, width, width};
}

TensorId StepBuilder::tensor(TensorUse use) {
  if (is_full()) return 0;
  config_.tensors.push_back(std::move(use));
  return static_cast<TensorId>(config_.tensors.size() - 1);
}

TensorId StepBuilder::vector(std::string_view stem, std::vector<std::uint64_t> shape, Role role) {
  TensorUse use;
  use.name = name(stem);
  use.shape = std::move(shape);
  use.role = role;
  return tensor(std::move(use));
}

TensorId StepBuilder::matrix(std::string_view stem, std::size_t rows, std::size_t cols, const LinearOptions& options) {
  TensorUse use;
  use.name = name(stem) + ".weight";
  use.shape = {rows, cols};
  use.role = options.role;
  use.transposed = options.transposed;
  if (options.bias) use.bias = vector(std::string(stem) + ".bias", {rows}, Role::bias);
  return tensor(std::move(use));
}

std::size_t StepBuilder::rope(const Rope& rope) {
  const auto same = std::find(config_.ropes.begin(), config_.ropes.end(), rope);
  const auto index = static_cast<std::size_t>(same - config_.ropes.begin());
  if (same == config_.ropes.end()) config_.ropes.push_back(rope);
  return index;
}

std::size_t StepBuilder::cache(const CacheShape& shape) {
  config_.caches.push_back(shape);
  return config_.caches.size() - 1;
}

TensorId StepBuilder::embed(std::string_view stem, std::size_t rows, Slice out, float scale) {
  const TensorId table = matrix(stem, rows, out.width, {.role = Role::embedding});
  add(Embed{table, out.buffer, Embed::Key::token, 0, scale});
  return table;
}

void StepBuilder::norm(Slice in, Slice out, std::string_view stem, const NormOptions& options) {
  std::vector<std::uint64_t> shape{in.width};
  if (options.per_head) shape.insert(shape.begin(), in.count);
  Norm step{in, out, options.kind, options.epsilon, kNoTensor, kNoTensor, options.plus_one, options.per_head};
  if (options.weight) step.weight = vector(std::string(stem) + ".weight", shape, Role::norm);
  if (options.bias) step.bias = vector(std::string(stem) + ".bias", shape, Role::norm);
  add(step);
}

void StepBuilder::linear(Slice in, Slice out, std::string_view stem, const LinearOptions& options) {
  const TensorId weight = matrix(stem, out.columns(), in.columns(), options);
  add(Multiply{in, out, weight, options.scale, options.accumulate});
}

}  // namespace kvant::nn
