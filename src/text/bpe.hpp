// SPDX-License-Identifier: Apache-2.0
// Byte-pair encoding (Sennrich et al. 2016): of all neighbouring tokens that may merge, those of the earliest rule
// merge first, leftmost first, until none may.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json_node.hpp"
#include "kvant/core/error.hpp"
#include "vocabulary.hpp"

namespace kvant::text {

class Bpe {
 public:
  class Encoder;

  /// The object "model" of tokenizer.json. Errors: unsupported, bad_tokenizer, limit.
  [[nodiscard]] static Result<Bpe> from_json(const JsonNode& node);

  [[nodiscard]] const Vocabulary& vocabulary() const noexcept { return vocabulary_; }

 private:
  /// What two neighbours become, and how early.
  struct Merge {
    Place left;
    Place right;
    std::uint32_t rank;
    Place result;
  };

  [[nodiscard]] Status read_settings(const JsonNode& node);
  [[nodiscard]] Status read_merges(const JsonNode& list);
  [[nodiscard]] Result<Merge> read_merge(const JsonNode& list, std::uint32_t rank) const;
  [[nodiscard]] const Merge* find_merge(Place left, Place right) const noexcept;

  Vocabulary vocabulary_;
  std::vector<Merge> merges_;                          // by left, then right
  std::vector<std::uint32_t> first_merge_;             // of each left token, in merges_; one more for the end
  std::array<std::optional<Place>, 256> byte_tokens_;  // <0x00>..<0xFF>, under byte_fallback
  std::optional<std::string> unknown_token_;
  bool fuse_unknown_ = false;
  bool ignore_merges_ = false;
};

/// Encodes the words of one text after another, and remembers short words within a text. The model outlives it.
class Bpe::Encoder {
 public:
  explicit Encoder(const Bpe& bpe) : bpe_(&bpe) {}

  /// Appends the ids of `word`; `ids` is the same vector in each call, and only grows.
  /// O(n log n) in the characters of the word. Errors: bad_tokenizer, where the unknown token is missing.
  [[nodiscard]] Status append(std::string_view word, std::vector<std::int32_t>& ids);

 private:
  static constexpr std::uint32_t kNone = UINT32_MAX;

  /// A token of the word so far, in a list from left to right.
  struct Symbol {
    Place place;  ///< kNone once it has merged into the one on its left
    std::uint32_t previous;
    std::uint32_t next;
  };
  /// A merge that was possible when it was noted.
  struct Candidate {
    std::uint32_t rank;
    std::uint32_t left;  ///< in symbols_
    Place result;
  };

  [[nodiscard]] Status spell(std::string_view word);
  [[nodiscard]] Result<Place> unknown() const;
  void push_symbol(Place place);
  void note(std::uint32_t left);
  void merge_all();

  const Bpe* bpe_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> heap_;
  struct Seen {
    std::size_t begin;
    std::size_t count;
  };
  TextMap<Seen> seen_;  // words and where in the ids they stand
};

}  // namespace kvant::text
