// SPDX-License-Identifier: Apache-2.0
// The model of a tokenizer: what turns a word into ids.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "bpe.hpp"
#include "json_node.hpp"
#include "kvant/core/error.hpp"
#include "piece_bpe.hpp"
#include "unigram.hpp"
#include "vocabulary.hpp"
#include "word_piece.hpp"

namespace kvant::text {

class Model {
 public:
  class Encoder;

  /// The object "model" of tokenizer.json. Errors: unsupported, bad_tokenizer, limit.
  [[nodiscard]] static Result<Model> from_json(const JsonNode& node);

  explicit Model(PieceBpe kind) : kind_(std::move(kind)) {}
  explicit Model(Unigram kind) : kind_(std::move(kind)) {}

  [[nodiscard]] const Vocabulary& vocabulary() const noexcept;

 private:
  using Kind = std::variant<Bpe, PieceBpe, Unigram, WordPiece>;
  explicit Model(Kind kind) : kind_(std::move(kind)) {}

  Kind kind_;
};

/// Encodes the words of one text after another, and remembers short words within a text. The model outlives it.
class Model::Encoder {
 public:
  explicit Encoder(const Model& model);

  /// Appends the ids of `word`; `ids` is the same vector in each call, and only grows.
  /// Errors: bad_tokenizer, where the unknown token is missing.
  [[nodiscard]] Status append(std::string_view word, std::vector<std::int32_t>& ids);

 private:
  struct Seen {
    std::size_t begin;
    std::size_t count;
  };

  std::variant<Bpe::Encoder, PieceBpe::Encoder, Unigram::Encoder, WordPiece::Encoder> kind_;
  TextMap<Seen> seen_;  // words and where in the ids they stand
};

}  // namespace kvant::text
