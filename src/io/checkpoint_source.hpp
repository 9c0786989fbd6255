// SPDX-License-Identifier: Apache-2.0
// A checkpoint of safetensors files as a source of weights: float tensors as they are, quantized ones as one matrix
// each, whatever tensors their codes, scales and zero points are stored in.
#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "kvant/io/checkpoint.hpp"
#include "kvant/io/stored_weight.hpp"
#include "kvant/io/weight_source.hpp"

namespace kvant::io {

class CheckpointSource final : public WeightSource {
 public:
  [[nodiscard]] static Result<std::unique_ptr<WeightSource>> open(const std::filesystem::path& path, Access access,
                                                                  bool as_stored);

  [[nodiscard]] const Checkpoint& checkpoint() const noexcept { return checkpoint_; }
  [[nodiscard]] const SourceInfo& info() const noexcept override { return info_; }
  [[nodiscard]] const std::vector<WeightInfo>& list() const noexcept override { return list_; }
  [[nodiscard]] Result<QMatrix> read_quantized(const WeightInfo& weight) const override;
  [[nodiscard]] LayerInputs layer_inputs(const WeightInfo& weight) const override;
  [[nodiscard]] Result<Matrix<float>> read_rows(const WeightInfo& weight, std::uint64_t first_row,
                                                std::uint64_t rows) const override;
  [[nodiscard]] Status read_bytes(const WeightInfo& weight, std::uint64_t first,
                                  std::span<std::byte> out) const override;
  [[nodiscard]] std::span<const std::byte> mapped(const WeightInfo& weight) const noexcept override;

 private:
  explicit CheckpointSource(Checkpoint checkpoint) : checkpoint_(std::move(checkpoint)) {}
  void describe();
  void add_quantized();
  void add_tensors();
  [[nodiscard]] const StoredWeight& stored(const WeightInfo& weight) const;
  [[nodiscard]] const CheckpointTensor& tensor(const WeightInfo& weight) const;

  Checkpoint checkpoint_;
  StoredWeights stored_;  ///< weights by name
  std::vector<WeightInfo> list_;
  SourceInfo info_;
};

}  // namespace kvant::io
