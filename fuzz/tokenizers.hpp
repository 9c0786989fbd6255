// SPDX-License-Identifier: Apache-2.0
// What fuzz targets ask of every tokenizer.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kvant/text/tokenizer.hpp"

namespace fuzz {

inline void require(bool condition) {
  if (!condition) std::abort();
}

/// Tokens that come one by one give the text of all of them, special ones and ids that name none among them.
inline void decode_both_ways(const kvant::text::Tokenizer& tokenizer, std::span<const std::int32_t> ids) {
  for (const bool skip_special : {false, true}) {
    kvant::text::DecodeStream stream(tokenizer, skip_special);
    std::string text;
    for (const std::int32_t id : ids) text += stream.push(id);
    require(text + stream.finish() == tokenizer.decode(ids, skip_special));
  }
}

/// Encodes a text, valid UTF-8 or not, and decodes what comes of it and other ids.
inline void use(const kvant::text::Tokenizer& tokenizer, std::string_view text) {
  const auto ids = tokenizer.encode(text);
  if (!ids) {
    require(!ids.error().message.empty());
    return;
  }
  for (const std::int32_t id : *ids) require(tokenizer.id_to_token(id).has_value());
  decode_both_ways(tokenizer, *ids);
  const std::vector<std::int32_t> others{0, 1, -1, 2, 3, 3, 2, 1, 4, 5, 0, 6, 7};
  decode_both_ways(tokenizer, others);
}

/// A file that somebody made, or why it is none.
inline void use(const kvant::Result<kvant::text::Tokenizer>& tokenizer, std::string_view text) {
  if (tokenizer)
    use(*tokenizer, text);
  else
    require(!tokenizer.error().message.empty());
}

}  // namespace fuzz
