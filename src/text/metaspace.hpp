// SPDX-License-Identifier: Apache-2.0
// "Metaspace", a pre-tokenizer and a decoder: spaces stand in the vocabulary as a visible character (SentencePiece's
// ▁), and words begin with it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "json_node.hpp"
#include "kvant/core/error.hpp"

namespace kvant::text {

/// SentencePiece's visible space, U+2581.
inline constexpr std::string_view kVisibleSpace = "\xE2\x96\x81";

struct Metaspace {
  /// Which texts get a space before them: all, none, or what stands at the very start of the input.
  enum class Prepend : std::uint8_t { always, never, first };

  std::string replacement;  ///< one character
  Prepend prepend = Prepend::always;
  bool split = true;  ///< words are cut before each space

  /// The settings as `tokenizers` writes them, before version 0.19 (`add_prefix_space`) and since. Errors: unsupported,
  /// bad_tokenizer.
  [[nodiscard]] static Result<Metaspace> from_json(const JsonNode& node);
};

}  // namespace kvant::text
