// SPDX-License-Identifier: Apache-2.0
#include "decode_steps.hpp"

#include <array>
#include <charconv>
#include <cstdint>
#include <optional>
#include <utility>

#include "byte_level.hpp"
#include "kvant/core/contract.hpp"
#include "kvant/io/utf8.hpp"
#include "metaspace.hpp"
#include "utf8.hpp"

namespace kvant::text {

namespace {

/// The byte that `<0x41>` names. What looks similar (<0x-1>, <0xZZ>) is an ordinary token.
std::optional<char> named_byte(std::string_view token) noexcept {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  unsigned char byte = 0;
  const char* digits = token.data() + 3;
  const auto [end, failure] = std::from_chars(digits, digits + 2, byte, 16);
  if (failure != std::errc{} || end != digits + 2) return std::nullopt;
  return static_cast<char>(byte);
}

/// The bytes that a token of byte-alphabet characters stands for, or nothing.
std::optional<std::string> alphabet_bytes(std::string_view token) {
  std::string bytes;
  for (std::size_t pos = 0; pos < token.size(); pos += char_length(token[pos])) {
    const char32_t code = char_at(token, pos);
    if (code >= kAlphabetByte.size() || kAlphabetByte[code] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kAlphabetByte[code]));
  }
  return bytes;
}

std::string replaced(std::string_view text, std::string_view pattern, std::string_view content) {
  std::string out;
  for (std::size_t at; (at = text.find(pattern)) != std::string_view::npos; text.remove_prefix(at + pattern.size()))
    out.append(text.substr(0, at)).append(content);
  return out.append(text);
}

}  // namespace

Pieces ByteLevelStep::run(const Pieces& pieces, bool last) {
  for (const Piece& piece : pieces) {
    token_.append(piece.text);
    if (!piece.ends) continue;
    const auto decoded = alphabet_bytes(token_);
    bytes_.append(decoded ? *decoded : token_);
    token_.clear();
  }
  const std::size_t certain = bytes_.size() - (last ? 0 : unfinished_utf8(bytes_));
  Pieces out;
  out.push_back({lossy_utf8(std::string_view(bytes_).substr(0, certain)), last});
  bytes_.erase(0, certain);
  return out;
}

Pieces ByteFallbackStep::run(const Pieces& pieces, bool last) {
  Pieces out;
  for (const Piece& piece : pieces) {
    token_.append(piece.text);
    if (!piece.ends) continue;
    if (const auto byte = named_byte(token_)) {
      bytes_.push_back(*byte);
    } else {
      end_run(out);
      out.push_back({token_});
    }
    token_.clear();
  }
  if (last) end_run(out);
  return out;
}

void ByteFallbackStep::end_run(Pieces& out) {
  if (bytes_.empty()) return;
  if (!io::find_invalid_utf8(bytes_))
    out.push_back({bytes_});
  else
    out.insert(out.end(), bytes_.size(), {std::string(kReplacementCharacter)});
  bytes_.clear();
}

Pieces FuseStep::run(Pieces pieces, bool last) const {
  for (Piece& piece : pieces) piece.ends = false;
  if (last) pieces.push_back({});
  return pieces;
}

ReplaceStep::ReplaceStep(std::string pattern, std::string content)
    : pattern_(std::move(pattern)), content_(std::move(content)), borders_(pattern_.size()) {
  expects(!pattern_.empty(), "something to replace");
  for (std::size_t i = 1, border = 0; i < pattern_.size(); ++i) {
    while (border > 0 && pattern_[i] != pattern_[border]) border = borders_[border - 1];
    if (pattern_[i] == pattern_[border]) ++border;
    borders_[i] = border;
  }
}

Pieces ReplaceStep::run(Pieces pieces, bool) {
  for (Piece& piece : pieces) {
    piece.text = replace(piece.text);
    if (piece.ends) piece.text.append(pattern_, 0, std::exchange(matched_, 0));
  }
  return pieces;
}

std::string ReplaceStep::replace(std::string_view part) {
  std::string out;
  out.reserve(part.size());
  for (const char c : part) {
    while (matched_ > 0 && c != pattern_[matched_]) {
      const std::size_t border = borders_[matched_ - 1];
      out.append(pattern_, 0, matched_ - border);
      matched_ = border;
    }
    if (c != pattern_[matched_]) {
      out.push_back(c);
    } else if (++matched_ == pattern_.size()) {
      out.append(content_);
      matched_ = 0;
    }
  }
  return out;
}

StripStep::StripStep(std::string content, std::size_t start, std::size_t stop)
    : content_(std::move(content)), start_(start), stop_(stop) {}

Pieces StripStep::run(Pieces pieces, bool) {
  for (Piece& piece : pieces) piece.text = strip(piece.text, piece.ends);
  return pieces;
}

std::string StripStep::strip(std::string_view part, bool ends) {
  std::string out;
  const auto give = [&](std::size_t times) {
    for (; times > 0; --times) out.append(content_);
  };
  for (; !begun_ && taken_ < start_ && part.starts_with(content_); ++taken_) part.remove_prefix(content_.size());
  begun_ = begun_ || !part.empty();
  std::size_t trailing = 0;
  for (; part.ends_with(content_); ++trailing) part.remove_suffix(content_.size());
  if (!part.empty()) give(std::exchange(held_, 0));
  out.append(part);
  held_ += trailing;
  if (held_ > stop_) {
    give(held_ - stop_);
    held_ = stop_;
  }
  if (ends) {
    taken_ = 0;
    begun_ = false;
    held_ = 0;
  }
  return out;
}

SpacesStep::SpacesStep(std::string replacement, bool drop_first)
    : replacement_(std::move(replacement)), drop_(drop_first) {}

Pieces SpacesStep::run(Pieces pieces, bool) {
  for (Piece& piece : pieces) {
    std::string text;
    for (std::string_view rest = piece.text; !rest.empty();) {
      const std::string_view c = rest.substr(0, char_length(rest.front()));
      rest.remove_prefix(c.size());
      if (c != replacement_)
        text.append(c);
      else if (!drop_)
        text.push_back(' ');
    }
    piece.text = std::move(text);
    if (piece.ends) drop_ = false;
  }
  return pieces;
}

WordPieceStep::WordPieceStep(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}

Pieces WordPieceStep::run(const Pieces& pieces, bool last) {
  Pieces out;
  for (const Piece& piece : pieces) {
    token_.append(piece.text);
    if (!piece.ends) continue;
    out.push_back({word()});
    token_.clear();
    first_ = false;
  }
  if (last && !token_.empty()) out.push_back({word()});
  return out;
}

std::string WordPieceStep::word() const {
  std::string text = token_;
  if (!first_) {
    if (text.starts_with(prefix_))
      text.erase(0, prefix_.size());
    else
      text.insert(0, " ");
  }
  if (!cleanup_) return text;
  constexpr std::array<std::pair<std::string_view, std::string_view>, 11> kReplacements{{{" .", "."},
                                                                                         {" ?", "?"},
                                                                                         {" !", "!"},
                                                                                         {" ,", ","},
                                                                                         {" ' ", "'"},
                                                                                         {" n't", "n't"},
                                                                                         {" 'm", "'m"},
                                                                                         {" do not", " don't"},
                                                                                         {" 's", "'s"},
                                                                                         {" 've", "'ve"},
                                                                                         {" 're", "'re"}}};
  for (const auto& [pattern, content] : kReplacements) text = replaced(text, pattern, content);
  return text;
}

Pieces PieceStep::run(const Pieces& pieces, bool last) {
  Pieces out;
  for (const Piece& piece : pieces) {
    if (const auto byte = settings_.bytes ? named_byte(piece.text) : std::nullopt) {
      bytes_.push_back(*byte);
      continue;
    }
    end_bytes(bytes_.size(), out);
    std::string_view token = piece.text;
    if (at_start_ && !dropped_ && settings_.drop_first_space && token.starts_with(kVisibleSpace)) {
      token.remove_prefix(kVisibleSpace.size());
      dropped_ = !settings_.drop_each_at_start;
    }
    give(replaced(token, kVisibleSpace, " "), out);
  }
  end_bytes(bytes_.size() - (last ? 0 : unfinished_utf8(bytes_)), out);
  return out;
}

/// Hands the first `count` bytes on.
void PieceStep::end_bytes(std::size_t count, Pieces& out) {
  std::string_view rest = std::string_view(bytes_).substr(0, count);
  std::string text;
  while (const auto bad = io::find_invalid_utf8(rest)) {
    text.append(rest.substr(0, *bad)).append(kReplacementCharacter);
    rest.remove_prefix(*bad + 1);
  }
  give(text.append(rest), out);
  bytes_.erase(0, count);
}

void PieceStep::give(std::string text, Pieces& out) {
  if (text.empty()) return;
  at_start_ = false;
  out.push_back({std::move(text)});
}

Pieces JoinStep::run(Pieces pieces, bool) {
  for (Piece& piece : pieces)
    if (!std::exchange(first_, false)) piece.text.insert(0, " ");
  return pieces;
}

}  // namespace kvant::text
