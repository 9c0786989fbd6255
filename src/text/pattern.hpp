// SPDX-License-Identifier: Apache-2.0
// What a normalizer or pre-tokenizer looks for: a fixed string or a regular expression.
#pragma once

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "json_node.hpp"
#include "kvant/core/error.hpp"

namespace kvant::text {

/// A half-open range of bytes.
struct Range {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// A part of a text that either is a match or lies between matches.
struct Run {
  Range range;
  bool match = false;
};

/// Members of \w of Unicode (UTS 18, annex C: Alphabetic, M, Nd, Pc, Join_Control), written for the inside of a class.
inline constexpr std::string_view kWordCharacters =
    R"(\p{L}\p{Nl}\p{M}\p{Nd}\p{Pc}\x{200C}\x{200D}\x{24B6}-\x{24E9}\x{1F130}-\x{1F149}\x{1F150}-\x{1F169}\x{1F170}-\x{1F189})";

class Pattern {
 public:
  class Matcher;

  [[nodiscard]] static Pattern literal(std::string text);

  /// A regular expression in Oniguruma's syntax, compiled once. Errors: unsupported (a construct), bad_pattern, limit.
  [[nodiscard]] static Result<Pattern> regex(std::string_view source);

  /// {"String": "..."} or {"Regex": "..."}; the string is not empty.
  [[nodiscard]] static Result<Pattern> from_json(const JsonNode& node);

 private:
  std::string source_;
  std::shared_ptr<const pcre2_code> code_;  // null for a literal
};

/// A pattern at work: what one thread needs to match one text after another. The pattern outlives it.
class Pattern::Matcher {
 public:
  explicit Matcher(const Pattern& pattern);

  /// Cuts `text` (valid UTF-8) into consecutive runs, matches and what lies between; matches may be empty. The result
  /// holds until the next call. Errors: bad_pattern where matching takes too many steps.
  [[nodiscard]] Result<std::span<const Run>> runs(std::string_view text);

 private:
  struct Free {
    void operator()(pcre2_match_data* p) const noexcept { pcre2_match_data_free(p); }
    void operator()(pcre2_match_context* p) const noexcept { pcre2_match_context_free(p); }
  };

  void add(Range match);
  Status match_regex(std::string_view text);
  Result<std::optional<Range>> search(std::string_view text, std::size_t from);

  const Pattern* pattern_;
  std::unique_ptr<pcre2_match_data, Free> data_;
  std::unique_ptr<pcre2_match_context, Free> context_;
  std::vector<Run> runs_;
  std::size_t done_ = 0;  // end of the last match
};

}  // namespace kvant::text
