// SPDX-License-Identifier: Apache-2.0
// A model on disk: named tensors that are read on demand, metadata, configuration, and the files beside the weights.
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
#include "kvant/io/input_file.hpp"
#include "kvant/io/json.hpp"
#include "kvant/io/safetensors.hpp"
#include "kvant/io/weight_source.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant::io {

/// Bounds on a config.json.
inline constexpr JsonLimits kConfigLimits{.max_bytes = std::size_t{16} << 20, .max_depth = 32};

struct CheckpointTensor : TensorInfo {
  std::size_t shard = 0;  ///< index into Checkpoint::shards()
};

struct Shard {
  std::string name;         ///< within the folder, or of the single file
  std::uint64_t bytes = 0;  ///< of the file
};

/// One safetensors file, or a folder with `model.safetensors.index.json` (or `kvant.safetensors.index.json`) and its
/// shards, with `model.safetensors`, or with a single `*.safetensors`. Reading is thread-safe.
class Checkpoint {
 public:
  /// Opens every shard and checks every header and the index against them. Errors: no_model (a folder without
  /// weights), bad_index (it contradicts the shards, or names a file outside the folder), not_found (a file of the
  /// model is a link to nothing), limit (more or deeper files than a model's), those of SafetensorsFile and, for
  /// config.json and modules.json, of parse_json().
  [[nodiscard]] static Result<Checkpoint> open(const std::filesystem::path& path, Access access = Access::pread);

  /// All tensors, by name (bytewise order).
  [[nodiscard]] const std::vector<CheckpointTensor>& tensors() const noexcept { return tensors_; }
  /// The tensor, or nullptr. O(log tensors).
  [[nodiscard]] const CheckpointTensor* find(std::string_view name) const noexcept;

  [[nodiscard]] const Metadata& metadata() const noexcept { return metadata_; }
  /// config.json of the folder.
  [[nodiscard]] const std::optional<Json>& config() const noexcept { return config_; }
  /// The folder's other files that belong to the model (configuration, tokenizer, licence, ...), those of subfolders
  /// among them: by path within the folder, sorted. Hidden files are not among them, nor weights in whatever format and
  /// their index, but for those of the modules of a sentence encoder.
  [[nodiscard]] const std::vector<std::filesystem::path>& side_files() const noexcept { return side_files_; }
  /// Weights that are neither read nor copied, as those in another format: by path within the folder, sorted.
  [[nodiscard]] const std::vector<std::filesystem::path>& other_weights() const noexcept { return other_weights_; }
  [[nodiscard]] const std::vector<Shard>& shards() const noexcept { return shards_; }
  /// What is odd but no error, as whole sentences.
  [[nodiscard]] const std::vector<std::string>& warnings() const noexcept { return warnings_; }

  [[nodiscard]] bool is_folder() const noexcept { return is_folder_; }
  /// The path that was opened.
  [[nodiscard]] const std::filesystem::path& path() const noexcept { return path_; }
  /// Of all tensors together.
  [[nodiscard]] std::uint64_t tensor_bytes() const noexcept;
  /// Of all weight files together.
  [[nodiscard]] std::uint64_t file_bytes() const noexcept;

  /// Bytes [byte_offset, byte_offset + out.size()) of a tensor. Errors: usage (outside of it), truncated, io.
  [[nodiscard]] Status read_bytes(const CheckpointTensor& tensor, std::uint64_t byte_offset,
                                  std::span<std::byte> out) const;

  /// All bytes of a tensor under Access::mmap; otherwise empty.
  [[nodiscard]] std::span<const std::byte> mapped(const CheckpointTensor& tensor) const noexcept;

  /// Rows of matrix_shape() as fp32. F32, F16, BF16, F8_E4M3 and F8_E5M2 convert exactly, F64 rounds to nearest even.
  /// Errors: unsupported (other dtypes), usage (rows outside, or `out` of another width), truncated, io, out_of_memory.
  [[nodiscard]] Result<Matrix<float>> read_rows(const CheckpointTensor& tensor, std::uint64_t first_row,
                                                std::uint64_t n_rows) const;
  [[nodiscard]] Status read_rows_into(const CheckpointTensor& tensor, std::uint64_t first_row,
                                      MatrixView<float> out) const;
  /// All rows.
  [[nodiscard]] Result<Matrix<float>> read_matrix(const CheckpointTensor& tensor) const;

 private:
  friend class CheckpointOpener;
  Checkpoint() = default;
  [[nodiscard]] Status check_rows(const CheckpointTensor& tensor, std::uint64_t first_row, std::uint64_t n_rows,
                                  std::uint64_t cols) const;

  std::filesystem::path path_;
  bool is_folder_ = false;
  std::vector<InputFile> files_;
  std::vector<Shard> shards_;
  std::vector<CheckpointTensor> tensors_;
  Metadata metadata_;
  std::optional<Json> config_;
  std::vector<std::filesystem::path> side_files_;
  std::vector<std::filesystem::path> other_weights_;
  std::vector<std::string> warnings_;
};

}  // namespace kvant::io
