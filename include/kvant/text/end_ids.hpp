// SPDX-License-Identifier: Apache-2.0
// Which tokens end a text, as the files of a model name them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/text/tokenizer.hpp"

namespace kvant::text {

/// The ids that `eos_token_id` (a number or a list) names in the folder's generation_config.json and config.json, and
/// eos_id() of its tokenizer; ascending. Chat models name more in one of the three than in the others. A file, a key or
/// a value may be absent or null. Errors: bad_config (no id, which is an integer from 0 to 2^31 - 1), those of reading
/// files; a link to nowhere is not_found.
[[nodiscard]] Result<std::vector<std::int32_t>> end_ids(const std::filesystem::path& folder,
                                                        const Tokenizer& tokenizer);

}  // namespace kvant::text
