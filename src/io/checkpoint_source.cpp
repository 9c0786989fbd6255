// SPDX-License-Identifier: Apache-2.0
#include "checkpoint_source.hpp"

#include <algorithm>
#include <memory>
#include <string_view>
#include <unordered_set>

#include "core/guard.hpp"
#include "kvant/core/contract.hpp"
#include "kvant/io/readers.hpp"
#include "storage.hpp"

namespace kvant::io {

Result<std::unique_ptr<WeightSource>> detail::open_checkpoint(const std::filesystem::path& path, Access access,
                                                              bool as_stored) {
  return CheckpointSource::open(path, access, as_stored);
}

namespace {

/// The name of the convention that a checkpoint's configuration speaks.
std::string stored_convention(const Checkpoint& checkpoint) {
  const auto config = find_quantization_config(checkpoint);
  if (!config || !*config) return "";
  const std::string_view name = read_convention(**config);
  return std::string(name.empty() ? convention_name(Convention::compressed_tensors) : name);
}

}  // namespace

Result<std::unique_ptr<WeightSource>> CheckpointSource::open(const std::filesystem::path& path, Access access,
                                                             bool as_stored) {
  auto checkpoint = Checkpoint::open(path, access);
  if (!checkpoint) return propagate(checkpoint);
  std::optional<StoredWeights> quantized;
  if (!as_stored) {
    auto found = find_stored_weights(*checkpoint);
    if (!found) return propagate(found);
    quantized = std::move(*found);
  }
  return guarded([&]() -> Result<std::unique_ptr<WeightSource>> {
    std::unique_ptr<CheckpointSource> source(new CheckpointSource(std::move(*checkpoint)));
    if (quantized) source->stored_ = std::move(*quantized);
    source->describe();
    if (as_stored) {
      const auto foreign = find_foreign_convention(source->checkpoint_);
      source->info_.convention = foreign ? foreign->name : stored_convention(source->checkpoint_);
    } else if (!source->stored_.weights.empty()) {
      source->info_.convention = source->stored_.convention;
    }
    source->add_quantized();
    source->add_tensors();
    return std::unique_ptr<WeightSource>(std::move(source));
  });
}

void CheckpointSource::describe() {
  info_.container = "safetensors";
  info_.path = checkpoint_.path();
  info_.is_folder = checkpoint_.is_folder();
  for (const Shard& shard : checkpoint_.shards()) info_.files.push_back(shard.name);
  info_.file_bytes = checkpoint_.file_bytes();
  info_.weight_bytes = checkpoint_.tensor_bytes();
  info_.config = checkpoint_.config();
  info_.metadata = checkpoint_.metadata();
  info_.warnings = checkpoint_.warnings();
  info_.side_files = checkpoint_.side_files();
  info_.other_weights = checkpoint_.other_weights();
  info_.not_computed = stored_.not_computed;
  info_.codebooks = stored_.codebooks;
}

void CheckpointSource::add_quantized() {
  for (const StoredWeight& w : stored_.weights) {
    WeightInfo info{w.name, w.shape(), w.codes.dtype, w.scheme, 0, w.transposed};
    for (const std::string& name : w.tensors)
      if (name != w.name + "_shape") info.stored_bytes += checkpoint_.find(name)->bytes;
    info.file = checkpoint_.find(w.name + w.scale_suffix)->shard;  // which there is in every convention
    list_.push_back(std::move(info));
  }
  std::sort(stored_.weights.begin(), stored_.weights.end(),
            [](const StoredWeight& x, const StoredWeight& y) { return x.name < y.name; });
}

/// Those that are no parts of quantized weights.
void CheckpointSource::add_tensors() {
  std::unordered_set<std::string_view> parts(stored_.other_tensors.begin(), stored_.other_tensors.end());
  for (const StoredWeight& w : stored_.weights) parts.insert(w.tensors.begin(), w.tensors.end());
  for (const CheckpointTensor& t : checkpoint_.tensors())
    if (!parts.contains(t.name)) list_.push_back({t.name, t.shape, t.dtype, std::nullopt, t.bytes, false, t.shard});
  std::sort(list_.begin(), list_.end(), [](const WeightInfo& a, const WeightInfo& b) { return a.name < b.name; });
}

const StoredWeight& CheckpointSource::stored(const WeightInfo& weight) const {
  const auto at = std::lower_bound(stored_.weights.begin(), stored_.weights.end(), weight.name,
                                   [](const StoredWeight& w, const std::string& n) { return w.name < n; });
  expects(at != stored_.weights.end() && at->name == weight.name, "a quantized weight");
  return *at;
}

const CheckpointTensor& CheckpointSource::tensor(const WeightInfo& weight) const {
  const CheckpointTensor* found = checkpoint_.find(weight.name);
  expects(found != nullptr && !weight.scheme, "a weight without a scheme");
  return *found;
}

Result<QMatrix> CheckpointSource::read_quantized(const WeightInfo& weight) const {
  return read_weight(checkpoint_, stored(weight));
}

LayerInputs CheckpointSource::layer_inputs(const WeightInfo& weight) const {
  const StoredWeight& found = stored(weight);
  return {found.scheme.activation, found.input};
}

Result<Matrix<float>> CheckpointSource::read_rows(const WeightInfo& weight, std::uint64_t first_row,
                                                  std::uint64_t rows) const {
  return checkpoint_.read_rows(tensor(weight), first_row, rows);
}

Status CheckpointSource::read_bytes(const WeightInfo& weight, std::uint64_t first, std::span<std::byte> out) const {
  return checkpoint_.read_bytes(tensor(weight), first, out);
}

std::span<const std::byte> CheckpointSource::mapped(const WeightInfo& weight) const noexcept {
  return checkpoint_.mapped(tensor(weight));
}

}  // namespace kvant::io
