// SPDX-License-Identifier: Apache-2.0
// The names of the files that a checkpoint consists of.
#pragma once

#include <filesystem>
#include <string_view>

namespace kvant::io {

inline constexpr std::string_view kSingleName = "model.safetensors";
inline constexpr std::string_view kIndexName = "model.safetensors.index.json";
/// The index of a checkpoint in kvant's own convention. Its name and those of its shards,
/// kvant-00001-of-00002.safetensors, are none that an engine looks for: what does not know the convention stops instead
/// of running on random weights.
inline constexpr std::string_view kOwnIndexName = "kvant.safetensors.index.json";

/// Weights of any format and their indexes: what is not copied beside a new checkpoint.
[[nodiscard]] bool is_weight_file(const std::filesystem::path& name);

/// Whether kvant or an exporter of models writes a file of this name: weights, index, configuration, tokenizer. Only
/// such files of an earlier output may go when a new one does not bring them. Names are those of a checkpoint's own
/// folder.
[[nodiscard]] bool is_checkpoint_file(const std::filesystem::path& name);

}  // namespace kvant::io
