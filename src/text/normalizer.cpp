// SPDX-License-Identifier: Apache-2.0
#include "normalizer.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "base64.hpp"
#include "utf8.hpp"

namespace kvant::text {

namespace {

/// What `write(text, c)` makes of each character.
template <class Write>
Passage by_character(const Passage& passage, Write write) {
  Passage result;
  result.text.reserve(passage.text.size());
  for (std::size_t pos = 0; pos < passage.text.size(); pos += char_length(passage.text[pos])) {
    write(result.text, char_at(passage.text, pos));
    if (pos < passage.head) result.head = result.text.size();
  }
  return result;
}

void write_unless_mark(std::string& text, char32_t c) {
  if (!is_mark(c)) append_utf8(text, c);
}

// The steps of BertNormalizer.

void write_unless_nonspacing_mark(std::string& text, char32_t c) {
  if (!is_nonspacing_mark(c)) append_utf8(text, c);
}

void write_clean(std::string& text, char32_t c) {
  const bool blank = c == '\t' || c == '\n' || c == '\r';
  if (!blank && (c == 0xFFFD || is_control(c))) return;
  append_utf8(text, is_white_space(c) ? U' ' : c);
}

/// CJK ideographs stand alone. U+2B820 to U+2B91F are none in `tokenizers`.
void write_ideograph_apart(std::string& text, char32_t c) {
  const bool apart = (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
                     (c >= 0x2A700 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) || (c >= 0xF900 && c <= 0xFAFF) ||
                     (c >= 0x2F800 && c <= 0x2FA1F);
  if (apart) text.push_back(' ');
  append_utf8(text, c);
  if (apart) text.push_back(' ');
}

}  // namespace

Result<Normalizer> Normalizer::from_json(const std::optional<JsonNode>& node) {
  Normalizer normalizer;
  if (!node) return normalizer;
  if (auto ok = normalizer.add(*node); !ok) return propagate(ok);
  return normalizer;
}

Status Normalizer::add(const JsonNode& node) {
  const auto type = node.text("type");
  if (!type) return propagate(type);
  if (*type == "Prepend") return add_prepend(node);
  if (*type == "Replace") return add_replace(node);
  if (*type == "Strip") return add_strip(node);
  if (*type == "BertNormalizer") return add_bert(node);
  if (*type == "Precompiled") return add_precompiled(node);
  using Plain = std::variant<Form, EachCharacter>;
  constexpr std::array<std::pair<std::string_view, Plain>, 6> kWithoutSettings{
      {{"NFC", Form::nfc},
       {"NFD", Form::nfd},
       {"NFKC", Form::nfkc},
       {"NFKD", Form::nfkd},
       {"Lowercase", EachCharacter{append_lower_case}},
       {"StripAccents", EachCharacter{write_unless_mark}}}};
  for (const auto& [name, step] : kWithoutSettings) {
    if (*type != name) continue;
    std::visit([&](auto plain) { steps_.emplace_back(plain); }, step);
    return node.only({"type"});
  }
  if (*type != "Sequence")
    return node.unsupported(*type,
                            "kvant has the normalizers Prepend, Replace, NFC, NFD, NFKC, NFKD, Lowercase, "
                            "StripAccents, Strip, BertNormalizer, Precompiled and Sequence");
  if (auto ok = node.only({"type", "normalizers"}); !ok) return ok;
  const auto list = node.array("normalizers");
  if (!list) return propagate(list);
  for (std::size_t i = 0; i < list->json().items().size(); ++i)
    if (auto ok = add(list->item(i)); !ok) return ok;
  return {};
}

Status Normalizer::add_prepend(const JsonNode& node) {
  if (auto ok = node.only({"type", "prepend"}); !ok) return ok;
  auto text = node.text("prepend");
  if (!text) return propagate(text);
  steps_.emplace_back(Prepend{*std::move(text)});
  return {};
}

Status Normalizer::add_replace(const JsonNode& node) {
  if (auto ok = node.only({"type", "pattern", "content"}); !ok) return ok;
  auto pattern = node.at("pattern").and_then(Pattern::from_json);
  if (!pattern) return propagate(pattern);
  auto content = node.text("content");
  if (!content) return propagate(content);
  steps_.emplace_back(Replace{*std::move(pattern), *std::move(content)});
  return {};
}

Status Normalizer::add_strip(const JsonNode& node) {
  if (auto ok = node.only({"type", "strip_left", "strip_right"}); !ok) return ok;
  const auto left = node.flag("strip_left");
  if (!left) return propagate(left);
  const auto right = node.flag("strip_right");
  if (!right) return propagate(right);
  steps_.emplace_back(Strip{*left, *right});
  return {};
}

/// Its settings say which of its steps there are.
Status Normalizer::add_bert(const JsonNode& node) {
  if (auto ok = node.only({"type", "clean_text", "handle_chinese_chars", "strip_accents", "lowercase"}); !ok) return ok;
  const auto clean = node.flag("clean_text");
  if (!clean) return propagate(clean);
  const auto ideographs = node.flag("handle_chinese_chars");
  if (!ideographs) return propagate(ideographs);
  const auto lowercase = node.flag("lowercase");
  if (!lowercase) return propagate(lowercase);
  const auto strip = node.flag("strip_accents", *lowercase);
  if (!strip) return propagate(strip);
  if (*clean) steps_.emplace_back(EachCharacter{write_clean});
  if (*ideographs) steps_.emplace_back(EachCharacter{write_ideograph_apart});
  if (*strip) {
    steps_.emplace_back(Form::nfd);
    steps_.emplace_back(EachCharacter{write_unless_nonspacing_mark});
  }
  if (*lowercase) steps_.emplace_back(EachCharacter{append_lower_case});
  return {};
}

Status Normalizer::add_precompiled(const JsonNode& node) {
  if (auto ok = node.only({"type", "precompiled_charsmap"}); !ok) return ok;
  const auto text = node.text("precompiled_charsmap");
  if (!text) return propagate(text);
  const auto bytes = from_base64(*text);
  if (!bytes) return node.error(ErrorCode::bad_tokenizer, "\"precompiled_charsmap\" is no base64");
  auto map = CharsMap::read(*bytes);
  if (!map) return node.error(map.error().code, map.error().message);
  steps_.emplace_back(*std::move(map));
  return {};
}

Result<Passage> Normalizer::apply(Passage passage) const {
  for (const auto& step : steps_) {
    auto next = std::visit([&](const auto& s) { return apply(s, std::move(passage)); }, step);
    if (!next) return next;
    passage = *std::move(next);
    if (passage.text.size() > kMaxTextBytes)
      return fail(ErrorCode::limit, "the normalizer makes more than " + std::to_string(kMaxTextBytes) + " bytes");
  }
  return passage;
}

Result<Passage> Normalizer::apply(const Prepend& step, Passage passage) {
  if (passage.text.empty()) return passage;
  passage.text.insert(0, step.text);
  if (passage.head > 0) passage.head += step.text.size();
  return passage;
}

/// What replaces a match stems from where the match ends.
Result<Passage> Normalizer::apply(const Replace& step, Passage passage) {
  Pattern::Matcher matcher(step.pattern);
  const auto runs = matcher.runs(passage.text);
  if (!runs) return propagate(runs);
  const auto length = [&](const Run& run) { return run.match ? step.content.size() : run.range.end - run.range.begin; };
  std::uint64_t total = 0;
  for (const Run& run : *runs) total += length(run);
  if (total > kMaxTextBytes)
    return fail(ErrorCode::limit, "a replacement makes " + std::to_string(total) + " bytes; at most " +
                                      std::to_string(kMaxTextBytes) + " are worked on at once");
  Passage result;
  result.text.reserve(total);
  for (const Run& run : *runs) {
    const auto [begin, end] = run.range;
    if (run.match) {
      result.text.append(step.content);
      if (passage.head > 0 && end <= passage.head) result.head = result.text.size();
    } else {
      if (begin < passage.head) result.head = result.text.size() + std::min(end, passage.head) - begin;
      result.text.append(passage.text, begin, end - begin);
    }
  }
  return result;
}

Result<Passage> Normalizer::apply(Form step, Passage passage) {
  auto text = to_form(step, passage.text);
  if (!text) return propagate(text);
  if (passage.head > 0 && !text->empty()) {
    const auto head = to_form(step, std::string_view(passage.text).substr(0, passage.head));
    if (!head) return propagate(head);
    // A mark that has moved into it ends it; its first character is its own, whatever was composed with it.
    passage.head = std::max(common_prefix(*head, *text), char_length(text->front()));
  }
  passage.text = *std::move(text);
  return passage;
}

Result<Passage> Normalizer::apply(EachCharacter step, Passage passage) { return by_character(passage, step.write); }

Result<Passage> Normalizer::apply(Strip step, Passage passage) {
  auto& [text, head] = passage;
  if (step.right) text.resize(space_before(text, text.size()));
  const std::size_t begin = step.left ? space_after(text, 0) : 0;
  text.erase(0, begin);
  head = std::min(head - std::min(head, begin), text.size());
  return passage;
}

/// As `tokenizers` reads the map: where a grapheme cluster of less than 6 bytes begins with an entry, the shortest of
/// them replaces all of it; else each character is looked up.
Result<Passage> Normalizer::apply(const CharsMap& step, Passage passage) {
  constexpr std::size_t kShortCluster = 6;
  const std::string_view source = passage.text;
  Passage result;
  result.text.reserve(source.size());
  const auto write = [&](std::size_t begin, std::size_t end, std::string_view text) {
    result.text.append(text);
    if (begin < passage.head) result.head = result.text.size();
    return end;
  };
  for (std::size_t pos = 0; pos < source.size() && result.text.size() <= kMaxTextBytes;) {
    const std::size_t end = cluster_end(source, pos);
    const std::string_view cluster = source.substr(pos, end - pos);
    const auto found = cluster.size() < kShortCluster ? step.shortest(cluster) : CharsMap::Match{};
    if (found.length > 0) {
      pos = write(pos, end, found.text);
      continue;
    }
    while (pos < end && result.text.size() <= kMaxTextBytes) {
      const std::string_view letter = source.substr(pos, char_length(source[pos]));
      const auto match = step.shortest(letter);
      pos = write(pos, pos + letter.size(), match.length > 0 ? match.text : letter);
    }
  }
  return result;  // one that is too long is refused by the caller
}

Result<Passage> Normalizer::apply(const PieceNormalizer& step, Passage passage) {
  auto text = step.apply(passage.text);
  if (!text) return propagate(text);
  return Passage{*std::move(text), 0};
}

}  // namespace kvant::text
