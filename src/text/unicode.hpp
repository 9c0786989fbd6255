// SPDX-License-Identifier: Apache-2.0
// What normalizers ask of Unicode's tables.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "kvant/core/error.hpp"

namespace kvant::text {

/// Normalization forms (UAX 15): canonical or compatible (K), decomposed (D) or composed again (C).
enum class Form : std::uint8_t { nfc, nfd, nfkc, nfkd };

/// `text` (valid UTF-8) in a form; in linear time, n log n for a run of marks. Errors: limit, where it takes more than
/// kMaxTextBytes, or a stretch without ASCII does while it is worked on.
[[nodiscard]] Result<std::string> to_form(Form form, std::string_view text);

/// Appends `c` in lower case, whatever stands around it.
void append_lower_case(std::string& text, char32_t c);

/// General categories M; Mn; Cc, Cf and Co (control, format, private).
[[nodiscard]] bool is_mark(char32_t c) noexcept;
[[nodiscard]] bool is_nonspacing_mark(char32_t c) noexcept;
[[nodiscard]] bool is_control(char32_t c) noexcept;

/// Where the grapheme cluster (UAX 29) that begins at `begin` of `text` (valid UTF-8) ends.
[[nodiscard]] std::size_t cluster_end(std::string_view text, std::size_t begin) noexcept;

}  // namespace kvant::text
