// SPDX-License-Identifier: Apache-2.0
// The model "WordPiece" of tokenizer.json (BERT): of each word the longest token that it begins with, then of the rest
// the longest that continues a word ("##ing"), and so on; a word that does not come out even is unknown as a whole.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json_node.hpp"
#include "kvant/core/error.hpp"
#include "trie.hpp"
#include "vocabulary.hpp"

namespace kvant::text {

class WordPiece {
 public:
  class Encoder;

  /// The object "model" of tokenizer.json. Errors: unsupported, bad_tokenizer, limit.
  [[nodiscard]] static Result<WordPiece> from_json(const JsonNode& node);

  [[nodiscard]] const Vocabulary& vocabulary() const noexcept { return vocabulary_; }

 private:
  Vocabulary vocabulary_;
  Trie tokens_;                             // to places
  std::optional<Trie::Node> continuation_;  // below which the tokens stand that continue a word, without their prefix
  std::string unknown_token_;
  std::uint64_t max_characters_ = 0;  // of a word; longer ones are unknown
};

/// The model outlives it.
class WordPiece::Encoder {
 public:
  explicit Encoder(const WordPiece& model) : model_(&model) {}

  /// Appends the ids of `word`, in O(its bytes x those of the longest token). Errors: bad_tokenizer, where the unknown
  /// token is missing.
  [[nodiscard]] Status append(std::string_view word, std::vector<std::int32_t>& ids) const;

 private:
  [[nodiscard]] bool append_pieces(std::string_view word, std::vector<std::int32_t>& ids) const;

  const WordPiece* model_;
};

}  // namespace kvant::text
