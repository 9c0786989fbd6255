// SPDX-License-Identifier: Apache-2.0
#include "bpe.hpp"

#include <algorithm>
#include <utility>

#include "kvant/io/utf8.hpp"
#include "utf8.hpp"

namespace kvant::text {

namespace {

constexpr std::size_t kMaxRememberedBytes = 64;
constexpr std::size_t kMaxRememberedWords = 1 << 16;

std::string byte_token(unsigned byte) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  return {'<', '0', 'x', kHex[byte >> 4], kHex[byte & 15], '>'};
}

}  // namespace

Result<Bpe> Bpe::from_json(const JsonNode& node) {
  Bpe bpe;
  // Old files do not name the type; what has merges is this one.
  if (node.find("type") || !node.find("merges")) {
    const auto type = node.text("type");
    if (!type) return propagate(type);
    if (*type != "BPE") return node.unsupported(*type, "kvant reads tokenizers of type BPE");
  }
  if (auto ok = node.only({"type", "dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                           "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
      !ok)
    return propagate(ok);
  auto vocabulary = node.at("vocab").and_then(Vocabulary::from_json);
  if (!vocabulary) return propagate(vocabulary);
  bpe.vocabulary_ = *std::move(vocabulary);
  if (bpe.vocabulary_.size() == 0) return node.error(ErrorCode::bad_tokenizer, "the vocabulary is empty");
  if (auto ok = bpe.read_settings(node); !ok) return propagate(ok);
  const auto merges = node.array("merges");
  if (!merges) return propagate(merges);
  if (auto ok = bpe.read_merges(*merges); !ok) return propagate(ok);
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
  if (*fallback)
    for (unsigned byte = 0; byte < 256; ++byte) byte_tokens_[byte] = vocabulary_.place(byte_token(byte));
  return {};
}

Status Bpe::read_merges(const JsonNode& list) {
  const auto items = list.json().items();
  merges_.reserve(items.size());
  for (std::uint32_t rank = 0; rank < items.size(); ++rank) {
    const auto merge = read_merge(list, rank);
    if (!merge) return propagate(merge);
    merges_.push_back(*merge);
  }
  const auto pair = [](const Merge& m) { return std::pair(m.left, m.right); };
  // Of two rules for one pair the later one counts.
  std::sort(merges_.begin(), merges_.end(),
            [&](const Merge& a, const Merge& b) { return pair(a) != pair(b) ? pair(a) < pair(b) : a.rank > b.rank; });
  merges_.erase(
      std::unique(merges_.begin(), merges_.end(), [&](const Merge& a, const Merge& b) { return pair(a) == pair(b); }),
      merges_.end());
  first_merge_.assign(vocabulary_.size() + 1, 0);
  for (const Merge& merge : merges_) ++first_merge_[merge.left + 1];
  for (std::size_t i = 1; i < first_merge_.size(); ++i) first_merge_[i] += first_merge_[i - 1];
  return {};
}

/// One rule, "a b" or ["a", "b"]; a, b and ab are tokens.
Result<Bpe::Merge> Bpe::read_merge(const JsonNode& list, std::uint32_t rank) const {
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
  return Merge{places[0], places[1], rank, places[2]};
}

const Bpe::Merge* Bpe::find_merge(Place left, Place right) const noexcept {
  const auto begin = merges_.begin() + first_merge_[left];
  const auto end = merges_.begin() + first_merge_[left + 1];
  const auto found = std::lower_bound(begin, end, right, [](const Merge& m, Place place) { return m.right < place; });
  return found != end && found->right == right ? &*found : nullptr;
}

Status Bpe::Encoder::append(std::string_view word, std::vector<std::int32_t>& ids) {
  const Vocabulary& vocabulary = bpe_->vocabulary_;
  if (bpe_->ignore_merges_) {
    if (const auto place = vocabulary.place(word)) {
      ids.push_back(vocabulary.id(*place));
      return {};
    }
  }
  const std::size_t begin = ids.size();
  if (const auto found = seen_.find(word); found != seen_.end()) {
    const auto [from, count] = found->second;
    ids.resize(begin + count);
    std::copy_n(ids.begin() + static_cast<std::ptrdiff_t>(from), count,
                ids.begin() + static_cast<std::ptrdiff_t>(begin));
    return {};
  }
  if (auto ok = spell(word); !ok) return ok;
  merge_all();
  for (const Symbol& symbol : symbols_)
    if (symbol.place != kNone) ids.push_back(vocabulary.id(symbol.place));
  if (word.size() <= kMaxRememberedBytes && seen_.size() < kMaxRememberedWords)
    seen_.emplace(word, Seen{begin, ids.size() - begin});
  return {};
}

/// The word as single characters, bytes, or unknown tokens. The order of unknown tokens and byte tokens is that of
/// `tokenizers`: an unknown token waits for the next character in the vocabulary, byte tokens do not end the wait.
Status Bpe::Encoder::spell(std::string_view word) {
  symbols_.clear();
  std::optional<Place> waiting;
  for (std::size_t pos = 0; pos < word.size();) {
    const std::string_view letter = word.substr(pos, char_length(word[pos]));
    pos += letter.size();
    if (const auto place = bpe_->vocabulary_.place(letter)) {
      if (waiting) push_symbol(*std::exchange(waiting, std::nullopt));
      push_symbol(*place);
      continue;
    }
    const auto byte_of = [&](char c) { return bpe_->byte_tokens_[static_cast<unsigned char>(c)]; };
    if (std::all_of(letter.begin(), letter.end(), [&](char c) { return byte_of(c).has_value(); })) {
      for (const char c : letter) push_symbol(*byte_of(c));
      continue;
    }
    if (!bpe_->unknown_token_) continue;
    const auto place = unknown();
    if (!place) return propagate(place);
    if (waiting && !bpe_->fuse_unknown_) push_symbol(*waiting);
    waiting = *place;
  }
  if (waiting) push_symbol(*waiting);
  if (!symbols_.empty()) symbols_.back().next = kNone;
  return {};
}

Result<Place> Bpe::Encoder::unknown() const {
  if (const auto place = bpe_->vocabulary_.place(*bpe_->unknown_token_)) return *place;
  return fail(ErrorCode::bad_tokenizer, "a character is not in the vocabulary, and neither is the unknown token \"" +
                                            io::printable(*bpe_->unknown_token_, 80) + "\"");
}

void Bpe::Encoder::push_symbol(Place place) {
  const auto at = static_cast<std::uint32_t>(symbols_.size());
  symbols_.push_back({place, at == 0 ? kNone : at - 1, at + 1});
}

void Bpe::Encoder::merge_all() {
  // std heaps keep the largest on top.
  const auto later = [](const Candidate& a, const Candidate& b) {
    return std::pair(a.rank, a.left) > std::pair(b.rank, b.left);
  };
  heap_.clear();
  for (std::uint32_t i = 0; i + 1 < symbols_.size(); ++i) note(i);
  std::make_heap(heap_.begin(), heap_.end(), later);
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    const Candidate top = heap_.back();
    heap_.pop_back();
    Symbol& left = symbols_[top.left];
    if (left.place == kNone || left.next == kNone) continue;
    Symbol& right = symbols_[left.next];
    const Merge* merge = bpe_->find_merge(left.place, right.place);
    if (merge == nullptr || merge->result != top.result) continue;  // the neighbours have changed since
    left.place = top.result;
    left.next = right.next;
    right.place = kNone;
    if (left.next != kNone) symbols_[left.next].previous = top.left;
    for (const std::uint32_t at : {left.previous, left.next == kNone ? kNone : top.left}) {
      if (at == kNone) continue;
      const std::size_t before = heap_.size();
      note(at);
      if (heap_.size() > before) std::push_heap(heap_.begin(), heap_.end(), later);
    }
  }
}

/// Adds the merge of symbol `left` with the one after it, if there is a rule for it.
void Bpe::Encoder::note(std::uint32_t left) {
  const Merge* merge = bpe_->find_merge(symbols_[left].place, symbols_[symbols_[left].next].place);
  if (merge != nullptr) heap_.push_back({merge->rank, left, merge->result});
}

}  // namespace kvant::text
