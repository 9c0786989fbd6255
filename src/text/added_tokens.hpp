// SPDX-License-Identifier: Apache-2.0
// The "added_tokens" of tokenizer.json: found in the text as they stand, before it is cut into words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json_node.hpp"
#include "kvant/core/error.hpp"
#include "normalizer.hpp"
#include "pattern.hpp"
#include "trie.hpp"
#include "vocabulary.hpp"

namespace kvant::text {

struct AddedToken {
  std::string content;
  std::string pattern;  ///< what is looked for, and decoded to: the content, normalized if the token asks for it
  std::int32_t id = 0;
  bool single_word = false;  ///< not inside a word
  bool lstrip = false;       ///< takes the white space before it along
  bool rstrip = false;       ///< and behind it
  bool normalized = false;   ///< looked for in the normalized text
  bool special = false;      ///< may be skipped in decoding
};

/// A part of a text: an added token, or what lies between them.
struct Segment {
  Range range;
  std::optional<std::int32_t> id;
};

class AddedTokens {
 public:
  /// `node` is absent where the file has none. Ids must be those that `tokenizers` would give: the vocabulary's, or
  /// counted on from its size. Errors: bad_tokenizer, limit.
  [[nodiscard]] static Result<AddedTokens> from_json(const std::optional<JsonNode>& node, const Vocabulary& vocabulary,
                                                     const Normalizer& normalizer);

  /// Tokens that only decoding knows: text never becomes them. Contract: each id stands once.
  [[nodiscard]] static AddedTokens never_in_text(std::vector<AddedToken> tokens);

  /// Cuts a text, before it is normalized or after, at the tokens that are looked for there: of several, the leftmost,
  /// then the longest.
  [[nodiscard]] Result<std::vector<Segment>> split(std::string_view text, bool normalized) const;

  [[nodiscard]] const AddedToken* find(std::int32_t id) const noexcept;
  [[nodiscard]] const AddedToken* find(std::string_view content) const noexcept;
  /// One past the largest id.
  [[nodiscard]] std::size_t id_end() const noexcept;

 private:
  [[nodiscard]] static Result<AddedToken> read(const JsonNode& node, const Normalizer& normalizer);
  [[nodiscard]] Status add(AddedToken token, const JsonNode& node);
  [[nodiscard]] Status build(Trie& patterns, bool normalized, const JsonNode& node) const;
  [[nodiscard]] Result<bool> stands_alone(std::string_view text, Range range) const;

  std::map<std::int32_t, AddedToken> tokens_;  // nodes never move
  TextMap<const AddedToken*> by_content_;
  Trie raw_;  // patterns with their ids
  Trie normalized_;
  std::optional<Pattern> word_character_;  // present where a token asks for single words
};

}  // namespace kvant::text
