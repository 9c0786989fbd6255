// SPDX-License-Identifier: Apache-2.0
#include "model.hpp"

#include <algorithm>
#include <string>

namespace kvant::text {

namespace {

constexpr std::size_t kMaxRememberedBytes = 64;
constexpr std::size_t kMaxRememberedWords = 1 << 16;

/// Old files do not name the type, but each has a key that the others lack.
Result<std::string> type_of(const JsonNode& node) {
  if (!node.find("type")) {
    if (node.find("merges")) return "BPE";
    if (node.find("max_input_chars_per_word")) return "WordPiece";
    if (node.find("unk_id")) return "Unigram";
  }
  return node.text("type");
}

}  // namespace

Result<Model> Model::from_json(const JsonNode& node) {
  const auto type = type_of(node);
  if (!type) return propagate(type);
  const auto wrap = [&](auto kind) -> Result<Model> {
    if (kind.vocabulary().size() == 0) return node.error(ErrorCode::bad_tokenizer, "the vocabulary is empty");
    return Model(Kind(std::move(kind)));
  };
  if (*type == "BPE") return Bpe::from_json(node).and_then(wrap);
  if (*type == "Unigram") return Unigram::from_json(node).and_then(wrap);
  if (*type == "WordPiece") return WordPiece::from_json(node).and_then(wrap);
  return node.unsupported(*type, "kvant has the models BPE, Unigram and WordPiece");
}

const Vocabulary& Model::vocabulary() const noexcept {
  return std::visit([](const auto& kind) -> const Vocabulary& { return kind.vocabulary(); }, kind_);
}

Model::Encoder::Encoder(const Model& model)
    : kind_(std::visit([](const auto& kind)
                           -> decltype(kind_) { return typename std::remove_cvref_t<decltype(kind)>::Encoder(kind); },
                       model.kind_)) {}

Status Model::Encoder::append(std::string_view word, std::vector<std::int32_t>& ids) {
  const std::size_t begin = ids.size();
  if (const auto found = seen_.find(word); found != seen_.end()) {
    const auto [from, count] = found->second;
    ids.resize(begin + count);
    std::copy_n(ids.begin() + static_cast<std::ptrdiff_t>(from), count,
                ids.begin() + static_cast<std::ptrdiff_t>(begin));
    return {};
  }
  if (auto ok = std::visit([&](auto& kind) { return kind.append(word, ids); }, kind_); !ok) return ok;
  if (word.size() <= kMaxRememberedBytes && seen_.size() < kMaxRememberedWords)
    seen_.emplace(word, Seen{begin, ids.size() - begin});
  return {};
}

}  // namespace kvant::text
