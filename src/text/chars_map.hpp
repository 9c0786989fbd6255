// SPDX-License-Identifier: Apache-2.0
// SentencePiece's "precompiled_charsmap": texts of a character or a few, and what each is replaced by (NFKC, mostly).
//
// Little-endian: the size of the trie in bytes (u32); the trie, a double array of 32-bit units as darts-clone writes
// it; the replacements, UTF-8, each ended by NUL. A value of the trie is the offset of a replacement.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/core/error.hpp"

namespace kvant::text {

class CharsMap {
 public:
  struct Match {
    std::size_t length = 0;  ///< of the text that is replaced; 0 where nothing is
    std::string_view text;   ///< by which; it lives as long as this map
  };

  /// Errors: bad_tokenizer, limit (a replacement of more than kMaxMatchedBytes); they name no place.
  [[nodiscard]] static Result<CharsMap> read(std::string_view bytes);

  /// The shortest or the longest entry that `text` (valid UTF-8) begins with. Entries of more than kMaxMatchedBytes,
  /// and those that end inside a character, are not found.
  [[nodiscard]] Match shortest(std::string_view text) const noexcept;
  [[nodiscard]] Match longest(std::string_view text) const noexcept;

 private:
  template <class Visit>
  void prefixes(std::string_view text, Visit visit) const noexcept;
  [[nodiscard]] Status check() const;
  [[nodiscard]] std::string_view replacement(std::uint32_t offset) const noexcept;

  std::vector<std::uint32_t> units_;
  std::string replacements_;
};

}  // namespace kvant::text
