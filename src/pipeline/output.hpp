// SPDX-License-Identifier: Apache-2.0
// A checkpoint being written in the form of another: a file for a file, a folder with the same shards for a folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/io/atomic_file.hpp"
#include "kvant/io/checkpoint.hpp"
#include "kvant/io/safetensors.hpp"

namespace kvant::pipeline {

class OutputCheckpoint {
 public:
  /// `config` replaces config.json (a folder), `metadata` the file's metadata (a single file).
  [[nodiscard]] static Result<OutputCheckpoint> create(const io::Checkpoint& source, const std::filesystem::path& path,
                                                       io::OutputMode mode, std::optional<io::Json> config,
                                                       io::Metadata metadata);

  /// Opens shard `index` of the source for writing, with these tensors; `finish_shard()` completes it.
  [[nodiscard]] Status begin_shard(std::size_t index, std::vector<io::TensorSpec> tensors);
  [[nodiscard]] io::SafetensorsWriter& writer() { return *writer_; }
  [[nodiscard]] Status finish_shard();

  /// Side files, config and index; then everything appears. Gives the bytes of the whole output.
  [[nodiscard]] Result<std::uint64_t> commit();

 private:
  explicit OutputCheckpoint(const io::Checkpoint& source) : source_(&source) {}
  [[nodiscard]] Status write_json(const std::string& name, const io::Json& value);
  [[nodiscard]] Status copy_side_files();

  const io::Checkpoint* source_;
  std::filesystem::path path_;
  io::OutputMode mode_ = io::OutputMode::refuse;
  std::optional<io::AtomicFolder> folder_;
  std::optional<io::SafetensorsWriter> writer_;
  std::optional<io::Json> config_;
  io::Metadata metadata_;
  std::map<std::string, std::string> weight_map_;
  std::uint64_t tensor_bytes_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace kvant::pipeline
