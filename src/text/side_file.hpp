// SPDX-License-Identifier: Apache-2.0
// JSON files that a model may have beside its weights.
#pragma once

#include <filesystem>
#include <optional>

#include "kvant/core/error.hpp"
#include "kvant/io/json.hpp"

namespace kvant::text {

/// What a file holds, or nothing where there is no such name. A link to nowhere is a name, and not_found.
[[nodiscard]] inline Result<std::optional<io::Json>> read_side_file(const std::filesystem::path& path,
                                                                    const io::JsonLimits& limits) {
  std::error_code ignored;  // what is wrong with the path, opening it will tell
  if (std::filesystem::symlink_status(path, ignored).type() == std::filesystem::file_type::not_found)
    return std::nullopt;
  auto json = io::read_json_file(path, limits);
  if (!json) return propagate(json);
  return *std::move(json);
}

}  // namespace kvant::text
