// SPDX-License-Identifier: Apache-2.0
// tokenizer.model: the parts of a tokenizer that SentencePiece has trained.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "added_tokens.hpp"
#include "decoder.hpp"
#include "kvant/core/error.hpp"
#include "model.hpp"
#include "normalizer.hpp"

namespace kvant::text {

struct SentencePieceParts {
  Normalizer normalizer;
  Model model;
  AddedTokens added;  ///< control tokens, and the text that an unknown one is decoded to
  Decoder decoder;
  std::optional<std::int32_t> bos;
  std::optional<std::int32_t> eos;
};

/// Reads SentencePiece's ModelProto; nothing refers to `bytes` afterwards. Errors: bad_tokenizer, bad_utf8, limit,
/// unsupported (a model of words or characters, spaces behind words, a denormalizer); the file is not named.
[[nodiscard]] Result<SentencePieceParts> read_sentencepiece(std::string_view bytes);

}  // namespace kvant::text
