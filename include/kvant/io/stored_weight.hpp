// SPDX-License-Identifier: Apache-2.0
// How a quantized weight lies in a checkpoint: which tensors, which bytes. docs/files.md is this file in prose.
//
// A weight `X.weight` becomes `X.weight_packed` (codes), `X.weight_scale`, `X.weight_zero_point` where the scheme is
// asymmetric, and `X.weight_shape`. Where compressed-tensors can express every quantized weight of a checkpoint the
// bytes are that convention's; otherwise they are kvant's own, for any scheme and any shape. Of compressed-tensors more
// is read than is written.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/io/checkpoint.hpp"
#include "kvant/io/json.hpp"
#include "kvant/io/safetensors.hpp"
#include "kvant/io/weight_sink.hpp"
#include "kvant/numeric/runtime_codebook.hpp"
#include "kvant/quant/layer_scheme.hpp"
#include "kvant/quant/qmatrix.hpp"

namespace kvant::io {

enum class Convention : std::uint8_t { compressed_tensors, kvant };
[[nodiscard]] constexpr std::string_view convention_name(Convention convention) noexcept {
  return convention == Convention::kvant ? "kvant" : "compressed-tensors";
}

/// What compressed-tensors cannot express about a weight; nothing where it can.
[[nodiscard]] std::optional<std::string> beyond_compressed_tensors(const QuantizedWeight& weight);

/// The tensors that a weight is stored as, codes first, then scales.
[[nodiscard]] std::vector<TensorSpec> stored_tensors(const QuantizedWeight& weight, Convention convention);

/// Writes the rows [first_row, first_row + band.rows) of a weight. Contract: `band` has the weight's scheme and columns
/// and is a whole number of row blocks; bands begin as those of WeightSink::write_rows(). Errors: those of the writer
/// and of check(); `unsupported` for what files do not hold: a matrix-wide scale that is a factor
/// (ScaleConvention::modelopt), an order of columns.
[[nodiscard]] Status write_band(SafetensorsWriter& writer, const QuantizedWeight& weight, Convention convention,
                                std::uint64_t first_row, const QMatrix& band);

/// The checkpoint's `quantization_config`. `ignored` are the linear layers that stay float, by tensor name.
[[nodiscard]] Json quantization_config(std::span<const QuantizedWeight> weights, std::span<const std::string> ignored,
                                       Convention convention);

/// How the codes of a weight lie in their tensor.
struct CodeStorage {
  enum class Form : std::uint8_t {
    stream,  ///< a row is a dense stream of bits, lowest first
    words,   ///< as many codes in each 32-bit word as fit, the lowest bits first; the rest of the word is unused
    bytes,   ///< one code in each byte, its sign extended
  };
  std::string suffix;       ///< of the tensor's name
  DType dtype = DType::u8;  ///< of its elements
  std::uint64_t row_bytes = 0;
  std::uint8_t flip = 0;  ///< xor-ed to a code: two's complement <-> offset binary
  Form form = Form::stream;
};

/// A weight as a checkpoint stores it.
struct StoredWeight : QuantizedWeight {
  CodeStorage codes;
  std::string scale_suffix = "_scale";  ///< of the inner scales' tensor
  /// How zero points are stored, where there are any: one in each byte, or packed along the rows as codes are.
  enum class Zeros : std::uint8_t { none, bytes, stream, words } zeros = Zeros::none;
  bool has_column_groups = false;    ///< X.weight_g_idx tells the group of each column
  InputParameters input{};           ///< of static activations
  std::vector<std::string> tensors;  ///< the names of all that it consists of
};

/// What a checkpoint stores, by its configuration.
struct StoredWeights {
  std::string_view convention;                                    ///< its name
  std::vector<std::shared_ptr<const RuntimeCodebook>> codebooks;  ///< that schemes refer to
  std::vector<StoredWeight> weights;
  std::vector<std::string> other_tensors;  ///< that say how values are rounded when a model runs, as scales of a cache
  std::string not_computed;  ///< what the configuration asks of a forward pass beyond layers' schemes; empty: nothing
};

/// The quantized weights of a checkpoint by its configuration: that of config.json, or for a single file that of its
/// metadata. None where it has no configuration. Every dtype and shape has been checked. Errors: bad_config,
/// bad_metadata (the configuration contradicts the tensors), unsupported (a configuration of another convention, or a
/// part of one that is not read, which the message names).
[[nodiscard]] Result<std::optional<StoredWeights>> find_stored_weights(const Checkpoint& checkpoint);

/// Reads a whole weight. Errors: bad_metadata (a code is none of the format's), nonfinite (a scale), limit (larger than
/// memory can address), io.
[[nodiscard]] Result<QMatrix> read_weight(const Checkpoint& checkpoint, const StoredWeight& weight);

/// The name of the convention that a quantization_config speaks, of those that are read; empty where it is none of
/// them.
[[nodiscard]] std::string_view read_convention(const Json& config);

/// The convention of another program that a checkpoint is quantized in, as its configuration, the files beside it or
/// its tensors show, and that is not read: what is stored must not be taken for numbers.
struct ForeignConvention {
  std::string name;      ///< "GPTQ"
  std::string evidence;  ///< what shows it: "quantize_config.json"
};
[[nodiscard]] std::optional<ForeignConvention> find_foreign_convention(const Checkpoint& checkpoint);

}  // namespace kvant::io
