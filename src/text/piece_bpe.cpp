// SPDX-License-Identifier: Apache-2.0
#include "piece_bpe.hpp"

#include <algorithm>
#include <utility>

#include "utf8.hpp"

namespace kvant::text {

PieceBpe::PieceBpe(Vocabulary vocabulary, Settings settings)
    : vocabulary_(std::move(vocabulary)), settings_(std::move(settings)) {
  for (Place place = 0; place < vocabulary_.size(); ++place)
    longest_ = std::max(longest_, vocabulary_.token(place).size());
}

/// Nothing merges with tokens that are taken whole, so that what lies between them is a text of its own.
Status PieceBpe::Encoder::append(std::string_view word, std::vector<std::int32_t>& ids) {
  std::size_t done = 0;
  for (std::size_t pos = 0; pos < word.size();) {
    const auto whole = model_->settings_.whole.longest(word.substr(pos));
    if (!whole) {
      pos += char_length(word[pos]);
      continue;
    }
    append_merged(word.substr(done, pos - done), ids);
    ids.push_back(model_->vocabulary_.id(whole->value));
    pos += whole->length;
    done = pos;
  }
  append_merged(word.substr(done), ids);
  return {};
}

void PieceBpe::Encoder::append_merged(std::string_view part, std::vector<std::int32_t>& ids) {
  const Vocabulary& vocabulary = model_->vocabulary_;
  const Settings& settings = model_->settings_;
  auto& symbols = merger_.symbols;
  symbols.clear();
  const auto token = [&](std::string_view text) -> std::optional<Merged> {
    const auto place = text.size() <= model_->longest_ ? vocabulary.place(text) : std::nullopt;
    if (!place || settings.ranks[*place] == kNoRank) return std::nullopt;
    return Merged{settings.ranks[*place], *place};
  };
  for (std::size_t pos = 0; pos < part.size(); pos += char_length(part[pos])) {
    const auto letter = token(part.substr(pos, char_length(part[pos])));
    const Place place = letter ? letter->result : kUnspelled;
    symbols.push_back({{place, Symbol::kNone, Symbol::kNone}, static_cast<std::uint32_t>(pos)});
  }
  const auto text_of = [&](const Letters& first, const Letters& last) {
    const std::size_t end = last.next == Symbol::kNone ? part.size() : symbols[last.next].begin;
    return part.substr(first.begin, end - first.begin);
  };
  merger_.run([&](const Letters& left, const Letters& right) { return token(text_of(left, right)); });
  bool after_unknown = false;
  for (const Letters& symbol : symbols) {
    if (symbol.place == Symbol::kNone) continue;
    const bool unknown = symbol.place == kUnspelled;
    if (!unknown)
      ids.push_back(vocabulary.id(symbol.place));
    else if (!append_bytes(text_of(symbol, symbol), settings.bytes, vocabulary, ids) && !after_unknown)
      ids.push_back(vocabulary.id(settings.unknown));
    after_unknown = unknown;
  }
}

}  // namespace kvant::text
