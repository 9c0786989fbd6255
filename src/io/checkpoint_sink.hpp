// SPDX-License-Identifier: Apache-2.0
// A checkpoint of safetensors files being written in the form of another: a file for a file, a folder with the same
// shards for a folder. Where compressed-tensors can express every quantized weight the bytes are that convention's.
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
#include "kvant/io/safetensors.hpp"
#include "kvant/io/stored_weight.hpp"
#include "kvant/io/weight_sink.hpp"

namespace kvant::io {

class CheckpointSink final : public WeightSink {
 public:
  CheckpointSink(const WeightSource& source, OutputPlan plan);

  [[nodiscard]] std::string_view convention() const noexcept override { return convention_name(convention_); }
  [[nodiscard]] const std::string& why() const noexcept override { return why_; }
  [[nodiscard]] std::vector<std::string> warnings() const override;
  [[nodiscard]] std::uint64_t planned_bytes() const override;

  [[nodiscard]] Status open(const std::filesystem::path& path, OutputMode mode) override;
  [[nodiscard]] Status begin_file(std::size_t index) override;
  [[nodiscard]] Status write_rows(const QuantizedWeight& weight, std::uint64_t first_row, const QMatrix& band) override;
  [[nodiscard]] Status write_bytes(std::string_view weight, std::uint64_t first,
                                   std::span<const std::byte> data) override;
  [[nodiscard]] Status finish_file() override;
  [[nodiscard]] Result<std::uint64_t> commit() override;

 private:
  [[nodiscard]] Status check_codebooks() const;
  [[nodiscard]] Status open_output(const std::filesystem::path& path, OutputMode mode);
  [[nodiscard]] Status begin(std::size_t index);
  [[nodiscard]] Result<std::uint64_t> commit_output();
  /// The tensors that a weight is stored as.
  [[nodiscard]] std::vector<TensorSpec> tensors_of(const OutputWeight& weight) const;
  /// The quantization_config; nothing where no weight is quantized.
  [[nodiscard]] std::optional<Json> quantization() const;
  /// The name of what takes the place of a file of the source.
  [[nodiscard]] std::string shard_name(std::size_t index) const;
  /// The name of the index; empty where model.safetensors alone needs none.
  [[nodiscard]] std::string_view index_name() const;
  /// All files of a folder, by path within it.
  [[nodiscard]] std::vector<std::filesystem::path> contents() const;
  [[nodiscard]] Status write_text(std::string_view name, std::string_view text);
  [[nodiscard]] Status write_index();
  [[nodiscard]] Status copy_side_files();

  const SourceInfo& source_;
  OutputPlan plan_;
  Convention convention_ = Convention::compressed_tensors;
  std::string why_;  ///< what compressed-tensors cannot express
  std::filesystem::path path_;
  OutputMode mode_ = OutputMode::refuse;
  std::optional<std::string> config_;  ///< the text of config.json, for a folder that has one
  Metadata metadata_;                  ///< of each file
  std::optional<AtomicFolder> folder_;
  std::optional<SafetensorsWriter> writer_;
  std::map<std::string, std::string> weight_map_;
  std::uint64_t tensor_bytes_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace kvant::io
