// SPDX-License-Identifier: Apache-2.0
// The weights of a file or a folder, whatever its format: float ones as they are, quantized ones as one matrix each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/io/input_file.hpp"
#include "kvant/io/json.hpp"
#include "kvant/io/weight_sink.hpp"
#include "kvant/io/weight_source.hpp"
#include "kvant/quant/qmatrix.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant::io {

class Weights {
 public:
  /// Opens what a row of kReaders recognizes and reads its quantization configuration. Errors: those of sniff() and of
  /// the format: for safetensors those of Checkpoint::open, bad_config and bad_metadata (the configuration contradicts
  /// the tensors), unsupported (another tool's convention, by name).
  [[nodiscard]] static Result<Weights> open(const std::filesystem::path& path, Access access = Access::pread);
  /// The same without any configuration: tensors as they are stored, whatever they mean. info().convention names what
  /// they are quantized in.
  [[nodiscard]] static Result<Weights> open_as_stored(const std::filesystem::path& path, Access access = Access::pread);
  /// Of a source of one's own.
  explicit Weights(std::unique_ptr<const WeightSource> source) : source_(std::move(source)) {}

  [[nodiscard]] const WeightSource& source() const noexcept { return *source_; }
  [[nodiscard]] const SourceInfo& info() const noexcept { return source_->info(); }
  [[nodiscard]] const std::optional<Json>& config() const noexcept { return info().config; }
  /// The path that was opened, as errors name it.
  [[nodiscard]] std::string path_text() const { return info().path.string(); }
  /// All weights, by name.
  [[nodiscard]] const std::vector<WeightInfo>& list() const noexcept { return source_->list(); }
  /// The weight, or null. O(log weights).
  [[nodiscard]] const WeightInfo* find(std::string_view name) const noexcept;

  /// As those of WeightSource. What is read of a weight in a stored codebook refers to it: see SourceInfo::codebooks.
  [[nodiscard]] Result<QMatrix> read_quantized(const WeightInfo& weight) const {
    return source_->read_quantized(weight);
  }
  [[nodiscard]] LayerInputs layer_inputs(const WeightInfo& weight) const { return source_->layer_inputs(weight); }
  [[nodiscard]] Result<Matrix<float>> read_rows(const WeightInfo& weight, std::uint64_t first_row,
                                                std::uint64_t rows) const {
    return source_->read_rows(weight, first_row, rows);
  }
  [[nodiscard]] Status read_bytes(const WeightInfo& weight, std::uint64_t first, std::span<std::byte> out) const {
    return source_->read_bytes(weight, first, out);
  }
  [[nodiscard]] std::span<const std::byte> mapped(const WeightInfo& weight) const noexcept {
    return source_->mapped(weight);
  }
  /// Any weight as floats, in matrix_shape() of its own shape; a quantized one is dequantized.
  [[nodiscard]] Result<Matrix<float>> read_float(const WeightInfo& weight) const;

  /// An output in the form of this source, in its format.
  [[nodiscard]] Result<std::unique_ptr<WeightSink>> make_sink(OutputPlan plan) const;

 private:
  std::unique_ptr<const WeightSource> source_;
};

}  // namespace kvant::io
