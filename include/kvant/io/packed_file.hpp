// SPDX-License-Identifier: Apache-2.0
// Files of packed layers, as `kvant pack` writes them: mapped, so that a layer multiplies by the file's own bytes.
//
// The container is safetensors, so that other tools can look inside. A layer X.weight is one U8 tensor of that name,
// its panels as kernels read them, at a multiple of 64 bytes; beside it X.weight#columns (U32, the order of stored
// inputs) and X.weight#scales1, #scales2 (F32, the levels of scales above the finest), where it has them. `kvant.xxh64`
// (U64) holds the xxHash64 of each layer's panels. Tensors that are no matrices stand as they were in the checkpoint.
// `__metadata__` has `format` = "kvant-packed", `version` = "1", `layers`, the text of a JSON array in the order of the
// hashes, and `checksum`, the xxHash64 of that text in hexadecimal digits. An entry of `layers`:
//   {"name", "scheme", "layout", "rows", "inputs", "scales": "fp16" or "fp32", "specials": NaN or Inf is among codes,
//    "columns": whether there are such, "reciprocal", "levels": [[type, rows, cols], …], "input_scale", "input_zero"}
// Everything else that a kernel has to know follows from these (make_shape() in kvant/linear/pack.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
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
  Scheme scheme;
  std::size_t rows = 0, inputs = 0;
  PackingTraits traits;
  bool reciprocal = false;
  std::vector<ScaleLevel> outer_levels{};  ///< of QMatrix::scales from the second on; no values
  bool has_columns = false;                ///< stored inputs are in another order, or there are more than inputs
  InputParameters input{};

  [[nodiscard]] PackedShape shape() const { return make_shape(scheme, rows, inputs, traits); }
};

class PackedFile {
 public:
  /// Maps a file and checks everything but the panels' content. Errors: those of SafetensorsFile; unsupported (a later
  /// version, a layout that this build does not have), bad_metadata, bad_shape, missing_tensor,
  /// bad_checksum (of the description).
  [[nodiscard]] static Result<PackedFile> open(const std::filesystem::path& path);

  [[nodiscard]] const std::vector<PackedLayer>& layers() const noexcept { return layers_; }
  [[nodiscard]] const PackedLayer* find(std::string_view name) const noexcept;
  /// Tensors that are no layers, among them biases.
  [[nodiscard]] const SafetensorsFile& tensors() const noexcept { return file_; }

  /// A layer of the file, with X.bias where there is such a tensor. It reads the mapped bytes: nothing is copied, and
  /// this file must outlive it. Where the context's tier prefers another layout, the layer is packed anew and owns its
  /// bytes. Errors: those of Linear::over(), bad_shape (the bias), bad_metadata (columns or scales).
  [[nodiscard]] Result<Linear> layer(const PackedLayer& layer, const Context& context) const;

  /// Reads everything and compares hashes: `bad_checksum` names the first layer that is not as it was written.
  [[nodiscard]] Status verify(const Context& context) const;

 private:
  explicit PackedFile(SafetensorsFile file) : file_(std::move(file)) {}
  [[nodiscard]] Status read_layers();
  [[nodiscard]] const TensorInfo* tensor(std::string_view name) const noexcept;
  [[nodiscard]] std::span<const unsigned char> bytes(const TensorInfo& tensor) const noexcept;
  template <class T>
  [[nodiscard]] Result<std::vector<T>> numbers(const std::string& name, DType dtype, std::size_t count) const;

  SafetensorsFile file_;
  std::vector<PackedLayer> layers_;
};

/// Writes a packed file, layer by layer in any order.
class PackedWriter {
 public:
  /// `layers` in the order of the file, `tensors` that stand beside them. Errors: those of SafetensorsWriter.
  [[nodiscard]] static Result<PackedWriter> create(const std::filesystem::path& path, std::vector<PackedLayer> layers,
                                                   std::vector<TensorSpec> tensors, OutputMode mode);

  /// Contract: `layer` is the layer of that index, packed.
  [[nodiscard]] Status write(std::size_t index, const PackedWeight& layer);
  [[nodiscard]] Status write(std::string_view tensor, std::span<const std::byte> data);
  /// Makes the file appear. Errors: usage (something is missing), io.
  [[nodiscard]] Status commit();
  [[nodiscard]] std::uint64_t size() const noexcept { return writer_.size(); }

 private:
  PackedWriter(SafetensorsWriter writer, std::vector<PackedLayer> layers);

  SafetensorsWriter writer_;
  std::vector<PackedLayer> layers_;
  std::vector<std::uint64_t> hashes_;
};

}  // namespace kvant::io
