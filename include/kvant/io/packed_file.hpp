// SPDX-License-Identifier: Apache-2.0
// Files of packed layers, as `kvant pack` writes them: mapped, so that a layer multiplies by the file's own bytes.
//
// The container is safetensors, so that other tools can look inside. A layer X.weight is one U8 tensor of that name,
// its panels as kernels read them, at a multiple of 64 bytes; beside it X.weight#columns (U32, the order of stored
// inputs), X.weight#scales1, #scales2 and #offsets1 (F32, the levels above the inner one), where it has them. Other
// tensors stand beside the layers, floats among them as F32. `kvant.xxh64` (U64) holds an xxHash64 for each layer, of
// its panels, columns, scales and offsets one after the other, and then for each other tensor, by name. `__metadata__`
// has `format` = "kvant-packed", `version` = "1", `layers`, the text of a JSON array in the order of the hashes, and
// `checksum`, the xxHash64 of that text in hexadecimal digits. An entry of `layers`:
//   {"name", "scheme", "layout", "rows", "inputs", "scales": "fp16" or "fp32", "specials": NaN or Inf is among codes,
//    "columns": whether there are such, "reciprocal", "input_scale", "input_zero"}
// Everything else that a kernel has to know follows from these (make_shape() in kvant/linear/packed_shape.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/io/safetensors.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/linear/linear.hpp"
#include "kvant/linear/pack.hpp"

namespace kvant::io {

/// A layer as a packed file describes it.
struct PackedLayer {
  std::string name;
  PackedWeight weight;       ///< without bytes, columns and values of scales
  bool has_columns = false;  ///< stored inputs are in another order, or there are more than inputs
  LayerInputs inputs{};

  [[nodiscard]] LayerScheme scheme() const noexcept { return {weight.scheme, inputs.activation}; }
  /// Of a float matrix [rows, inputs]. Contract: `format` is fp32 or bf16.
  [[nodiscard]] static PackedLayer of_floats(std::string name, FormatId format, std::size_t rows, std::size_t inputs);
  /// Of a matrix that is to be packed for a context's tier. Errors: those of check().
  [[nodiscard]] static Result<PackedLayer> of(std::string name, const QMatrix& q, const LayerInputs& inputs,
                                              const Context& context);
};

class PackedFile {
 public:
  /// Maps a file and checks everything but the content of its tensors. Errors: those of SafetensorsFile; unsupported (a
  /// later version, a layout that this build does not have), bad_metadata, bad_scheme, bad_shape, missing_tensor,
  /// duplicate_key, bad_checksum (of the description).
  [[nodiscard]] static Result<PackedFile> open(const std::filesystem::path& path);
  /// The bytes of such a file in memory, from a multiple of 64 on, which stay and do not change while this is open.
  /// Errors: usage (they begin elsewhere), and the same.
  [[nodiscard]] static Result<PackedFile> over(std::span<const std::byte> bytes);

  [[nodiscard]] const std::vector<PackedLayer>& layers() const noexcept { return layers_; }
  [[nodiscard]] const PackedLayer* find(std::string_view name) const noexcept;
  /// The tensors of the file, layers and what stands beside them.
  [[nodiscard]] const SafetensorsFile& tensors() const noexcept { return file_; }

  /// A layer of this file, with X.bias where there is such a tensor. It reads the mapped bytes: nothing is copied, and
  /// this file must outlive it. Where the context's tier prefers another layout, the layer is packed anew and owns its
  /// bytes. Errors: those of Linear::over(); bad_metadata (a bias that is no F32), missing_tensor (a layer of another
  /// file).
  [[nodiscard]] Result<Linear> layer(const PackedLayer& layer, const Context& context) const;

  /// Reads everything and compares hashes: `bad_checksum` names the first tensor that is not as it was written.
  [[nodiscard]] Status verify(const Context& context) const;

 private:
  explicit PackedFile(SafetensorsFile file) : file_(std::move(file)) {}
  [[nodiscard]] static Result<PackedFile> of(Result<SafetensorsFile> file);
  [[nodiscard]] Status read_layers();
  [[nodiscard]] Status check_tensors(const PackedLayer& layer) const;
  [[nodiscard]] const TensorInfo* tensor(std::string_view name) const noexcept;
  [[nodiscard]] std::span<const unsigned char> bytes(const TensorInfo& tensor) const noexcept;
  template <class T>
  [[nodiscard]] std::vector<T> numbers(std::string_view name) const;

  SafetensorsFile file_;
  std::vector<PackedLayer> layers_;
  std::map<std::string_view, std::size_t> by_name_;  ///< places in layers_, names of tensors of the file
  std::map<std::string_view, std::size_t> places_;   ///< of all tensors
  std::vector<std::size_t> others_;                  ///< places of tensors that belong to no layer, by name
};

/// Writes a packed file, layers and tensors in any order.
class PackedWriter {
 public:
  /// `layers` in the order of the file, `tensors` that stand beside them. Errors: those of SafetensorsWriter.
  [[nodiscard]] static Result<PackedWriter> create(const std::filesystem::path& path, std::vector<PackedLayer> layers,
                                                   std::vector<TensorSpec> tensors, OutputMode mode);

  /// Contract: `layer` is the layer of that index, packed.
  [[nodiscard]] Status write(std::size_t index, const PackedWeight& layer);
  /// A whole tensor beside the layers. `usage` where it was not announced.
  [[nodiscard]] Status write(std::string_view tensor, std::span<const std::byte> data);
  /// Makes the file appear. Errors: usage (something is missing), io.
  [[nodiscard]] Status commit();
  [[nodiscard]] std::uint64_t size() const noexcept { return writer_.size(); }

 private:
  PackedWriter(SafetensorsWriter writer, std::vector<PackedLayer> layers, std::vector<std::string> others);

  SafetensorsWriter writer_;
  std::vector<PackedLayer> layers_;
  std::vector<std::string> others_;  ///< by name
  std::vector<std::uint64_t> hashes_;
};

}  // namespace kvant::io
