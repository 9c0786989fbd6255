// SPDX-License-Identifier: Apache-2.0
// Walking over UTF-8 that has been validated (kvant/io/utf8.hpp), and mending what has not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace kvant::text {

/// No text that is worked on grows beyond this many bytes: positions fit 32 bits after the byte-level doubling.
inline constexpr std::size_t kMaxTextBytes = std::size_t{1} << 30;

/// Bytes of the character that starts with `lead`, in valid UTF-8.
[[nodiscard]] constexpr std::size_t char_length(char lead) noexcept {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

/// Whether a byte goes on with a character.
[[nodiscard]] constexpr bool is_continuation(char c) noexcept {
  return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U;
}

/// The code point at `pos` of valid UTF-8.
[[nodiscard]] constexpr char32_t char_at(std::string_view text, std::size_t pos) noexcept {
  const std::size_t length = char_length(text[pos]);
  const auto lead = static_cast<unsigned char>(text[pos]);
  char32_t code = length == 1 ? lead : lead & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) code = (code << 6) | (static_cast<unsigned char>(text[pos + i]) & 0x3FU);
  return code;
}

/// Characters of valid UTF-8.
[[nodiscard]] constexpr std::size_t count_characters(std::string_view text) noexcept {
  std::size_t count = 0;
  for (const char c : text) count += is_continuation(c) ? 0U : 1U;
  return count;
}

/// Where the character that ends before `end` > 0 begins, in valid UTF-8.
[[nodiscard]] constexpr std::size_t char_before(std::string_view text, std::size_t end) noexcept {
  do --end;
  while (end > 0 && is_continuation(text[end]));
  return end;
}

/// How many bytes of whole characters two texts of valid UTF-8 both begin with.
[[nodiscard]] constexpr std::size_t common_prefix(std::string_view a, std::string_view b) noexcept {
  std::size_t end = 0;
  while (end < a.size() && end < b.size() && a[end] == b[end]) ++end;
  while (end < a.size() && is_continuation(a[end])) --end;
  return end;
}

/// Appends `code`, a Unicode scalar value.
inline void append_utf8(std::string& text, char32_t code) {
  const auto put = [&](char32_t byte) { text.push_back(static_cast<char>(byte)); };
  const auto tail = [&](unsigned shift) { put(0x80U | ((code >> shift) & 0x3FU)); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xC0U | (code >> 6));
    tail(0);
  } else if (code < 0x10000) {
    put(0xE0U | (code >> 12));
    tail(6);
    tail(0);
  } else {
    put(0xF0U | (code >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";  // U+FFFD

/// `bytes` with every maximal part that begins no well-formed character replaced by one U+FFFD (Unicode 3.9, D93b).
[[nodiscard]] std::string lossy_utf8(std::string_view bytes);

/// How many bytes at the end of `bytes` begin a character and may yet become one.
[[nodiscard]] std::size_t unfinished_utf8(std::string_view bytes) noexcept;

/// White_Space of Unicode, a closed set.
[[nodiscard]] constexpr bool is_white_space(char32_t c) noexcept {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/// Where the white space that ends at `end` begins, and the one that begins at `begin` ends.
[[nodiscard]] constexpr std::size_t space_before(std::string_view text, std::size_t end) noexcept {
  while (end > 0) {
    const std::size_t begin = char_before(text, end);
    if (!is_white_space(char_at(text, begin))) break;
    end = begin;
  }
  return end;
}
[[nodiscard]] constexpr std::size_t space_after(std::string_view text, std::size_t begin) noexcept {
  while (begin < text.size() && is_white_space(char_at(text, begin))) begin += char_length(text[begin]);
  return begin;
}

}  // namespace kvant::text
