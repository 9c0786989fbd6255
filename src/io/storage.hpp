// SPDX-License-Identifier: Apache-2.0
// What the writer and the readers of quantized weights share: dtypes, shapes and byte counts.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/io/stored_weight.hpp"

namespace kvant::io {

/// The dtype of a stored scale; formats that safetensors has no name for are stored as the bytes of their codes.
[[nodiscard]] DType scale_dtype(FormatId type, Convention convention) noexcept;

[[nodiscard]] CodeStorage code_storage(const QuantizedWeight& weight, Convention convention);

/// Whether zero points have a tensor of their own.
[[nodiscard]] bool has_zero_points(const Scheme& scheme) noexcept;

/// Bytes of one row of integer-scale records.
[[nodiscard]] std::uint64_t record_row_bytes(const QuantizedWeight& weight);

[[nodiscard]] std::vector<std::uint64_t> scale_shape(const QuantizedWeight& weight, Convention convention);

/// Bytes of one row of a level's numbers, in whole bytes.
[[nodiscard]] std::uint64_t level_row_bytes(const ScaleLevel& level) noexcept;

/// A level of numbers, without values, and the tensor that holds it: as many rows as the matrix has, or a list for all
/// of it.
struct StoredLevel {
  ScaleLevel level;
  TensorSpec spec;
  bool in_rows;
};
/// The levels of scales above the inner one, in the order of QMatrix::scales, and all those of offsets.
[[nodiscard]] std::vector<StoredLevel> outer_scales(const QuantizedWeight& weight);
[[nodiscard]] std::vector<StoredLevel> stored_offsets(const QuantizedWeight& weight);

/// `[4, 2]`.
[[nodiscard]] std::string shape_text(std::span<const std::uint64_t> shape);

/// `bad_metadata` unless the tensor is there and has the dtype and one of the shapes.
[[nodiscard]] Status check_stored(const Checkpoint& checkpoint, const std::string& name, DType dtype,
                                  std::initializer_list<std::vector<std::uint64_t>> shapes);

/// X of `X.weight`.
[[nodiscard]] inline std::string module_of(std::string_view tensor) {
  constexpr std::string_view kWeight = ".weight";
  return std::string(tensor.ends_with(kWeight) ? tensor.substr(0, tensor.size() - kWeight.size()) : tensor);
}

/// Whether a module is an embedding and no linear layer, which the file does not tell.
[[nodiscard]] bool is_embedding(std::string_view module) noexcept;

/// That of config.json or, of a single file, of its metadata. Errors: those of parse_json().
[[nodiscard]] Result<std::optional<Json>> find_quantization_config(const Checkpoint& checkpoint,
                                                                   const Where& where = {});

/// Whether a tensor looks like codes. Masks and positions, which float checkpoints have too, are no weights.
[[nodiscard]] bool holds_codes(const CheckpointTensor& tensor) noexcept;

/// `unsupported` where an object of a configuration has keys that are none of `known` and say something; `of` goes
/// behind the key's name.
[[nodiscard]] Status check_keys(const Json& object, std::span<const std::string_view> known, const std::string& of,
                                const Where& where);
/// null, false, {} and [].
[[nodiscard]] bool says_nothing(const Json& value);

/// The text under a key; empty where there is none.
[[nodiscard]] std::string_view text_of(const Json& object, std::string_view key);

/// The numbers of X_shape. Errors: bad_metadata (no two 64-bit integers), io.
[[nodiscard]] Result<MatrixShape> read_shape(const Checkpoint& checkpoint, const std::string& name);

/// The weights of a checkpoint under the configuration of a convention, each in the file of its name. Errors: as
/// find_stored_weights().
[[nodiscard]] Result<StoredWeights> read_compressed_tensors(const Checkpoint& checkpoint, const Json& config,
                                                            const Where& where);
[[nodiscard]] Result<StoredWeights> read_fine_grained_fp8(const Checkpoint& checkpoint, const Json& config,
                                                          const Where& where);
[[nodiscard]] Result<StoredWeights> read_gpt_oss_mxfp4(const Checkpoint& checkpoint, const Json& config,
                                                       const Where& where);

}  // namespace kvant::io
