// SPDX-License-Identifier: Apache-2.0
#include "pre_tokenizer.hpp"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

#include "byte_level.hpp"
#include "metaspace.hpp"
#include "utf8.hpp"

namespace kvant::text {

namespace {

/// How GPT-2 cuts: contractions, words, numbers, other signs (each with at most one space before it), white space.
constexpr std::string_view kGpt2Regex = R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

constexpr std::string_view kSpaceRegex = R"(\s)";
constexpr std::string_view kPunctuationRegex = R"([!-/:-@\[-`{-~\p{P}])";

using Behaviors = std::array<std::pair<std::string_view, SplitBehavior>, 5>;
constexpr Behaviors kBehaviors{{{"Removed", SplitBehavior::removed},
                                {"Isolated", SplitBehavior::isolated},
                                {"MergedWithPrevious", SplitBehavior::merged_with_previous},
                                {"MergedWithNext", SplitBehavior::merged_with_next},
                                {"Contiguous", SplitBehavior::contiguous}}};

Result<SplitBehavior> read_behavior(const JsonNode& node) {
  const auto behavior = node.text("behavior");
  if (!behavior) return propagate(behavior);
  for (const auto& [name, value] : kBehaviors)
    if (*behavior == name) return value;
  return node.unsupported(*behavior, "behaviors are Removed, Isolated, MergedWithPrevious, MergedWithNext, Contiguous");
}

/// The words again, `prefix(word)` before each and `write(text, part)` of its parts.
template <class Prefix, class Write>
Result<Words> rewritten(const Words& words, Prefix prefix, Write write) {
  const auto& [source, head] = words.passage;
  Words result;
  auto& [text, new_head] = result.passage;
  text.reserve(source.size() + source.size() / 4);
  result.ranges.reserve(words.ranges.size());
  for (const Range& word : words.ranges) {
    const std::size_t first = text.size();
    const std::size_t cut = std::clamp(head, word.begin, word.end);
    text.append(prefix(word));
    write(text, std::string_view(source).substr(word.begin, cut - word.begin));
    if (cut > word.begin) new_head = text.size();
    write(text, std::string_view(source).substr(cut, word.end - cut));
    result.ranges.push_back({first, text.size()});
    if (text.size() > 2 * kMaxTextBytes)
      return fail(ErrorCode::limit,
                  "the pre-tokenizer makes more than " + std::to_string(2 * kMaxTextBytes) + " bytes");
  }
  return result;
}

/// What Whitespace keeps: words, and other signs in a row.
std::string words_and_signs() {
  const std::string word(kWordCharacters);
  return "[" + word + "]+|[^" + word + R"(\s]+)";
}

constexpr auto kNoPrefix = [](const Range&) { return std::string_view(); };

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
  if (*type == "Metaspace") return add_metaspace(node);
  if (*type == "Punctuation") return add_punctuation(node);
  if (*type == "CharDelimiterSplit") return add_delimiter(node);
  if (*type == "WhitespaceSplit" || *type == "Whitespace" || *type == "BertPreTokenizer") {
    if (auto ok = node.only({"type"}); !ok) return ok;
    if (*type == "Whitespace") return add_regex(words_and_signs(), SplitBehavior::removed, true);
    if (auto ok = add_regex(kSpaceRegex, SplitBehavior::removed); !ok || *type == "WhitespaceSplit") return ok;
    return add_regex(kPunctuationRegex, SplitBehavior::isolated);
  }
  if (*type != "Sequence")
    return node.unsupported(*type,
                            "kvant has the pre-tokenizers ByteLevel, Split, Digits, Metaspace, Punctuation, "
                            "CharDelimiterSplit, Whitespace, WhitespaceSplit, BertPreTokenizer and Sequence");
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
  if (*prefix) steps_.emplace_back(Prefix{" ", false});
  if (*use_regex)
    if (auto ok = add_regex(kGpt2Regex, SplitBehavior::isolated); !ok) return ok;
  steps_.emplace_back(MapBytes{});
  return {};
}

Status PreTokenizer::add_split(const JsonNode& node) {
  if (auto ok = node.only({"type", "pattern", "behavior", "invert"}); !ok) return ok;
  auto pattern = node.at("pattern").and_then(Pattern::from_json);
  if (!pattern) return propagate(pattern);
  const auto behavior = read_behavior(node);
  if (!behavior) return propagate(behavior);
  const auto invert = node.flag("invert");
  if (!invert) return propagate(invert);
  steps_.emplace_back(Split{*std::move(pattern), *behavior, *invert});
  return {};
}

Status PreTokenizer::add_regex(std::string_view source, SplitBehavior behavior, bool invert) {
  auto pattern = Pattern::regex(source);
  if (!pattern) return propagate(pattern);
  steps_.emplace_back(Split{*std::move(pattern), behavior, invert});
  return {};
}

Status PreTokenizer::add_digits(const JsonNode& node) {
  if (auto ok = node.only({"type", "individual_digits"}); !ok) return ok;
  const auto individual = node.flag("individual_digits");
  if (!individual) return propagate(individual);
  return add_regex(R"(\p{N})", *individual ? SplitBehavior::isolated : SplitBehavior::contiguous);
}

Status PreTokenizer::add_punctuation(const JsonNode& node) {
  if (auto ok = node.only({"type", "behavior"}); !ok) return ok;
  const auto behavior = node.find("behavior") ? read_behavior(node) : SplitBehavior::isolated;
  if (!behavior) return propagate(behavior);
  return add_regex(kPunctuationRegex, *behavior);
}

Status PreTokenizer::add_delimiter(const JsonNode& node) {
  if (auto ok = node.only({"type", "delimiter"}); !ok) return ok;
  auto delimiter = node.character("delimiter");
  if (!delimiter) return propagate(delimiter);
  steps_.emplace_back(Split{Pattern::literal(*std::move(delimiter)), SplitBehavior::removed, false});
  return {};
}

Status PreTokenizer::add_metaspace(const JsonNode& node) {
  auto settings = Metaspace::from_json(node);
  if (!settings) return propagate(settings);
  const auto& [replacement, prepend, split] = *settings;
  steps_.emplace_back(ReplaceSpaces{replacement});
  if (prepend != Metaspace::Prepend::never)
    steps_.emplace_back(Prefix{replacement, prepend == Metaspace::Prepend::first});
  if (split) steps_.emplace_back(Split{Pattern::literal(replacement), SplitBehavior::merged_with_next, false});
  return {};
}

Result<Words> PreTokenizer::apply(Passage passage) const {
  Words words{std::move(passage), {}};
  if (!words.passage.text.empty()) words.ranges.push_back({0, words.passage.text.size()});
  for (const auto& step : steps_) {
    auto next = std::visit([&](const auto& s) { return apply(s, std::move(words)); }, step);
    if (!next) return next;
    words = *std::move(next);
  }
  return words;
}

Result<Words> PreTokenizer::apply(const Split& step, Words words) {
  Pattern::Matcher matcher(step.pattern);
  const std::string_view text = words.passage.text;
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
void PreTokenizer::join(std::span<const Run> runs, SplitBehavior behavior, std::size_t base, std::vector<Range>& out) {
  const std::size_t first = out.size();  // words of earlier calls are never joined to
  bool previous = false;                 // was the run before this one a match?
  bool pending = false;                  // merged_with_next: does a match wait for what follows?
  for (const auto& [range, match] : runs) {
    bool join_last = false;
    if (behavior == SplitBehavior::removed && match) continue;
    if (behavior == SplitBehavior::contiguous) join_last = match == previous;
    if (behavior == SplitBehavior::merged_with_previous) join_last = match && !previous;
    if (behavior == SplitBehavior::merged_with_next) join_last = pending && !match;
    pending = match;
    previous = match;
    if (join_last && out.size() > first)
      out.back().end = base + range.end;
    else
      out.push_back({base + range.begin, base + range.end});
  }
}

Result<Words> PreTokenizer::apply(const Prefix& step, Words words) {
  const Passage& passage = words.passage;
  const auto prefix = [&](const Range& word) -> std::string_view {
    if (step.only_first && word.begin >= passage.head) return {};
    if (std::string_view(passage.text).substr(word.begin).starts_with(step.text)) return {};
    return step.text;
  };
  return rewritten(words, prefix, [](std::string& out, std::string_view part) { out.append(part); });
}

Result<Words> PreTokenizer::apply(const ReplaceSpaces& step, Words words) {
  return rewritten(words, kNoPrefix, [&](std::string& out, std::string_view part) {
    for (const char c : part)
      if (c == ' ')
        out.append(step.content);
      else
        out.push_back(c);
  });
}

Result<Words> PreTokenizer::apply(MapBytes, Words words) {
  return rewritten(words, kNoPrefix, [](std::string& out, std::string_view part) {
    for (const char byte : part) append_utf8(out, kByteAlphabet[static_cast<unsigned char>(byte)]);
  });
}

}  // namespace kvant::text
