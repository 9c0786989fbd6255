// SPDX-License-Identifier: Apache-2.0
// Data to evaluate on: text through the model's tokenizer, or token ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/io/debug_mode.hpp"

namespace kvant::pipeline {

/// A stream of token ids.
struct Dataset {
  std::vector<std::int32_t> ids;
  std::optional<std::uint64_t> bytes;  ///< of the text that it was made from; absent for ids
  std::size_t added = 0;               ///< ids that the tokenizer put around the text, as BOS
};

/// Reads `path`: token ids where it is a .npy file by content, else UTF-8 text, encoded as one stream with the
/// tokenizer of `model` (a folder with tokenizer.json or tokenizer.model). `max_tokens` 0 is all; text is cut at a
/// token, and `bytes` counts what the kept tokens decode to. Errors: those of the readers; bad_npy (no integers);
/// unsupported (text without a tokenizer).
[[nodiscard]] Result<Dataset> load_dataset(const std::filesystem::path& path, const std::filesystem::path& model,
                                           std::size_t max_tokens);

}  // namespace kvant::pipeline
