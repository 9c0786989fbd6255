// SPDX-License-Identifier: Apache-2.0
// Tokens and their ids, both ways.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "json_node.hpp"
#include "kvant/core/error.hpp"

namespace kvant::text {

/// Hashes std::string and std::string_view alike, so that maps are searched without making strings.
struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>{}(text); }
};

template <class T>
using TextMap = std::unordered_map<std::string, T, TextHash, std::equal_to<>>;

/// A token's place in the order of ids. Ids may have gaps, places have none.
using Place = std::uint32_t;

class Vocabulary {
 public:
  /// The object "vocab" of a model: token to id. Errors: bad_tokenizer (an id out of range or given twice), limit (a
  /// token of more than `max_bytes`).
  [[nodiscard]] static Result<Vocabulary> from_json(const JsonNode& node, std::size_t max_bytes);

  /// Tokens with their ids, each from 0 on; of a token given twice the later id counts, as in `tokenizers`, and the
  /// other one is decoded to it. Errors: as above; they name no place.
  [[nodiscard]] static Result<Vocabulary> make(std::vector<std::pair<std::int32_t, std::string_view>> entries,
                                               std::size_t max_bytes);

  [[nodiscard]] std::size_t size() const noexcept { return ids_.size(); }
  [[nodiscard]] std::optional<Place> place(std::string_view token) const noexcept;
  [[nodiscard]] std::optional<Place> place(std::int32_t id) const noexcept;
  [[nodiscard]] std::int32_t id(Place place) const noexcept { return ids_[place]; }
  [[nodiscard]] std::string_view token(Place place) const noexcept { return *tokens_[place]; }

 private:
  TextMap<Place> places_;
  std::vector<std::int32_t> ids_;           // ascending
  std::vector<const std::string*> tokens_;  // keys of places_, whose nodes never move
};

/// What encoding says where nothing spells a character, and no token stands for that.
[[nodiscard]] tl::unexpected<Error> missing_unknown_token(std::string_view token);

/// The tokens <0x00> to <0xFF>, which spell what the others cannot; some may be missing.
using ByteTokens = std::array<std::optional<Place>, 256>;
[[nodiscard]] ByteTokens byte_tokens(const Vocabulary& vocabulary);
/// Appends the ids of the bytes of `text`, if there is a token for each.
[[nodiscard]] bool append_bytes(std::string_view text, const ByteTokens& bytes, const Vocabulary& vocabulary,
                                std::vector<std::int32_t>& ids);

}  // namespace kvant::text
