// SPDX-License-Identifier: Apache-2.0
#include "normalizer.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

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
  using Plain = std::variant<Form, Lowercase, StripAccents>;
  constexpr std::array<std::pair<std::string_view, Plain>, 6> kWithoutSettings{{{"NFC", Form::nfc},
                                                                                {"NFD", Form::nfd},
                                                                                {"NFKC", Form::nfkc},
                                                                                {"NFKD", Form::nfkd},
                                                                                {"Lowercase", Lowercase{}},
                                                                                {"StripAccents", StripAccents{}}}};
  for (const auto& [name, step] : kWithoutSettings) {
    if (*type != name) continue;
    std::visit([&](auto plain) { steps_.emplace_back(plain); }, step);
    return node.only({"type"});
  }
  if (*type != "Sequence")
    return node.unsupported(*type,
                            "kvant has the normalizers Prepend, Replace, NFC, NFD, NFKC, NFKD, Lowercase, "
                            "StripAccents, Strip and Sequence");
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

Result<Passage> Normalizer::apply(Lowercase, Passage passage) { return by_character(passage, append_lower_case); }

Result<Passage> Normalizer::apply(StripAccents, Passage passage) {
  return by_character(passage, [](std::string& text, char32_t c) {
    if (!is_mark(c)) append_utf8(text, c);
  });
}

Result<Passage> Normalizer::apply(Strip step, Passage passage) {
  auto& [text, head] = passage;
  if (step.right) text.resize(space_before(text, text.size()));
  const std::size_t begin = step.left ? space_after(text, 0) : 0;
  text.erase(0, begin);
  head = std::min(head - std::min(head, begin), text.size());
  return passage;
}

}  // namespace kvant::text
