// SPDX-License-Identifier: Apache-2.0
// Tokens and their ids, both ways.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
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
  /// The object "vocab" of a model: token to id. Errors: bad_tokenizer (an id out of range or given twice), limit.
  [[nodiscard]] static Result<Vocabulary> from_json(const JsonNode& node);

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

}  // namespace kvant::text
