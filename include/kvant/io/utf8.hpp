// SPDX-License-Identifier: Apache-2.0
// UTF-8 as the Unicode standard defines it (table 3-7): no overlong forms, no surrogates, nothing above U+10FFFF.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace kvant::io {

/// The position of the first byte that is not part of a well-formed sequence, or nullopt where all is well.
[[nodiscard]] std::optional<std::size_t> find_invalid_utf8(std::string_view text) noexcept;

/// `text` as one line of valid UTF-8 for messages: control characters and malformed bytes become \xNN, and what is
/// longer than `max_bytes` ends in "...".
[[nodiscard]] std::string printable(std::string_view text, std::size_t max_bytes = 400);

}  // namespace kvant::io
