// SPDX-License-Identifier: Apache-2.0
#include "vocabulary.hpp"

#include <algorithm>
#include <utility>

#include "kvant/io/utf8.hpp"

namespace kvant::text {

namespace {

constexpr std::size_t kMaxTokenBytes = std::size_t{64} * 1024;

}  // namespace

Result<Vocabulary> Vocabulary::from_json(const JsonNode& node) {
  if (auto ok = node.object(); !ok) return propagate(ok);
  const auto members = node.json().members();
  std::vector<std::pair<std::int32_t, const std::string*>> entries;
  entries.reserve(members.size());
  for (const auto& [token, value] : members) {
    const auto id = JsonNode(value, node.where()).id();
    if (!id) return node.error(id.error().code, "\"" + io::printable(token, 80) + "\": " + id.error().message);
    if (token.size() > kMaxTokenBytes)
      return node.error(ErrorCode::limit, "a token of " + std::to_string(token.size()) + " bytes; at most " +
                                              std::to_string(kMaxTokenBytes) + " are read");
    entries.emplace_back(*id, &token);
  }
  std::sort(entries.begin(), entries.end());
  Vocabulary result;
  result.places_.reserve(entries.size());
  result.ids_.reserve(entries.size());
  result.tokens_.reserve(entries.size());
  for (const auto& [id, token] : entries) {
    if (!result.ids_.empty() && result.ids_.back() == id)
      return node.error(ErrorCode::bad_tokenizer, "\"" + io::printable(*result.tokens_.back(), 80) + "\" and \"" +
                                                      io::printable(*token, 80) + "\" have the same id " +
                                                      std::to_string(id));
    const auto [entry, added] = result.places_.emplace(*token, static_cast<Place>(result.ids_.size()));
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

}  // namespace kvant::text
