// SPDX-License-Identifier: Apache-2.0
// Byte-pair encoding as SentencePiece does it (Llama 2): there are no rules, but whatever two neighbours spell together
// is a token or not, and those merge first whose token has the greatest score.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "kvant/core/error.hpp"
#include "merging.hpp"
#include "trie.hpp"
#include "vocabulary.hpp"

namespace kvant::text {

class PieceBpe {
 public:
  class Encoder;
  static constexpr std::uint32_t kNoRank = UINT32_MAX;

  /// Settings beside the tokens.
  struct Settings {
    std::vector<std::uint32_t> ranks;  ///< by place, 0 for the greatest score; kNoRank where nothing becomes this token
    Trie whole;                        ///< tokens that are taken wherever they stand, with their places
    Place unknown = 0;                 ///< what no token spells
    ByteTokens bytes;                  ///< which spell it instead, under byte_fallback
  };

  PieceBpe(Vocabulary vocabulary, Settings settings);

  [[nodiscard]] const Vocabulary& vocabulary() const noexcept { return vocabulary_; }

 private:
  Vocabulary vocabulary_;
  Settings settings_;
  std::size_t longest_ = 0;  // token, in bytes
};

/// The model outlives it.
class PieceBpe::Encoder {
 public:
  explicit Encoder(const PieceBpe& model) : model_(&model) {}

  /// Appends the ids of `word`, in O(n log n) for its characters. Never fails.
  [[nodiscard]] Status append(std::string_view word, std::vector<std::int32_t>& ids);

 private:
  struct Letters : Symbol {
    std::uint32_t begin;
  };
  static constexpr Place kUnspelled = UINT32_MAX - 1;

  void append_merged(std::string_view part, std::vector<std::int32_t>& ids);

  const PieceBpe* model_;
  Merger<Letters> merger_;
};

}  // namespace kvant::text
