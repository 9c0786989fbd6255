// SPDX-License-Identifier: Apache-2.0
#include "unigram.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "utf8.hpp"

namespace kvant::text {

namespace {

constexpr float kUnknownPenalty = 10;
constexpr double kGreatestSum = 100000;  // of floats

bool spells_all(const ByteTokens& bytes) noexcept {
  return std::all_of(bytes.begin(), bytes.end(), [](const auto& token) { return token.has_value(); });
}

double unknown_score(double lowest, Unigram::Sums sums) noexcept {
  return sums == Unigram::Sums::floats ? static_cast<float>(lowest) - kUnknownPenalty : lowest - kUnknownPenalty;
}

double power_of_ten(int exponent) {
  const std::string text = "1e" + std::to_string(exponent);
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

/// A score as `tokenizers` reads it: the parser behind it rounds the digits to a double and then their quotient by a
/// power of ten, which may be off in the last bit. That decides between cuts that are otherwise as good as each other.
double twice_rounded(double score) {
  std::array<char, 32> text{};
  const auto end =
      std::to_chars(text.data(), text.data() + text.size(), std::abs(score), std::chars_format::scientific);
  std::string digits(text.data(), end.ptr);
  const std::size_t e = digits.find('e');
  int exponent = std::stoi(digits.substr(e + 1));
  digits.resize(e);
  if (digits.size() > 1) {
    exponent -= static_cast<int>(digits.size()) - 2;
    digits.erase(1, 1);
  }
  if (exponent < -308) return score;  // where the sums do not notice
  const auto whole = static_cast<double>(std::stoull(digits));
  const double value = exponent < 0 ? whole / power_of_ten(-exponent) : whole * power_of_ten(exponent);
  return std::copysign(value, score);
}

struct Scored {
  std::string_view token;
  double score;
};

/// One entry of "vocab": ["token", score].
Result<Scored> read_scored(const JsonNode& item) {
  const auto pair = item.json().items();
  const std::string* token = pair.size() == 2 ? pair[0].as_string() : nullptr;
  const auto score = pair.size() == 2 ? pair[1].as_double() : std::nullopt;
  if (token == nullptr || token->empty() || !score)
    return item.error(ErrorCode::bad_tokenizer, "expected [\"token\", score], a token that is not empty");
  return Scored{*token, twice_rounded(*score)};
}

}  // namespace

Result<Unigram> Unigram::from_json(const JsonNode& node) {
  if (auto ok = node.only({"type", "unk_id", "vocab", "byte_fallback"}); !ok) return propagate(ok);
  const auto list = node.array("vocab");
  if (!list) return propagate(list);
  const std::size_t count = list->json().items().size();
  std::vector<std::pair<std::int32_t, std::string_view>> entries;
  Settings settings;
  settings.lowest = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < count; ++i) {
    const auto scored = read_scored(list->item(i));
    if (!scored) return propagate(scored);
    entries.emplace_back(static_cast<std::int32_t>(i), scored->token);
    settings.scores.push_back(scored->score);
    settings.lowest = std::min(settings.lowest, scored->score);
  }
  auto vocabulary = Vocabulary::make(std::move(entries), kMaxMatchedBytes);
  if (!vocabulary) return list->error(vocabulary.error().code, vocabulary.error().message);
  if (const auto unknown = node.find("unk_id")) {
    const auto id = unknown->id();
    if (!id) return propagate(id);
    settings.unknown = vocabulary->place(*id);
    if (!settings.unknown) return unknown->error(ErrorCode::bad_tokenizer, "is no id of the vocabulary");
  }
  const auto fallback = node.flag("byte_fallback", false);
  if (!fallback) return propagate(fallback);
  if (*fallback) settings.bytes = byte_tokens(*vocabulary);
  for (Place place = 0; place < count; ++place)
    if (vocabulary->place(vocabulary->token(place)) == place)
      settings.tokens.push_back({vocabulary->token(place), place});
  return Unigram(*std::move(vocabulary), std::move(settings));
}

Unigram::Unigram(Vocabulary vocabulary, Settings settings)
    : vocabulary_(std::move(vocabulary)),
      tokens_(std::move(settings.tokens)),
      scores_(std::move(settings.scores)),
      unknown_score_(unknown_score(settings.lowest, settings.sums)),
      unknown_(settings.unknown),
      bytes_(settings.bytes),
      sums_(settings.sums) {}

Status Unigram::Encoder::append(std::string_view word, std::vector<std::int32_t>& ids) {
  if (auto ok = cut(word); !ok) return ok;
  const auto is_unknown = [&](const Piece& piece) {
    return piece.place == kUnspelled || piece.place == model_->unknown_;
  };
  for (std::size_t i = pieces_.size(); i > 0;) {
    const Piece& first = pieces_[--i];
    if (!is_unknown(first)) {
      ids.push_back(model_->vocabulary_.id(first.place));
      continue;
    }
    std::uint32_t end = first.end;
    bool alone = true;
    for (; i > 0 && is_unknown(pieces_[i - 1]); alone = false) end = pieces_[--i].end;
    append_unknown(word.substr(first.begin, end - first.begin), alone && first.place != kUnspelled, ids);
  }
  return {};
}

/// Fills `pieces_`.
Status Unigram::Encoder::cut(std::string_view word) {
  best_.assign(word.size() + 1, {});
  reached_ = 0;
  for (std::size_t begin = 0, letter = 0; begin < word.size(); begin += letter) {
    letter = char_length(word[begin]);
    if (model_->sums_ == Sums::floats && std::abs(best_[begin].sum) > kGreatestSum) restart_sums(begin);
    bool spelled = false;
    model_->tokens_.prefixes(word.substr(begin), [&](std::size_t length, Place place) {
      offer(begin, begin + length, model_->scores_[place], place);
      spelled = spelled || length == letter;
    });
    if (spelled) continue;
    offer(begin, begin + letter, model_->unknown_score_, kUnspelled);
    if (!model_->unknown_ && best_[begin + letter].place == kUnspelled && !spells_all(model_->bytes_))
      return fail(ErrorCode::bad_tokenizer, "a character is not in the vocabulary, and no \"unk_id\" stands for it");
  }
  pieces_.clear();
  for (auto end = static_cast<std::uint32_t>(word.size()); end > 0; end = best_[end].begin)
    pieces_.push_back({best_[end].begin, end, best_[end].place});
  return {};
}

/// A token from `begin` to `end` as the last one of a cut; of those as good the first one offered counts.
void Unigram::Encoder::offer(std::size_t begin, std::size_t end, double score, Place place) noexcept {
  const double sum = score + best_[begin].sum;
  const double rounded = model_->sums_ == Sums::floats ? static_cast<float>(sum) : sum;
  Best& best = best_[end];
  if (best.begin == UINT32_MAX || rounded > best.sum) best = {rounded, static_cast<std::uint32_t>(begin), place};
  reached_ = std::max(reached_, end);
}

/// Takes the sum at `begin` off it and all that follow.
void Unigram::Encoder::restart_sums(std::size_t begin) noexcept {
  const double base = best_[begin].sum;
  for (std::size_t end = begin; end <= reached_; ++end)
    if (best_[end].begin != UINT32_MAX) best_[end].sum = static_cast<float>(best_[end].sum - base);
}

/// A run of unknown characters is one token, unless bytes spell it; where it `is_token`, the text names that token.
void Unigram::Encoder::append_unknown(std::string_view run, bool is_token, std::vector<std::int32_t>& ids) const {
  const bool spelled = !is_token && append_bytes(run, model_->bytes_, model_->vocabulary_, ids);
  if (!spelled) ids.push_back(model_->vocabulary_.id(*model_->unknown_));
}

}  // namespace kvant::text
