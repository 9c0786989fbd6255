// SPDX-License-Identifier: Apache-2.0
// Weights being written, in whatever format: the form of another container, with weights quantized, cast, copied or
// left out. A new format is a sink, and a member of its row in readers.hpp.
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
#include "kvant/io/atomic_file.hpp"
#include "kvant/io/weight_source.hpp"
#include "kvant/numeric/formats.hpp"
#include "kvant/quant/layer_scheme.hpp"
#include "kvant/quant/qmatrix.hpp"
#include "kvant/tensor/dtype.hpp"

namespace kvant::io {

/// A weight that is, or will be, quantized.
struct QuantizedWeight {
  std::string name;
  LayerScheme scheme;
  std::uint64_t rows = 0;
  std::uint64_t cols = 0;
  bool transposed = false;  ///< the weight itself is [cols, rows], inputs first, as of GPT-2
  /// Of a stack of so many matrices of one shape, rows / members each, one above the other; 0: it is one matrix. A
  /// stack is transposed where each of them is.
  std::uint64_t members = 0;

  /// Of the weight itself: [rows, cols], of a stack [members, rows / members, cols].
  [[nodiscard]] std::vector<std::uint64_t> shape() const;
};

/// Whether files can hold such weights: of formats of the list, or of codebooks with their levels.
[[nodiscard]] constexpr bool is_storable(const Scheme& scheme) noexcept {
  return is_listed(scheme.scales.inner) && (is_listed(scheme.format) || is_storable_codebook(scheme.format));
}

/// A weight of an output: plain numbers of a dtype, or quantized.
struct OutputWeight {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::uint64_t> shape{};
  std::optional<QuantizedWeight> quantized{};  ///< dtype and shape say nothing then
  std::size_t file = 0;                        ///< the one of the source whose place it takes
};

struct OutputPlan {
  std::vector<OutputWeight> weights{};
  std::vector<std::string> float_layers{};  ///< linear layers that stay float, by the names of their weights
  std::optional<FormatId> dtype{};          ///< the type of floats from now on, where that changes
};

/// An output in the form of a source: a file for a file, a folder with as many files for a folder, side files copied.
/// It appears whole, at commit(), or not at all. Errors beside those named: io, usage.
class WeightSink {
 public:
  virtual ~WeightSink() = default;
  WeightSink(const WeightSink&) = delete;
  WeightSink& operator=(const WeightSink&) = delete;

  /// How quantized weights will be stored, and what kept a better known way from it; empty where nothing did.
  [[nodiscard]] virtual std::string_view convention() const noexcept = 0;
  [[nodiscard]] virtual const std::string& why() const noexcept = 0;
  /// What is to be known of readers of such an output, as whole sentences.
  [[nodiscard]] virtual std::vector<std::string> warnings() const = 0;
  /// Of all weights together.
  [[nodiscard]] virtual std::uint64_t planned_bytes() const = 0;

  /// Takes the place of the output. Errors: those of check_output() and AtomicFolder::create(), and of the source's
  /// configuration.
  [[nodiscard]] virtual Status open(const std::filesystem::path& path, OutputMode mode) = 0;
  /// Files are written one after the other, each with the weights that belong to it.
  [[nodiscard]] virtual Status begin_file(std::size_t index) = 0;
  /// Rows of a quantized weight from `first_row` on. Contract: `band` has the weight's scheme and columns and is a
  /// whole number of row blocks; bands begin at multiples of 32 rows, those of a stack at a member. Errors: those of
  /// check(); `unsupported` for what files do not hold.
  [[nodiscard]] virtual Status write_rows(const QuantizedWeight& weight, std::uint64_t first_row,
                                          const QMatrix& band) = 0;
  /// Bytes of a plain weight.
  [[nodiscard]] virtual Status write_bytes(std::string_view weight, std::uint64_t first,
                                           std::span<const std::byte> data) = 0;
  [[nodiscard]] virtual Status finish_file() = 0;
  /// Gives the bytes of the whole output.
  [[nodiscard]] virtual Result<std::uint64_t> commit() = 0;

 protected:
  WeightSink() = default;
};

}  // namespace kvant::io
