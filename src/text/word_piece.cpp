// SPDX-License-Identifier: Apache-2.0
#include "word_piece.hpp"

#include <utility>

#include "utf8.hpp"

namespace kvant::text {

namespace {

Trie trie_of(const Vocabulary& vocabulary) {
  std::vector<Trie::Entry> entries;
  for (Place place = 0; place < vocabulary.size(); ++place)
    if (!vocabulary.token(place).empty()) entries.push_back({vocabulary.token(place), place});
  return Trie(std::move(entries));
}

}  // namespace

Result<WordPiece> WordPiece::from_json(const JsonNode& node) {
  if (auto ok = node.only({"type", "unk_token", "continuing_subword_prefix", "max_input_chars_per_word", "vocab"}); !ok)
    return propagate(ok);
  WordPiece model;
  auto vocabulary =
      node.at("vocab").and_then([](const JsonNode& vocab) { return Vocabulary::from_json(vocab, kMaxMatchedBytes); });
  if (!vocabulary) return propagate(vocabulary);
  model.vocabulary_ = *std::move(vocabulary);
  auto unknown = node.text("unk_token");
  if (!unknown) return propagate(unknown);
  model.unknown_token_ = *std::move(unknown);
  const auto limit = node.at("max_input_chars_per_word").and_then([](const JsonNode& n) { return n.count(); });
  if (!limit) return propagate(limit);
  model.max_characters_ = *limit;
  const auto prefix = node.text("continuing_subword_prefix");
  if (!prefix) return propagate(prefix);
  model.tokens_ = trie_of(model.vocabulary_);
  model.continuation_ = model.tokens_.find(*prefix);
  return model;
}

Status WordPiece::Encoder::append(std::string_view word, std::vector<std::int32_t>& ids) const {
  const std::size_t begin = ids.size();
  if (append_pieces(word, ids)) return {};
  ids.resize(begin);
  const auto unknown = model_->vocabulary_.place(model_->unknown_token_);
  if (!unknown) return missing_unknown_token(model_->unknown_token_);
  ids.push_back(model_->vocabulary_.id(*unknown));
  return {};
}

bool WordPiece::Encoder::append_pieces(std::string_view word, std::vector<std::int32_t>& ids) const {
  if (count_characters(word) > model_->max_characters_) return false;
  std::optional<Trie::Node> from = Trie::kRoot;
  while (!word.empty()) {
    if (!from) return false;
    const auto match = model_->tokens_.longest(word, *from);
    if (!match) return false;
    ids.push_back(model_->vocabulary_.id(match->value));
    word.remove_prefix(match->length);
    from = model_->continuation_;
  }
  return true;
}

}  // namespace kvant::text
