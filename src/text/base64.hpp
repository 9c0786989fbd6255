// SPDX-License-Identifier: Apache-2.0
// Bytes as text (RFC 4648), which is how JSON holds them.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace kvant::text {

/// The bytes of `text`, whose length is a multiple of 4; nothing where it is not base64.
[[nodiscard]] std::optional<std::string> from_base64(std::string_view text);

}  // namespace kvant::text
