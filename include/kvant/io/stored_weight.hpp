// SPDX-License-Identifier: Apache-2.0
// How a quantized weight lies in a checkpoint: which tensors, which bytes. docs/files.md is this file in prose.
//
// A weight `X.weight` becomes `X.weight_packed` (codes), `X.weight_scale`, `X.weight_zero_point` where the scheme is
// asymmetric, and `X.weight_shape`. Where compressed-tensors can express every quantized weight of a checkpoint the
// bytes are that convention's; otherwise they are kvant's own, for any scheme and any shape.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/io/checkpoint.hpp"
#include "kvant/io/json.hpp"
#include "kvant/io/safetensors.hpp"
#include "kvant/quant/qmatrix.hpp"
#include "kvant/quant/scheme.hpp"

namespace kvant::io {

enum class Convention : std::uint8_t { compressed_tensors, kvant };

/// A weight that is, or will be, quantized.
struct QuantizedWeight {
  std::string name;
  Scheme scheme;
  std::uint64_t rows = 0;
  std::uint64_t cols = 0;
};

/// What compressed-tensors cannot express about a weight; nothing where it can.
[[nodiscard]] std::optional<std::string> beyond_compressed_tensors(const QuantizedWeight& weight);

/// The tensors that a weight is stored as, codes first.
[[nodiscard]] std::vector<TensorSpec> stored_tensors(const QuantizedWeight& weight, Convention convention);

/// Writes the rows [first_row, first_row + band.rows) of a weight. Contract: `band` has the weight's scheme and columns
/// and is a whole number of row blocks; bands begin at multiples of 32 rows. Errors: those of the writer, `unsupported`
/// where a matrix-wide scale is a factor (ScaleConvention::modelopt), which files do not hold.
[[nodiscard]] Status write_band(SafetensorsWriter& writer, const QuantizedWeight& weight, Convention convention,
                                std::uint64_t first_row, const QMatrix& band);

/// Reads a whole weight. Errors: bad_metadata (a stored tensor is missing or of another dtype or size, a code is none
/// of the format's), nonfinite (a scale), limit (larger than memory can address), io.
[[nodiscard]] Result<QMatrix> read_weight(const Checkpoint& checkpoint, const QuantizedWeight& weight,
                                          Convention convention);

/// The checkpoint's `quantization_config`. `ignored` are the linear layers that stay float, by tensor name.
[[nodiscard]] Json quantization_config(std::span<const QuantizedWeight> weights, std::span<const std::string> ignored,
                                       Convention convention);

/// A parsed configuration: how the checkpoint stores what.
struct StoredWeights {
  Convention convention = Convention::kvant;
  std::vector<QuantizedWeight> weights;
};

/// The quantized weights of a checkpoint by its configuration: that of config.json, or for a single file that of its
/// metadata. None where it has no configuration. Errors: bad_config, bad_metadata, unsupported.
[[nodiscard]] Result<std::optional<StoredWeights>> find_stored_weights(const Checkpoint& checkpoint);

}  // namespace kvant::io
