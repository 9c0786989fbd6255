// SPDX-License-Identifier: Apache-2.0
// What a container of weights offers, whatever its format: named weights, float or quantized, read on demand, and what
// stands beside them. A new format is a source, and a row in readers.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/io/json.hpp"
#include "kvant/io/metadata.hpp"
#include "kvant/numeric/runtime_codebook.hpp"
#include "kvant/quant/activation_scheme.hpp"
#include "kvant/quant/layer_scheme.hpp"
#include "kvant/quant/qmatrix.hpp"
#include "kvant/tensor/dtype.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant::io {

/// How a tensor of any rank is seen as a matrix: rank >= 2 is shape[0] x product of the rest, rank 1 is one row, rank
/// 0 is 1 x 1.
struct MatrixShape {
  std::uint64_t rows = 1;
  std::uint64_t cols = 1;
};
[[nodiscard]] MatrixShape matrix_shape(std::span<const std::uint64_t> shape) noexcept;

/// One weight. `scheme` is set where it is quantized; `dtype` is that of its stored values or codes.
struct WeightInfo {
  std::string name;                  ///< `X.weight`, also where only its parts are stored
  std::vector<std::uint64_t> shape;  ///< logical, in elements
  DType dtype = DType::f32;
  std::optional<LayerScheme> scheme{};
  std::uint64_t stored_bytes = 0;  ///< codes, scales and zero points together
  bool transposed = false;         ///< quantized along its rows, inputs: its QMatrix is the transpose (of each member)
  std::size_t file = 0;            ///< which of the container's files holds it

  /// Whether it is stored as codes, under `scheme`.
  [[nodiscard]] bool is_quantized() const noexcept { return scheme && !scheme->is_cast(); }
  [[nodiscard]] std::size_t rows() const noexcept { return static_cast<std::size_t>(matrix_shape(shape).rows); }
  [[nodiscard]] std::size_t cols() const noexcept { return static_cast<std::size_t>(matrix_shape(shape).cols); }
  /// Matrices of a stack that is quantized, [members, …]; 0 where it is one matrix.
  [[nodiscard]] std::size_t members() const noexcept {
    return is_quantized() && shape.size() == 3 ? static_cast<std::size_t>(shape[0]) : 0;
  }
  /// Of the QMatrix of a quantized weight, which has a stack's matrices one above the other.
  [[nodiscard]] MatrixShape code_shape() const noexcept;
};

/// What is known of a container as a whole.
struct SourceInfo {
  std::string container;       ///< the name of its format: a row of kReaders
  std::filesystem::path path;  ///< that was opened
  bool is_folder = false;
  std::vector<std::string> files;  ///< that hold weights: names within the folder, or of the single file
  std::uint64_t file_bytes = 0;    ///< of these files together
  std::uint64_t weight_bytes = 0;  ///< of all that is stored of weights
  std::optional<Json> config{};    ///< the model's configuration, as of config.json
  Metadata metadata{};             ///< of the first file
  std::string convention{};        ///< how quantized weights are stored, by name; empty where there are none
  std::string not_computed{};  ///< what the configuration asks of a forward pass and nothing computes; empty: nothing
  std::vector<std::string> warnings{};  ///< what is odd but no error, as whole sentences
  /// Codebooks that schemes of weights refer to: what is read of such a weight is valid while one of their owners
  /// lives.
  std::vector<std::shared_ptr<const RuntimeCodebook>> codebooks{};
  /// The folder's other files that belong to the model (configuration, tokenizer, licence, …), by path within it.
  std::vector<std::filesystem::path> side_files{};
  /// Weights that are neither read nor copied, as those in another format, by path within the folder.
  std::vector<std::filesystem::path> other_weights{};
};

/// Reading is thread-safe. Errors beside those named: truncated, io, out_of_memory, limit.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  WeightSource(const WeightSource&) = delete;
  WeightSource& operator=(const WeightSource&) = delete;

  [[nodiscard]] virtual const SourceInfo& info() const noexcept = 0;
  /// All weights, by name (bytewise order).
  [[nodiscard]] virtual const std::vector<WeightInfo>& list() const noexcept = 0;
  /// A weight that has a scheme, in its code_shape(), [out, in]. Errors: bad_metadata,
  /// nonfinite (a scale).
  [[nodiscard]] virtual Result<QMatrix> read_quantized(const WeightInfo& weight) const = 0;
  /// What becomes of its layer's inputs. Contract: likewise.
  [[nodiscard]] virtual LayerInputs layer_inputs(const WeightInfo& weight) const = 0;
  /// Rows of matrix_shape() of a weight without a scheme as fp32: F32, F16, BF16, F8_E4M3 and F8_E5M2 exactly, F64
  /// rounded to nearest even. Errors: unsupported (other dtypes), usage (rows outside).
  [[nodiscard]] virtual Result<Matrix<float>> read_rows(const WeightInfo& weight, std::uint64_t first_row,
                                                        std::uint64_t rows) const = 0;
  /// Bytes of a weight without a scheme as they are stored, row-major and little-endian. Errors: usage (outside of it).
  [[nodiscard]] virtual Status read_bytes(const WeightInfo& weight, std::uint64_t first,
                                          std::span<std::byte> out) const = 0;
  /// The same bytes, all of them, where they are mapped into memory; empty where they are not.
  [[nodiscard]] virtual std::span<const std::byte> mapped(const WeightInfo& weight) const noexcept = 0;

 protected:
  WeightSource() = default;
};

}  // namespace kvant::io
