// SPDX-License-Identifier: Apache-2.0
#include "bpe.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "kvant/io/utf8.hpp"
#include "utf8.hpp"

namespace kvant::text {

Result<Bpe> Bpe::from_json(const JsonNode& node) {
  Bpe bpe;
  if (auto ok = node.only({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                           "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
      !ok)
    return propagate(ok);
  constexpr std::size_t kMaxTokenBytes = std::size_t{64} * 1024;
  auto vocabulary =
      node.at("vocab").and_then([](const JsonNode& vocab) { return Vocabulary::from_json(vocab, kMaxTokenBytes); });
  if (!vocabulary) return propagate(vocabulary);
  bpe.vocabulary_ = *std::move(vocabulary);
  if (auto ok = bpe.read_settings(node); !ok) return propagate(ok);
  const auto merges = node.array("merges");
  if (!merges) return propagate(merges);
  if (auto ok = bpe.read_rules(*merges); !ok) return propagate(ok);
  return bpe;
}

Status Bpe::read_settings(const JsonNode& node) {
  if (const auto dropout = node.find("dropout"); dropout && dropout->json().as_double() != 0.0)
    return dropout->error(ErrorCode::unsupported, "dropout makes ids random; set it to null");
  for (const std::string_view affix : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const auto text = node.find(affix);
    if (!text) continue;
    const auto value = text->text();
    if (!value) return propagate(value);
    if (!value->empty()) return text->unsupported(*value, "only an empty affix is");
  }
  if (node.find("unk_token")) {
    auto unknown = node.text("unk_token");
    if (!unknown) return propagate(unknown);
    unknown_token_ = *std::move(unknown);
  }
  const auto fuse = node.flag("fuse_unk", false);
  if (!fuse) return propagate(fuse);
  fuse_unknown_ = *fuse;
  const auto ignore = node.flag("ignore_merges", false);
  if (!ignore) return propagate(ignore);
  ignore_merges_ = *ignore;
  const auto fallback = node.flag("byte_fallback", false);
  if (!fallback) return propagate(fallback);
  if (*fallback) byte_tokens_ = byte_tokens(vocabulary_);
  return {};
}

Status Bpe::read_rules(const JsonNode& list) {
  const auto items = list.json().items();
  rules_.reserve(items.size());
  for (std::uint32_t rank = 0; rank < items.size(); ++rank) {
    const auto rule = read_rule(list, rank);
    if (!rule) return propagate(rule);
    rules_.push_back(*rule);
  }
  const auto pair = [](const Rule& r) { return std::pair(r.left, r.right); };
  // Of two rules for one pair the later one counts.
  std::sort(rules_.begin(), rules_.end(), [&](const Rule& a, const Rule& b) {
    return pair(a) != pair(b) ? pair(a) < pair(b) : a.merged.rank > b.merged.rank;
  });
  rules_.erase(
      std::unique(rules_.begin(), rules_.end(), [&](const Rule& a, const Rule& b) { return pair(a) == pair(b); }),
      rules_.end());
  first_rule_.assign(vocabulary_.size() + 1, 0);
  for (const Rule& rule : rules_) ++first_rule_[rule.left + 1];
  for (std::size_t i = 1; i < first_rule_.size(); ++i) first_rule_[i] += first_rule_[i - 1];
  return {};
}

/// One rule, "a b" or ["a", "b"]; a, b and ab are tokens.
Result<Bpe::Rule> Bpe::read_rule(const JsonNode& list, std::uint32_t rank) const {
  const io::Json& item = list.json().items()[rank];
  std::string_view left;
  std::string_view right;
  if (const std::string* text = item.as_string()) {
    const std::string_view view = *text;
    const std::size_t space = view.find(' ');
    if (space == std::string_view::npos || view.find(' ', space + 1) != std::string_view::npos)
      return list.item(rank).error(ErrorCode::bad_tokenizer, "expected two tokens with a space between them");
    left = view.substr(0, space);
    right = view.substr(space + 1);
  } else {
    const auto pair = item.items();
    if (pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string())
      return list.item(rank).error(ErrorCode::bad_tokenizer, "expected \"a b\" or [\"a\", \"b\"]");
    left = *pair[0].as_string();
    right = *pair[1].as_string();
  }
  const std::string both = std::string(left).append(right);
  std::array<Place, 3> places{};
  const std::array<std::string_view, 3> tokens{left, right, both};
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const auto place = vocabulary_.place(tokens[i]);
    if (!place)
      return list.item(rank).error(ErrorCode::bad_tokenizer,
                                   "\"" + io::printable(tokens[i], 80) + "\" is not in the vocabulary");
    places[i] = *place;
  }
  return Rule{places[0], places[1], {rank, places[2]}};
}

std::optional<Merged> Bpe::find_rule(Place left, Place right) const noexcept {
  const auto begin = rules_.begin() + first_rule_[left];
  const auto end = rules_.begin() + first_rule_[left + 1];
  const auto found =
      std::lower_bound(begin, end, right, [](const Rule& rule, Place place) { return rule.right < place; });
  if (found == end || found->right != right) return std::nullopt;
  return found->merged;
}

Status Bpe::Encoder::append(std::string_view word, std::vector<std::int32_t>& ids) {
  const Vocabulary& vocabulary = bpe_->vocabulary_;
  if (bpe_->ignore_merges_) {
    if (const auto place = vocabulary.place(word)) {
      ids.push_back(vocabulary.id(*place));
      return {};
    }
  }
  if (auto ok = spell(word); !ok) return ok;
  merger_.run([&](const Symbol& left, const Symbol& right) { return bpe_->find_rule(left.place, right.place); });
  for (const Symbol& symbol : merger_.symbols)
    if (symbol.place != Symbol::kNone) ids.push_back(vocabulary.id(symbol.place));
  return {};
}

/// The word as single characters, bytes, or unknown tokens. The order of unknown tokens and byte tokens is that of
/// `tokenizers`: an unknown token waits for the next character in the vocabulary, byte tokens do not end the wait.
Status Bpe::Encoder::spell(std::string_view word) {
  auto& symbols = merger_.symbols;
  symbols.clear();
  const auto push = [&](Place place) { symbols.push_back({place, Symbol::kNone, Symbol::kNone}); };
  std::optional<Place> waiting;
  for (std::size_t pos = 0; pos < word.size();) {
    const std::string_view letter = word.substr(pos, char_length(word[pos]));
    pos += letter.size();
    if (const auto place = bpe_->vocabulary_.place(letter)) {
      if (waiting) push(*std::exchange(waiting, std::nullopt));
      push(*place);
      continue;
    }
    const auto byte_of = [&](char c) { return bpe_->byte_tokens_[static_cast<unsigned char>(c)]; };
    if (std::all_of(letter.begin(), letter.end(), [&](char c) { return byte_of(c).has_value(); })) {
      for (const char c : letter) push(*byte_of(c));
      continue;
    }
    if (!bpe_->unknown_token_) continue;
    const auto place = bpe_->vocabulary_.place(*bpe_->unknown_token_);
    if (!place) return missing_unknown_token(*bpe_->unknown_token_);
    if (waiting && !bpe_->fuse_unknown_) push(*waiting);
    waiting = *place;
  }
  if (waiting) push(*waiting);
  return {};
}

}  // namespace kvant::text
