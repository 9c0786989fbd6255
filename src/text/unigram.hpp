// SPDX-License-Identifier: Apache-2.0
// The unigram language model (Kudo 2018; T5, XLM-R): every token has the logarithm of a probability, and a word is cut
// into the tokens whose sum is greatest.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "json_node.hpp"
#include "kvant/core/error.hpp"
#include "trie.hpp"
#include "vocabulary.hpp"

namespace kvant::text {

class Unigram {
 public:
  class Encoder;

  /// Scores are summed in double precision, as in `tokenizers`, or as floats, which begin again at 0 where a sum is
  /// beyond 100000, as in SentencePiece: that decides between cuts that are about as good as each other.
  enum class Sums : std::uint8_t { doubles, floats };

  /// Settings beside the tokens.
  struct Settings {
    std::vector<Trie::Entry> tokens;  ///< those that text is cut into, with their places
    std::vector<double> scores;       ///< by place
    double lowest = 0;                ///< score; a character that nothing spells has 10 less
    std::optional<Place> unknown;
    ByteTokens bytes;  ///< which spell it instead, under byte_fallback
    Sums sums = Sums::doubles;
  };

  /// The object "model" of tokenizer.json. Errors: unsupported, bad_tokenizer, limit.
  [[nodiscard]] static Result<Unigram> from_json(const JsonNode& node);

  /// Contract: the texts of `settings.tokens` are those of the vocabulary at these places.
  Unigram(Vocabulary vocabulary, Settings settings);

  [[nodiscard]] const Vocabulary& vocabulary() const noexcept { return vocabulary_; }

 private:
  Vocabulary vocabulary_;
  Trie tokens_;
  std::vector<double> scores_;
  double unknown_score_;
  std::optional<Place> unknown_;
  ByteTokens bytes_;
  Sums sums_;
};

/// The model outlives it.
class Unigram::Encoder {
 public:
  explicit Encoder(const Unigram& model) : model_(&model) {}

  /// Appends the ids of `word`, in O(its bytes x those of the longest token). Errors: bad_tokenizer, where the unknown
  /// token is needed and there is none.
  [[nodiscard]] Status append(std::string_view word, std::vector<std::int32_t>& ids);

 private:
  /// A character that no token spells.
  static constexpr Place kUnspelled = UINT32_MAX;

  /// The best cut of the word's beginning up to a position: its sum, and its last token.
  struct Best {
    double sum = 0;
    std::uint32_t begin = UINT32_MAX;  ///< where that token begins; UINT32_MAX where no cut ends here
    Place place = 0;
  };
  /// A token of the best cut.
  struct Piece {
    std::uint32_t begin;
    std::uint32_t end;
    Place place;
  };

  void offer(std::size_t begin, std::size_t end, double score, Place place) noexcept;
  void restart_sums(std::size_t begin) noexcept;
  [[nodiscard]] Status cut(std::string_view word);
  void append_unknown(std::string_view run, bool is_token, std::vector<std::int32_t>& ids) const;

  const Unigram* model_;
  std::size_t reached_ = 0;    // the last end of a cut so far
  std::vector<Best> best_;     // for each end
  std::vector<Piece> pieces_;  // of the word, from right to left
};

}  // namespace kvant::text
