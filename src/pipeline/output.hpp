// SPDX-License-Identifier: Apache-2.0
// A checkpoint being written in the form of another: a file for a file, a folder with the same shards for a folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/io/atomic_file.hpp"
#include "kvant/io/checkpoint.hpp"
#include "kvant/io/safetensors.hpp"
#include "kvant/io/stored_weight.hpp"

namespace kvant::pipeline {

/// What an output has that its source has not.
struct OutputForm {
  std::optional<std::string> config{};  ///< the text of config.json, for a folder that has one
  io::Metadata metadata{};              ///< of each weight file
  io::Convention convention = io::Convention::compressed_tensors;  ///< decides how a folder's weight files are named
};

class OutputCheckpoint {
 public:
  /// Errors: those of io::check_output() and io::AtomicFolder::create().
  [[nodiscard]] static Result<OutputCheckpoint> create(const io::Checkpoint& source, const std::filesystem::path& path,
                                                       io::OutputMode mode, OutputForm form);

  /// Opens shard `index` of the source for writing, with these tensors; `finish_shard()` completes it.
  [[nodiscard]] Status begin_shard(std::size_t index, std::vector<io::TensorSpec> tensors);
  [[nodiscard]] io::SafetensorsWriter& writer() { return *writer_; }
  [[nodiscard]] Status finish_shard();

  /// Side files, config and index; then everything appears. Gives the bytes of the whole output.
  [[nodiscard]] Result<std::uint64_t> commit();

 private:
  explicit OutputCheckpoint(const io::Checkpoint& source) : source_(&source) {}
  /// The name of what takes the place of a shard of the source.
  [[nodiscard]] std::string shard_name(std::size_t index) const;
  /// The name of the index; empty where model.safetensors alone needs none.
  [[nodiscard]] std::string_view index_name() const;
  /// All files of a folder, by path within it.
  [[nodiscard]] std::vector<std::filesystem::path> contents() const;
  [[nodiscard]] Status write_text(std::string_view name, std::string_view text);
  [[nodiscard]] Status write_index();
  [[nodiscard]] Status copy_side_files();

  const io::Checkpoint* source_;
  std::filesystem::path path_;
  io::OutputMode mode_ = io::OutputMode::refuse;
  std::optional<io::AtomicFolder> folder_;
  std::optional<io::SafetensorsWriter> writer_;
  OutputForm form_;
  std::map<std::string, std::string> weight_map_;
  std::uint64_t tensor_bytes_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace kvant::pipeline
