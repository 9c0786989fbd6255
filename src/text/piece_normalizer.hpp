// SPDX-License-Identifier: Apache-2.0
// What SentencePiece does to a text before it is cut: characters are replaced, spaces are made visible.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "chars_map.hpp"
#include "kvant/core/error.hpp"
#include "trie.hpp"

namespace kvant::text {

struct PieceNormalizer {
  std::optional<CharsMap> map;           ///< at each place the longest entry counts
  Trie whole;                            ///< tokens that are taken as they stand
  bool add_dummy_prefix = true;          ///< a space before each text that is not empty
  bool remove_extra_whitespaces = true;  ///< one space for several, none at the ends
  bool escape_whitespaces = true;        ///< spaces are U+2581

  /// Errors: limit, above kMaxTextBytes.
  [[nodiscard]] Result<std::string> apply(std::string_view text) const;

 private:
  /// How many bytes come next as a unit, and what becomes of them.
  [[nodiscard]] CharsMap::Match next(std::string_view rest) const noexcept;
};

}  // namespace kvant::text
