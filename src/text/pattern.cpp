// SPDX-License-Identifier: Apache-2.0
#include "pattern.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <new>
#include <utility>

#include "kvant/io/utf8.hpp"
#include "regex_syntax.hpp"
#include "utf8.hpp"

namespace kvant::text {

namespace {

constexpr std::size_t kMaxPatternBytes = std::size_t{64} * 1024;
constexpr std::uint32_t kMaxGroupDepth = 100;
constexpr std::uint32_t kMaxHeapKibibytes = 256 * 1024;  // backtracking points of one match

/// Steps that one match may take: enough to back out of any run of characters once for each of a few alternatives,
/// far from what exponential patterns need.
std::uint32_t step_limit(std::size_t text_bytes) {
  return static_cast<std::uint32_t>(std::min<std::size_t>(1'000'000 + 4 * text_bytes, UINT32_MAX));
}

PCRE2_SPTR bytes_of(std::string_view text) noexcept { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

std::string reason(int code) {
  std::array<PCRE2_UCHAR, 200> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

template <class T>
T* allocated(T* p) {
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

}  // namespace

Pattern Pattern::literal(std::string text) {
  Pattern pattern;
  pattern.source_ = std::move(text);
  return pattern;
}

Result<Pattern> Pattern::regex(std::string_view source) {
  if (source.size() > kMaxPatternBytes)
    return fail(ErrorCode::limit, "a regular expression of " + std::to_string(source.size()) + " bytes; at most " +
                                      std::to_string(kMaxPatternBytes) + " are read");
  const auto translated = to_pcre2(source);
  if (!translated) return propagate(translated);
  const std::unique_ptr<pcre2_compile_context, void (*)(pcre2_compile_context*)> context(
      allocated(pcre2_compile_context_create(nullptr)), pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  pcre2_set_parens_nest_limit(context.get(), kMaxGroupDepth);
  int code = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* compiled = pcre2_compile(bytes_of(*translated), translated->size(),
                                       PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &code, &offset, context.get());
  if (compiled == nullptr && code == PCRE2_ERROR_HEAP_FAILED) throw std::bad_alloc();
  if (compiled == nullptr)
    return fail(ErrorCode::bad_pattern, "the regular expression \"" + io::printable(source, 120) +
                                            "\" does not compile: " + reason(code) + " at position " +
                                            std::to_string(offset) + " of \"" + io::printable(*translated, 120) + "\"");
  Pattern pattern;
  pattern.code_ = std::shared_ptr<const pcre2_code>(
      compiled, [](const pcre2_code* p) { pcre2_code_free(const_cast<pcre2_code*>(p)); });
  pattern.source_ = source;
  // Speed only: where executable memory is forbidden, the interpreter answers the same.
  static_cast<void>(pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE));
  return pattern;
}

Result<Pattern> Pattern::from_json(const JsonNode& node) {
  if (auto ok = node.only({"String", "Regex"}); !ok) return propagate(ok);
  if (node.json().members().size() != 1)
    return node.error(ErrorCode::bad_tokenizer, "expected either \"String\" or \"Regex\"");
  const bool is_literal = node.find("String").has_value();
  auto source = node.text(is_literal ? "String" : "Regex");
  if (!source) return propagate(source);
  if (source->empty()) return node.unsupported("", "an empty pattern matches between all characters");
  if (is_literal) return literal(*std::move(source));
  auto pattern = regex(*source);
  if (!pattern) return node.error(pattern.error().code, pattern.error().message);
  return pattern;
}

Pattern::Matcher::Matcher(const Pattern& pattern) : pattern_(&pattern) {
  if (pattern.code_ == nullptr) return;
  data_.reset(allocated(pcre2_match_data_create(1, nullptr)));
  context_.reset(allocated(pcre2_match_context_create(nullptr)));
  pcre2_set_heap_limit(context_.get(), kMaxHeapKibibytes);
}

Result<std::span<const Run>> Pattern::Matcher::runs(std::string_view text) {
  runs_.clear();
  done_ = 0;
  const std::string& source = pattern_->source_;
  if (pattern_->code_ != nullptr) {
    if (auto ok = match_regex(text); !ok) return propagate(ok);
  } else {
    for (std::size_t at; (at = text.find(source, done_)) != std::string_view::npos;) add({at, at + source.size()});
  }
  if (done_ < text.size()) runs_.push_back({{done_, text.size()}, false});
  return runs_;
}

void Pattern::Matcher::add(Range match) {
  if (match.begin > done_) runs_.push_back({{done_, match.begin}, false});
  runs_.push_back({match, true});
  done_ = match.end;
}

Status Pattern::Matcher::match_regex(std::string_view text) {
  pcre2_set_match_limit(context_.get(), step_limit(text.size()));
  for (std::size_t from = 0; !text.empty() && from <= text.size();) {
    const auto match = search(text, from);
    if (!match) return propagate(match);
    if (!*match) break;
    const auto [begin, end] = **match;
    if (begin == end && end == done_ && !runs_.empty()) {
      // An empty match right after another match does not count; the search goes on one character further.
      from = end + (end < text.size() ? char_length(text[end]) : 1);
    } else {
      add({begin, end});
      from = end;
    }
  }
  return {};
}

Result<std::optional<Range>> Pattern::Matcher::search(std::string_view text, std::size_t from) {
  const auto match = [&](std::uint32_t options) {
    return pcre2_match(pattern_->code_.get(), bytes_of(text), text.size(), from, PCRE2_NO_UTF_CHECK | options,
                       data_.get(), context_.get());
  };
  int rc = match(0);
  if (rc == PCRE2_ERROR_JIT_STACKLIMIT) rc = match(PCRE2_NO_JIT);  // whose stack is small
  if (rc == PCRE2_ERROR_NOMATCH) return std::nullopt;
  if (rc == PCRE2_ERROR_NOMEMORY) throw std::bad_alloc();
  if (rc < 0)
    return fail(ErrorCode::bad_pattern, "matching the regular expression \"" + io::printable(pattern_->source_, 120) +
                                            "\" against " + std::to_string(text.size()) +
                                            " bytes of text was given up: " + reason(rc));
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data_.get());
  return Range{ends[0], ends[1]};
}

}  // namespace kvant::text
