// SPDX-License-Identifier: Apache-2.0
// The list of file formats. Adding one that holds weights is a WeightSource, maybe a WeightSink, and a row here: what a
// file is, what `kvant list files` prints and what every verb opens follow from the rows.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string_view>

#include "kvant/core/error.hpp"
#include "kvant/io/input_file.hpp"
#include "kvant/io/weight_sink.hpp"
#include "kvant/io/weight_source.hpp"

namespace kvant::io {

struct FileFormat {
  std::string_view name;
  std::string_view what;
  bool reads, writes;
  /// Whether a file of `size` bytes that begins with `head` (512 bytes, or all) is one; null: told by its name and
  /// place.
  bool (*recognizes)(std::string_view head, std::uint64_t size) noexcept;
  /// Of formats that hold weights: whether a folder's weights are such files; opens a file or such a folder. Of a
  /// folder of none, the first row is asked. `as_stored`: its tensors one by one, whatever they mean.
  bool (*recognizes_folder)(const std::filesystem::path& path);
  Result<std::unique_ptr<WeightSource>> (*open)(const std::filesystem::path& path, Access access, bool as_stored);
  /// Of formats that weights are written in. The source outlives the sink.
  Result<std::unique_ptr<WeightSink>> (*make_sink)(const WeightSource& source, OutputPlan plan);
};

namespace detail {

bool recognizes_safetensors(std::string_view head, std::uint64_t size) noexcept;
bool recognizes_npy(std::string_view head, std::uint64_t size) noexcept;
Result<std::unique_ptr<WeightSource>> open_checkpoint(const std::filesystem::path& path, Access access, bool as_stored);
Result<std::unique_ptr<WeightSink>> make_checkpoint_sink(const WeightSource& source, OutputPlan plan);

}  // namespace detail

inline constexpr std::array kReaders{
    FileFormat{.name = "safetensors",
               .what = "weights: one file, or a folder with shards and an index",
               .reads = true,
               .writes = true,
               .recognizes = &detail::recognizes_safetensors,
               .recognizes_folder = nullptr,
               .open = &detail::open_checkpoint,
               .make_sink = &detail::make_checkpoint_sink},
    FileFormat{.name = "tokenizer.json",
               .what = "tokenizers of Hugging Face",
               .reads = true,
               .writes = false,
               .recognizes = nullptr,
               .recognizes_folder = nullptr,
               .open = nullptr,
               .make_sink = nullptr},
    FileFormat{.name = "tokenizer.model",
               .what = "tokenizers of SentencePiece",
               .reads = true,
               .writes = false,
               .recognizes = nullptr,
               .recognizes_folder = nullptr,
               .open = nullptr,
               .make_sink = nullptr},
    FileFormat{.name = "npy",
               .what = "arrays of numbers, token ids among them",
               .reads = true,
               .writes = true,
               .recognizes = &detail::recognizes_npy,
               .recognizes_folder = nullptr,
               .open = nullptr,
               .make_sink = nullptr},
};

/// The row of that name; null where there is none.
[[nodiscard]] constexpr const FileFormat* file_format(std::string_view name) noexcept {
  for (const FileFormat& f : kReaders)
    if (f.name == name) return &f;
  return nullptr;
}

}  // namespace kvant::io
