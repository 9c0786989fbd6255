// SPDX-License-Identifier: Apache-2.0
#include "normalizer.hpp"

#include <cstdint>
#include <utility>

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
  if (*type == "Sequence") {
    if (auto ok = node.only({"type", "normalizers"}); !ok) return ok;
    const auto list = node.array("normalizers");
    if (!list) return propagate(list);
    for (std::size_t i = 0; i < list->json().items().size(); ++i)
      if (auto ok = add(list->item(i)); !ok) return ok;
    return {};
  }
  if (*type == "Prepend") {
    if (auto ok = node.only({"type", "prepend"}); !ok) return ok;
    auto text = node.text("prepend");
    if (!text) return propagate(text);
    steps_.emplace_back(Prepend{*std::move(text)});
    return {};
  }
  if (*type == "Replace") {
    if (auto ok = node.only({"type", "pattern", "content"}); !ok) return ok;
    auto pattern = node.at("pattern").and_then(Pattern::from_json);
    if (!pattern) return propagate(pattern);
    auto content = node.text("content");
    if (!content) return propagate(content);
    steps_.emplace_back(Replace{*std::move(pattern), *std::move(content)});
    return {};
  }
  return node.unsupported(*type, "kvant has the normalizers Prepend, Replace and Sequence");
}

Result<std::string> Normalizer::apply(std::string_view text) const {
  std::string result(text);
  for (const auto& step : steps_) {
    if (const auto* prepend = std::get_if<Prepend>(&step)) {
      if (!result.empty()) result.insert(0, prepend->text);
    } else {
      const auto& [pattern, content] = std::get<Replace>(step);
      auto replaced = replace_all(result, pattern, content);
      if (!replaced) return replaced;
      result = *std::move(replaced);
    }
    if (result.size() > kMaxTextBytes)
      return fail(ErrorCode::limit, "the normalizer makes more than " + std::to_string(kMaxTextBytes) + " bytes");
  }
  return result;
}

Result<std::string> replace_all(std::string_view text, const Pattern& pattern, std::string_view content) {
  Pattern::Matcher matcher(pattern);
  const auto runs = matcher.runs(text);
  if (!runs) return propagate(runs);
  const auto length = [&](const Run& run) { return run.match ? content.size() : run.range.end - run.range.begin; };
  std::uint64_t total = 0;
  for (const Run& run : *runs) total += length(run);
  if (total > kMaxTextBytes)
    return fail(ErrorCode::limit, "a replacement makes " + std::to_string(total) + " bytes; at most " +
                                      std::to_string(kMaxTextBytes) + " are worked on at once");
  std::string result;
  result.reserve(total);
  for (const Run& run : *runs) result.append(run.match ? content : text.substr(run.range.begin, length(run)));
  return result;
}

}  // namespace kvant::text
