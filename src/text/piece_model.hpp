// SPDX-License-Identifier: Apache-2.0
// What a tokenizer.model holds: SentencePiece's ModelProto (sentencepiece_model.proto), as far as encoding and decoding
// depend on it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/core/error.hpp"

namespace kvant::text {

/// Views of the file that it was read from.
struct PieceModel {
  enum class Type : std::uint8_t { normal = 1, unknown, control, user_defined, unused, byte };
  enum class Algorithm : std::uint8_t { unigram = 1, bpe, word, character };

  struct Piece {
    std::string_view text;
    float score = 0;
    Type type = Type::normal;
  };

  std::vector<Piece> pieces;  // by id

  // trainer_spec
  Algorithm algorithm = Algorithm::unigram;
  bool byte_fallback = false;
  bool whitespace_as_suffix = false;
  std::string_view unknown_surface = " \xE2\x81\x87 ";
  std::string_view bos_piece = "<s>";
  std::string_view eos_piece = "</s>";

  // normalizer_spec
  std::string_view charsmap;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;

  std::string_view denormalizer_charsmap;

  /// Errors: bad_tokenizer, bad_utf8 and limit, with the byte offset where one applies; the file is not named.
  [[nodiscard]] static Result<PieceModel> read(std::string_view bytes);
};

}  // namespace kvant::text
