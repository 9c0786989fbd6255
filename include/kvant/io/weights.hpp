// SPDX-License-Identifier: Apache-2.0
// A checkpoint seen as weights: float tensors as they are, quantized ones as one matrix each, whatever tensors their
// codes, scales and zero points are stored in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/io/checkpoint.hpp"
#include "kvant/io/stored_weight.hpp"
#include "kvant/quant/layer_scheme.hpp"
#include "kvant/quant/qmatrix.hpp"
#include "kvant/tensor/dtype.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant::io {

/// One weight. `scheme` is set where it is quantized; `dtype` is that of its stored values or codes.
struct WeightInfo {
  std::string name;                  ///< `X.weight`, also where only `X.weight_packed` is stored
  std::vector<std::uint64_t> shape;  ///< logical, in elements
  DType dtype = DType::f32;
  std::optional<LayerScheme> scheme{};
  std::uint64_t stored_bytes = 0;  ///< codes, scales and zero points together
  bool transposed = false;         ///< quantized along its rows, inputs: its QMatrix is the transpose

  /// Whether it is stored as codes, under `scheme`.
  [[nodiscard]] bool is_quantized() const noexcept { return scheme && !scheme->is_cast(); }
  [[nodiscard]] std::size_t rows() const noexcept { return static_cast<std::size_t>(matrix_shape(shape).rows); }
  [[nodiscard]] std::size_t cols() const noexcept { return static_cast<std::size_t>(matrix_shape(shape).cols); }
};

class Weights {
 public:
  /// Opens a checkpoint and reads its quantization configuration. Errors: those of Checkpoint::open, bad_config and
  /// bad_metadata (the configuration contradicts the tensors), unsupported (another tool's convention, by name).
  [[nodiscard]] static Result<Weights> open(const std::filesystem::path& path, Access access = Access::pread);

  [[nodiscard]] const Checkpoint& checkpoint() const noexcept { return checkpoint_; }
  /// All weights, by name.
  [[nodiscard]] const std::vector<WeightInfo>& list() const noexcept { return list_; }
  [[nodiscard]] const WeightInfo* find(std::string_view name) const noexcept;

  /// How quantized weights are stored, where there are any.
  [[nodiscard]] Convention convention() const noexcept { return stored_.convention; }
  /// What the configuration asks of a forward pass beyond the schemes of layers, and nothing here computes; empty:
  /// nothing.
  [[nodiscard]] const std::string& not_computed() const noexcept { return stored_.not_computed; }

  /// A quantized weight [out, in]; of one that is `transposed`, that is [columns, rows]. Contract: `weight.scheme` is
  /// set.
  [[nodiscard]] Result<QMatrix> read_quantized(const WeightInfo& weight) const;
  /// What becomes of its layer's inputs. Contract: likewise.
  [[nodiscard]] LayerInputs layer_inputs(const WeightInfo& weight) const;
  /// Any weight as floats, in its own shape; a quantized one is dequantized.
  [[nodiscard]] Result<Matrix<float>> read_float(const WeightInfo& weight) const;

 private:
  explicit Weights(Checkpoint checkpoint) : checkpoint_(std::move(checkpoint)) {}
  [[nodiscard]] const StoredWeight& stored(const WeightInfo& weight) const;

  Checkpoint checkpoint_;
  StoredWeights stored_;  ///< weights by name
  std::vector<WeightInfo> list_;
};

}  // namespace kvant::io
