// SPDX-License-Identifier: Apache-2.0
#include "normalizer.hpp"

#include <array>
#include <cstdint>
#include <utility>

#include "utf8.hpp"

namespace kvant::text {

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

Result<std::string> Normalizer::apply(std::string_view text) const {
  std::string result(text);
  for (const auto& step : steps_) {
    auto next = std::visit([&](const auto& s) { return apply(s, std::move(result)); }, step);
    if (!next) return next;
    result = *std::move(next);
    if (result.size() > kMaxTextBytes)
      return fail(ErrorCode::limit, "the normalizer makes more than " + std::to_string(kMaxTextBytes) + " bytes");
  }
  return result;
}

Result<std::string> Normalizer::apply(const Prepend& step, std::string text) {
  if (!text.empty()) text.insert(0, step.text);
  return text;
}

Result<std::string> Normalizer::apply(const Replace& step, std::string text) {
  Pattern::Matcher matcher(step.pattern);
  const auto runs = matcher.runs(text);
  if (!runs) return propagate(runs);
  const auto length = [&](const Run& run) { return run.match ? step.content.size() : run.range.end - run.range.begin; };
  std::uint64_t total = 0;
  for (const Run& run : *runs) total += length(run);
  if (total > kMaxTextBytes)
    return fail(ErrorCode::limit, "a replacement makes " + std::to_string(total) + " bytes; at most " +
                                      std::to_string(kMaxTextBytes) + " are worked on at once");
  std::string result;
  result.reserve(total);
  for (const Run& run : *runs) {
    if (run.match)
      result.append(step.content);
    else
      result.append(text, run.range.begin, length(run));
  }
  return result;
}

Result<std::string> Normalizer::apply(Form step, std::string text) { return to_form(step, text); }

Result<std::string> Normalizer::apply(Lowercase, std::string text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t pos = 0; pos < text.size(); pos += char_length(text[pos]))
    append_lower_case(result, char_at(text, pos));
  return result;
}

Result<std::string> Normalizer::apply(StripAccents, std::string text) {
  std::string result;
  result.reserve(text.size());
  for (std::size_t pos = 0; pos < text.size(); pos += char_length(text[pos]))
    if (!is_mark(char_at(text, pos))) result.append(text, pos, char_length(text[pos]));
  return result;
}

Result<std::string> Normalizer::apply(Strip step, std::string text) {
  if (step.right) text.resize(space_before(text, text.size()));
  if (step.left) text.erase(0, space_after(text, 0));
  return text;
}

}  // namespace kvant::text
