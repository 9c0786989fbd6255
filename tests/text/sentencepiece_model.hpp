// SPDX-License-Identifier: Apache-2.0
// Small tokenizer.model files for tests, in protobuf's wire format, made of the parts that a test is about.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/text/tokenizer.hpp"

namespace kvant::text::test {

inline std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 128; value >>= 7) bytes.push_back(static_cast<char>(value % 128 + 128));
  bytes.push_back(static_cast<char>(value));
  return bytes;
}

inline std::string field(unsigned number, std::uint64_t value) { return varint(number * 8) + varint(value); }

inline std::string field(unsigned number, std::string_view bytes) {
  return varint(number * 8 + 2) + varint(bytes.size()) + std::string(bytes);
}

/// 32 bits, the first byte the lowest.
inline std::string fixed32(std::uint32_t bits) {
  std::string bytes;
  for (int i = 0; i < 4; ++i, bits >>= 8) bytes.push_back(static_cast<char>(bits & 0xFF));
  return bytes;
}

enum class PieceType : std::uint8_t { normal = 1, unknown, control, user_defined, unused, byte };

inline std::string piece(std::string_view text, float score, PieceType type = PieceType::normal) {
  return field(1, field(1, text) + varint(2 * 8 + 5) + fixed32(std::bit_cast<std::uint32_t>(score)) +
                      field(3, static_cast<std::uint64_t>(type)));
}

inline std::string byte_pieces() {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string pieces;
  for (unsigned byte = 0; byte < 256; ++byte)
    pieces += piece(std::string("<0x") + kHex[byte >> 4] + kHex[byte & 15] + ">", 0, PieceType::byte);
  return pieces;
}

inline const std::string kSpecialPieces =
    piece("<unk>", 0, PieceType::unknown) + piece("<s>", 0, PieceType::control) + piece("</s>", 0, PieceType::control);
inline const std::string kUnigram = field(2, field(3, 1));
inline const std::string kBpe = field(2, field(3, 2));
inline const std::string kBpeWithBytes = field(2, field(3, 2) + field(35, 1));
/// Text stays as it is: no space before it, none removed.
inline const std::string kPlain = field(3, field(3, std::uint64_t{0}) + field(4, std::uint64_t{0}));

/// A charsmap: the size of the trie in bytes, its units, the replacements.
inline std::string charsmap(const std::vector<std::uint32_t>& units, std::string_view replacements) {
  std::string bytes = fixed32(static_cast<std::uint32_t>(4 * units.size()));
  for (const std::uint32_t unit : units) bytes += fixed32(unit);
  return bytes.append(replacements);
}

/// Replaces a byte by the replacement at `value`.
inline std::vector<std::uint32_t> units_for(unsigned char byte, std::uint32_t value) {
  std::vector<std::uint32_t> units(256, 0xFF);
  units[0] = 0;                                // its children stand at their own bytes
  units[byte] = byte | 1U << 8 | 0x20U << 10;  // and its value there
  units[byte ^ 0x20U] = 1U << 31 | value;
  return units;
}

/// A trie that "aaa…" leads round in circles, to no value.
inline std::vector<std::uint32_t> circling_units() {
  std::vector<std::uint32_t> units(256, 0xFF);
  units[0] = 0;
  units['a'] = static_cast<std::uint32_t>('a') | static_cast<std::uint32_t>('a') << 10;
  return units;
}

inline Result<Tokenizer> make_sentencepiece(const std::string& bytes) {
  return Tokenizer::from_sentencepiece(bytes, Where{"some/tokenizer.model", {}, {}});
}

}  // namespace kvant::text::test
