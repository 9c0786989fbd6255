// SPDX-License-Identifier: Apache-2.0
// Changes to a JSON text that leave everything else byte for byte: other programs' keys, their order, the spelling of
// their numbers (engines refuse 8 where they wrote 8.0), and their indentation.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "kvant/core/error.hpp"
#include "kvant/io/json.hpp"

namespace kvant::io {

/// One member of the object that a text is, or of an object below it.
struct JsonEdit {
  std::string object;         ///< the key of an object that is a member of the root; empty: the root
  std::string key;            ///< set in its place, or at the end where it is new
  std::optional<Json> value;  ///< nothing: the member goes, where it is there
};

/// `text` with the edits made one after the other. Errors: those of parse_json(), bad_json where something is no
/// object.
[[nodiscard]] Result<std::string> edit_json(std::string text, std::span<const JsonEdit> edits,
                                            const JsonLimits& limits = {}, const Where& where = {});

}  // namespace kvant::io
