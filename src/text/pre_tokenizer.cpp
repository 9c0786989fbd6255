// SPDX-License-Identifier: Apache-2.0
#include "pre_tokenizer.hpp"

#include <array>
#include <string_view>
#include <utility>

#include "byte_level.hpp"
#include "utf8.hpp"

namespace kvant::text {

namespace {

/// How GPT-2 cuts: contractions, words, numbers, other signs (each with at most one space before it), white space.
constexpr std::string_view kGpt2Regex = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace

Result<PreTokenizer> PreTokenizer::from_json(const std::optional<JsonNode>& node) {
  PreTokenizer result;
  if (!node) return result;
  if (auto ok = result.add(*node); !ok) return propagate(ok);
  return result;
}

Status PreTokenizer::add(const JsonNode& node) {
  const auto type = node.text("type");
  if (!type) return propagate(type);
  if (*type == "ByteLevel") return add_byte_level(node);
  if (*type == "Split") return add_split(node);
  if (*type == "Digits") return add_digits(node);
  if (*type != "Sequence")
    return node.unsupported(*type, "kvant has the pre-tokenizers ByteLevel, Split, Digits and Sequence");
  if (auto ok = node.only({"type", "pretokenizers"}); !ok) return ok;
  const auto list = node.array("pretokenizers");
  if (!list) return propagate(list);
  for (std::size_t i = 0; i < list->json().items().size(); ++i)
    if (auto ok = add(list->item(i)); !ok) return ok;
  return {};
}

Status PreTokenizer::add_byte_level(const JsonNode& node) {
  // trim_offsets concerns positions in the text, which are not computed here.
  if (auto ok = node.only({"type", "add_prefix_space", "trim_offsets", "use_regex"}); !ok) return ok;
  const auto prefix = node.flag("add_prefix_space");
  if (!prefix) return propagate(prefix);
  const auto use_regex = node.flag("use_regex", true);
  if (!use_regex) return propagate(use_regex);
  if (*prefix) steps_.emplace_back(PrefixSpace{});
  if (*use_regex) {
    auto pattern = Pattern::regex(kGpt2Regex);
    if (!pattern) return propagate(pattern);
    steps_.emplace_back(Split{*std::move(pattern), Behavior::isolated, false});
  }
  steps_.emplace_back(MapBytes{});
  return {};
}

Status PreTokenizer::add_split(const JsonNode& node) {
  if (auto ok = node.only({"type", "pattern", "behavior", "invert"}); !ok) return ok;
  auto pattern = node.at("pattern").and_then(Pattern::from_json);
  if (!pattern) return propagate(pattern);
  const auto behavior = node.text("behavior");
  if (!behavior) return propagate(behavior);
  const auto invert = node.flag("invert");
  if (!invert) return propagate(invert);
  constexpr std::array<std::pair<std::string_view, Behavior>, 5> kBehaviors{
      {{"Removed", Behavior::removed},
       {"Isolated", Behavior::isolated},
       {"MergedWithPrevious", Behavior::merged_with_previous},
       {"MergedWithNext", Behavior::merged_with_next},
       {"Contiguous", Behavior::contiguous}}};
  for (const auto& [name, value] : kBehaviors) {
    if (*behavior != name) continue;
    steps_.emplace_back(Split{*std::move(pattern), value, *invert});
    return {};
  }
  return node.unsupported(*behavior, "behaviors are Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous");
}

Status PreTokenizer::add_digits(const JsonNode& node) {
  if (auto ok = node.only({"type", "individual_digits"}); !ok) return ok;
  const auto individual = node.flag("individual_digits");
  if (!individual) return propagate(individual);
  auto pattern = Pattern::regex(R"(\p{N})");
  if (!pattern) return propagate(pattern);
  steps_.emplace_back(Split{*std::move(pattern), *individual ? Behavior::isolated : Behavior::contiguous, false});
  return {};
}

Result<Words> PreTokenizer::apply(std::string text) const {
  Words words{std::move(text), {}};
  if (!words.text.empty()) words.ranges.push_back({0, words.text.size()});
  for (const auto& step : steps_) {
    auto next = std::visit([&](const auto& s) { return apply(s, std::move(words)); }, step);
    if (!next) return next;
    words = *std::move(next);
  }
  return words;
}

Result<Words> PreTokenizer::apply(const Split& step, Words words) {
  Pattern::Matcher matcher(step.pattern);
  const std::string_view text = words.text;
  std::vector<Range> ranges;
  std::vector<Run> inverted;
  for (const auto& [begin, end] : words.ranges) {
    auto runs = matcher.runs(text.substr(begin, end - begin));
    if (!runs) return propagate(runs);
    if (step.invert) {
      inverted.assign(runs->begin(), runs->end());
      for (Run& run : inverted) run.match = !run.match;
      runs = inverted;
    }
    join(*runs, step.behavior, begin, ranges);
  }
  std::erase_if(ranges, [](const Range& word) { return word.begin == word.end; });
  words.ranges = std::move(ranges);
  return words;
}

/// Appends the words that `runs` make up, moved by `base`.
void PreTokenizer::join(std::span<const Run> runs, Behavior behavior, std::size_t base, std::vector<Range>& out) {
  const std::size_t first = out.size();  // words of earlier calls are never joined to
  bool previous = false;                 // was the run before this one a match?
  bool pending = false;                  // merged_with_next: does a match wait for what follows?
  for (const auto& [range, match] : runs) {
    bool join_last = false;
    if (behavior == Behavior::removed && match) continue;
    if (behavior == Behavior::contiguous) join_last = match == previous;
    if (behavior == Behavior::merged_with_previous) join_last = match && !previous;
    if (behavior == Behavior::merged_with_next) join_last = pending && !match;
    pending = match;
    previous = match;
    if (join_last && out.size() > first)
      out.back().end = base + range.end;
    else
      out.push_back({base + range.begin, base + range.end});
  }
}

Result<Words> PreTokenizer::apply(PrefixSpace, Words words) {
  Words result;
  result.text.reserve(words.text.size() + words.ranges.size());
  result.ranges.reserve(words.ranges.size());
  for (const auto& [begin, end] : words.ranges) {
    const std::size_t first = result.text.size();
    if (words.text[begin] != ' ') result.text.push_back(' ');
    result.text.append(words.text, begin, end - begin);
    result.ranges.push_back({first, result.text.size()});
  }
  return result;
}

Result<Words> PreTokenizer::apply(MapBytes, Words words) {
  Words result;
  result.text.reserve(words.text.size() + words.text.size() / 4);
  result.ranges.reserve(words.ranges.size());
  for (const auto& [begin, end] : words.ranges) {
    const std::size_t first = result.text.size();
    for (std::size_t i = begin; i < end; ++i)
      append_utf8(result.text, kByteAlphabet[static_cast<unsigned char>(words.text[i])]);
    result.ranges.push_back({first, result.text.size()});
  }
  return result;
}

}  // namespace kvant::text
