// SPDX-License-Identifier: Apache-2.0
#include "utf8.hpp"

#include <algorithm>

#include "kvant/io/utf8.hpp"

namespace kvant::text {

namespace {

/// Length of the longest prefix of `bytes`, which begin no character, that some well-formed character begins with; at
/// least 1.
std::size_t maximal_subpart(std::string_view bytes) noexcept {
  const auto lead = static_cast<unsigned char>(bytes[0]);
  if (lead < 0xC2 || lead > 0xF4) return 1;
  unsigned low = 0x80;  // the second byte's range, narrowed after some lead bytes (Unicode table 3-7)
  unsigned high = 0xBF;
  if (lead == 0xE0) low = 0xA0;
  if (lead == 0xED) high = 0x9F;
  if (lead == 0xF0) low = 0x90;
  if (lead == 0xF4) high = 0x8F;
  std::size_t length = 1;
  while (length < bytes.size() && length < char_length(bytes[0])) {
    const auto byte = static_cast<unsigned char>(bytes[length]);
    if (byte < low || byte > high) break;
    low = 0x80;
    high = 0xBF;
    ++length;
  }
  return length;
}

}  // namespace

std::string lossy_utf8(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  while (const auto bad = io::find_invalid_utf8(bytes)) {
    text.append(bytes.substr(0, *bad)).append(kReplacementCharacter);
    bytes.remove_prefix(*bad);
    bytes.remove_prefix(maximal_subpart(bytes));
  }
  return text.append(bytes);
}

std::size_t unfinished_utf8(std::string_view bytes) noexcept {
  for (std::size_t length = 1; length <= std::min<std::size_t>(bytes.size(), 3); ++length) {
    const std::string_view tail = bytes.substr(bytes.size() - length);
    const auto lead = static_cast<unsigned char>(tail[0]);
    if (is_continuation(tail[0])) continue;
    const bool may_grow = lead >= 0xC2 && lead <= 0xF4 && length < char_length(tail[0]);
    return may_grow && maximal_subpart(tail) == length ? length : 0;
  }
  return 0;
}

}  // namespace kvant::text
