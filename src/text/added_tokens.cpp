// SPDX-License-Identifier: Apache-2.0
#include "added_tokens.hpp"

#include <algorithm>
#include <utility>

#include "kvant/io/utf8.hpp"
#include "utf8.hpp"

namespace kvant::text {

namespace {

std::string in_quotes(std::string_view token) { return "\"" + io::printable(token, 80) + "\""; }

}  // namespace

Result<AddedTokens> AddedTokens::from_json(const std::optional<JsonNode>& node, const Vocabulary& vocabulary,
                                           const Normalizer& normalizer) {
  AddedTokens result;
  if (!node) return result;
  if (auto ok = node->array(); !ok) return propagate(ok);
  auto next_id = static_cast<std::int32_t>(vocabulary.size());
  for (std::size_t i = 0; i < node->json().items().size(); ++i) {
    const JsonNode item = node->item(i);
    auto token = read(item, normalizer);
    if (!token) return propagate(token);
    const auto place = vocabulary.place(token->content);
    const std::int32_t expected = place ? vocabulary.id(*place) : next_id++;
    if (token->id != expected || (!place && vocabulary.place(expected)))
      return item.error(ErrorCode::bad_tokenizer,
                        in_quotes(token->content) + " has the id " + std::to_string(token->id) + "; expected " +
                            std::to_string(expected) + (place ? ", as in the vocabulary" : ", the next one"));
    if (auto ok = result.add(*std::move(token), item); !ok) return propagate(ok);
  }
  if (auto ok = result.build(result.raw_, false, *node); !ok) return propagate(ok);
  if (auto ok = result.build(result.normalized_, true, *node); !ok) return propagate(ok);
  return result;
}

AddedTokens AddedTokens::never_in_text(std::vector<AddedToken> tokens) {
  AddedTokens result;
  for (AddedToken& token : tokens) {
    const auto entry = result.tokens_.insert_or_assign(token.id, std::move(token)).first;
    result.by_content_.emplace(entry->second.content, &entry->second);
  }
  return result;
}

Result<AddedToken> AddedTokens::read(const JsonNode& node, const Normalizer& normalizer) {
  if (auto ok = node.only({"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"}); !ok)
    return propagate(ok);
  AddedToken token;
  const auto id = node.at("id").and_then([](const JsonNode& n) { return n.id(); });
  if (!id) return propagate(id);
  token.id = *id;
  auto content = node.text("content");
  if (!content) return propagate(content);
  token.content = *std::move(content);
  for (const auto& [key, member] :
       {std::pair("single_word", &AddedToken::single_word), std::pair("lstrip", &AddedToken::lstrip),
        std::pair("rstrip", &AddedToken::rstrip), std::pair("normalized", &AddedToken::normalized),
        std::pair("special", &AddedToken::special)}) {
    const auto flag = node.flag(key);
    if (!flag) return propagate(flag);
    token.*member = *flag;
  }
  auto pattern = token.normalized ? normalizer.apply({token.content, 0}) : Passage{token.content, 0};
  if (!pattern) return propagate(pattern);
  token.pattern = std::move(pattern->text);
  if (token.content.empty() || token.pattern.empty()) return node.error(ErrorCode::bad_tokenizer, "an empty token");
  if (token.pattern.size() > kMaxMatchedBytes)
    return node.error(ErrorCode::limit, "a token of " + std::to_string(token.pattern.size()) + " bytes; at most " +
                                            std::to_string(kMaxMatchedBytes) + " are looked for");
  return token;
}

Status AddedTokens::add(AddedToken token, const JsonNode& node) {
  if (token.single_word && !word_character_) {
    auto pattern = Pattern::regex("[" + std::string(kWordCharacters) + "]");
    if (!pattern) return propagate(pattern);
    word_character_ = *std::move(pattern);
  }
  const auto [entry, added] = tokens_.try_emplace(token.id, token);
  if (!added) return node.error(ErrorCode::bad_tokenizer, in_quotes(token.content) + " stands twice");
  by_content_.emplace(token.content, &entry->second);
  return {};
}

Status AddedTokens::build(Trie& patterns, bool normalized, const JsonNode& node) const {
  std::vector<const AddedToken*> tokens;
  for (const auto& [id, token] : tokens_)
    if (token.normalized == normalized) tokens.push_back(&token);
  std::sort(tokens.begin(), tokens.end(),
            [](const AddedToken* a, const AddedToken* b) { return a->pattern < b->pattern; });
  const auto same = std::adjacent_find(
      tokens.begin(), tokens.end(), [](const AddedToken* a, const AddedToken* b) { return a->pattern == b->pattern; });
  if (same != tokens.end())
    return node.error(ErrorCode::bad_tokenizer, in_quotes((*same)->content) + " and " + in_quotes(same[1]->content) +
                                                    " are the same once normalized");
  std::vector<Trie::Entry> entries;
  for (const AddedToken* token : tokens) entries.push_back({token->pattern, static_cast<std::uint32_t>(token->id)});
  patterns = Trie(std::move(entries));
  return {};
}

Result<std::vector<Segment>> AddedTokens::split(std::string_view text, bool normalized) const {
  const Trie& patterns = normalized ? normalized_ : raw_;
  std::vector<Segment> segments;
  std::size_t done = 0;
  for (std::size_t pos = 0; pos < text.size() && !patterns.empty();) {
    const auto match = patterns.longest(text.substr(pos));
    if (!match) {
      ++pos;
      continue;
    }
    const AddedToken* token = find(static_cast<std::int32_t>(match->value));
    Range range{pos, pos + match->length};
    pos = range.end;
    if (token->single_word) {
      const auto alone = stands_alone(text, range);
      if (!alone) return propagate(alone);
      if (!*alone) continue;
    }
    if (token->lstrip) range.begin = std::max(space_before(text, range.begin), done);
    if (token->rstrip) range.end = space_after(text, range.end);
    if (done < range.begin) segments.push_back({{done, range.begin}, std::nullopt});
    // A token of white space that its neighbour has taken along is no token.
    if (range.begin < range.end) segments.push_back({range, token->id});
    done = range.end;
  }
  if (done < text.size()) segments.push_back({{done, text.size()}, std::nullopt});
  return segments;
}

Result<bool> AddedTokens::stands_alone(std::string_view text, Range range) const {
  Pattern::Matcher matcher(*word_character_);
  const auto is_word = [&](std::size_t pos) {
    return matcher.runs(text.substr(pos, char_length(text[pos]))).map([](std::span<const Run> runs) {
      return runs.front().match;
    });
  };
  for (const bool before : {true, false}) {
    if (range.begin == 0 && before) continue;
    if (range.end == text.size() && !before) continue;
    const auto joined = is_word(before ? char_before(text, range.begin) : range.end);
    if (!joined || *joined) return joined.map([](bool) { return false; });
  }
  return true;
}

const AddedToken* AddedTokens::find(std::int32_t id) const noexcept {
  const auto found = tokens_.find(id);
  return found == tokens_.end() ? nullptr : &found->second;
}

const AddedToken* AddedTokens::find(std::string_view content) const noexcept {
  const auto found = by_content_.find(content);
  return found == by_content_.end() ? nullptr : found->second;
}

std::size_t AddedTokens::id_end() const noexcept {
  return tokens_.empty() ? 0 : static_cast<std::size_t>(tokens_.rbegin()->first) + 1;
}

}  // namespace kvant::text
