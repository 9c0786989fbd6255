// SPDX-License-Identifier: Apache-2.0
#include "vocabulary.hpp"

#include <algorithm>
#include <utility>

#include "kvant/io/utf8.hpp"

namespace kvant::text {

Result<Vocabulary> Vocabulary::from_json(const JsonNode& node, std::size_t max_bytes) {
  if (auto ok = node.object(); !ok) return propagate(ok);
  const auto members = node.json().members();
  std::vector<std::pair<std::int32_t, std::string_view>> entries;
  entries.reserve(members.size());
  for (const auto& [token, value] : members) {
    const auto id = JsonNode(value, node.where()).id();
    if (!id) return node.error(id.error().code, "\"" + io::printable(token, 80) + "\": " + id.error().message);
    entries.emplace_back(*id, token);
  }
  auto result = make(std::move(entries), max_bytes);
  if (!result) return node.error(result.error().code, result.error().message);
  return result;
}

Result<Vocabulary> Vocabulary::make(std::vector<std::pair<std::int32_t, std::string_view>> entries,
                                    std::size_t max_bytes) {
  std::sort(entries.begin(), entries.end());
  Vocabulary result;
  result.places_.reserve(entries.size());
  result.ids_.reserve(entries.size());
  result.tokens_.reserve(entries.size());
  const auto quoted = [](std::string_view token) { return "\"" + io::printable(token, 80) + "\""; };
  for (const auto& [id, token] : entries) {
    if (token.size() > max_bytes)
      return fail(ErrorCode::limit, "a token of " + std::to_string(token.size()) + " bytes; at most " +
                                        std::to_string(max_bytes) + " are read");
    if (!result.ids_.empty() && result.ids_.back() == id)
      return fail(ErrorCode::bad_tokenizer,
                  quoted(*result.tokens_.back()) + " and " + quoted(token) + " have the same id " + std::to_string(id));
    const auto entry = result.places_.emplace(token, 0).first;
    entry->second = static_cast<Place>(result.ids_.size());
    result.ids_.push_back(id);
    result.tokens_.push_back(&entry->first);
  }
  return result;
}

std::optional<Place> Vocabulary::place(std::string_view token) const noexcept {
  const auto found = places_.find(token);
  if (found == places_.end()) return std::nullopt;
  return found->second;
}

std::optional<Place> Vocabulary::place(std::int32_t id) const noexcept {
  const auto found = std::lower_bound(ids_.begin(), ids_.end(), id);
  if (found == ids_.end() || *found != id) return std::nullopt;
  return static_cast<Place>(found - ids_.begin());
}

tl::unexpected<Error> missing_unknown_token(std::string_view token) {
  return fail(ErrorCode::bad_tokenizer, "a character is not in the vocabulary, and neither is the unknown token \"" +
                                            io::printable(token, 80) + "\"");
}

ByteTokens byte_tokens(const Vocabulary& vocabulary) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  ByteTokens bytes;
  std::string token = "<0x00>";
  for (std::size_t byte = 0; byte < bytes.size(); ++byte) {
    token[3] = kHex[byte >> 4];
    token[4] = kHex[byte & 15];
    bytes[byte] = vocabulary.place(token);
  }
  return bytes;
}

bool append_bytes(std::string_view text, const ByteTokens& bytes, const Vocabulary& vocabulary,
                  std::vector<std::int32_t>& ids) {
  const auto token = [&](char c) { return bytes[static_cast<unsigned char>(c)]; };
  if (!std::all_of(text.begin(), text.end(), [&](char c) { return token(c).has_value(); })) return false;
  for (const char c : text) ids.push_back(vocabulary.id(*token(c)));
  return true;
}

}  // namespace kvant::text
