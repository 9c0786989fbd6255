// SPDX-License-Identifier: Apache-2.0
// The byte alphabet of GPT-2: each byte stands as one printable character, so that a vocabulary can be text.
// Printable Latin-1 bytes (33..126, 161..172, 174..255) are themselves; the others are U+0100, U+0101, ... in order.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace kvant::text {

namespace detail {

constexpr std::array<char32_t, 256> make_byte_alphabet() noexcept {
  std::array<char32_t, 256> chars{};
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    chars[byte] = printable ? byte : next++;
  }
  return chars;
}

}  // namespace detail

/// The character of each byte.
inline constexpr std::array<char32_t, 256> kByteAlphabet = detail::make_byte_alphabet();

/// The byte of each character below 0x144, or -1.
inline constexpr std::array<std::int16_t, 0x144> kAlphabetByte = [] {
  std::array<std::int16_t, 0x144> bytes{};
  for (auto& byte : bytes) byte = -1;
  for (std::size_t byte = 0; byte < 256; ++byte) bytes[kByteAlphabet[byte]] = static_cast<std::int16_t>(byte);
  return bytes;
}();

}  // namespace kvant::text
