// SPDX-License-Identifier: Apache-2.0
#include "chars_map.hpp"

#include <utility>

#include "kvant/io/utf8.hpp"
#include "trie.hpp"
#include "utf8.hpp"

namespace kvant::text {

namespace {

constexpr std::size_t kUnitBytes = 4;

std::uint32_t unit_at(std::string_view bytes) noexcept {
  std::uint32_t unit = 0;
  for (std::size_t i = kUnitBytes; i-- > 0;) unit = unit << 8 | static_cast<unsigned char>(bytes[i]);
  return unit;
}

// A unit is a node, or the value below one: that one has its highest bit set.
constexpr bool is_value(std::uint32_t unit) noexcept { return unit >> 31 != 0; }
constexpr std::uint32_t value_of(std::uint32_t unit) noexcept { return unit & 0x7FFFFFFFU; }
constexpr bool has_value(std::uint32_t unit) noexcept { return (unit >> 8 & 1U) != 0; }
/// The byte that leads to a node; no byte where it is a value.
constexpr std::uint32_t label_of(std::uint32_t unit) noexcept { return unit & 0x800000FFU; }
/// Between a node and its children, by exclusive or.
constexpr std::uint32_t offset_of(std::uint32_t unit) noexcept { return (unit >> 10) << ((unit & 0x200U) >> 6); }

}  // namespace

Result<CharsMap> CharsMap::read(std::string_view bytes) {
  if (bytes.size() <= kUnitBytes)
    return fail(ErrorCode::bad_tokenizer, "the charsmap has " + std::to_string(bytes.size()) + " bytes");
  const std::size_t trie_bytes = unit_at(bytes);
  bytes.remove_prefix(kUnitBytes);
  if (trie_bytes >= bytes.size() || trie_bytes % kUnitBytes != 0)
    return fail(ErrorCode::bad_tokenizer, "the charsmap's trie has " + std::to_string(trie_bytes) + " bytes of " +
                                              std::to_string(bytes.size()) + ", expected fewer, a multiple of 4");
  CharsMap map;
  for (std::size_t at = 0; at < trie_bytes; at += kUnitBytes) map.units_.push_back(unit_at(bytes.substr(at)));
  map.replacements_ = bytes.substr(trie_bytes);
  if (auto ok = map.check(); !ok) return propagate(ok);
  return map;
}

/// Makes replacement() safe: all values that a walk may come to are the beginnings of characters.
Status CharsMap::check() const {
  if (io::find_invalid_utf8(replacements_))
    return fail(ErrorCode::bad_tokenizer, "the charsmap's replacements are not valid UTF-8");
  for (std::uint32_t at = 0; at < units_.size(); ++at) {
    if (is_value(units_[at]) || !has_value(units_[at])) continue;
    const std::uint32_t below = at ^ offset_of(units_[at]);
    const std::uint32_t value = below < units_.size() ? value_of(units_[below]) : UINT32_MAX;
    if (value >= replacements_.size() || is_continuation(replacements_[value]))
      return fail(ErrorCode::bad_tokenizer,
                  "unit " + std::to_string(at) + " of the charsmap's trie leads to no replacement");
    if (const std::size_t bytes = replacement(value).size(); bytes > kMaxMatchedBytes)
      return fail(ErrorCode::limit, "a replacement of " + std::to_string(bytes) + " bytes in the charsmap; at most " +
                                        std::to_string(kMaxMatchedBytes) + " are read");
  }
  return {};
}

std::string_view CharsMap::replacement(std::uint32_t offset) const noexcept {
  const std::string_view rest = std::string_view(replacements_).substr(offset);
  return rest.substr(0, rest.find('\0'));
}

/// Calls `visit(length, offset)` for each entry that `text` begins with, the shortest first, until it returns false.
template <class Visit>
void CharsMap::prefixes(std::string_view text, Visit visit) const noexcept {
  if (units_.empty()) return;
  std::uint32_t at = offset_of(units_[0]);
  // A trie of a hostile file may go in circles.
  const std::string_view key = text.substr(0, kMaxMatchedBytes);
  for (std::size_t length = 1; length <= key.size() && key[length - 1] != '\0'; ++length) {
    const auto byte = static_cast<unsigned char>(key[length - 1]);
    at ^= byte;
    if (at >= units_.size() || label_of(units_[at]) != byte) return;
    const std::uint32_t unit = units_[at];
    at ^= offset_of(unit);
    const bool inside = length < text.size() && is_continuation(text[length]);
    if (has_value(unit) && !inside && !visit(length, value_of(units_[at]))) return;
  }
}

CharsMap::Match CharsMap::shortest(std::string_view text) const noexcept {
  Match match;
  prefixes(text, [&](std::size_t length, std::uint32_t offset) {
    match = {length, replacement(offset)};
    return false;
  });
  return match;
}

CharsMap::Match CharsMap::longest(std::string_view text) const noexcept {
  Match match;
  prefixes(text, [&](std::size_t length, std::uint32_t offset) {
    match = {length, replacement(offset)};
    return true;
  });
  return match;
}

}  // namespace kvant::text
