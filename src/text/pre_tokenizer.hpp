// SPDX-License-Identifier: Apache-2.0
// The "pre_tokenizer" of tokenizer.json: how a text is cut into the words inside which tokens merge.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "json_node.hpp"
#include "kvant/core/error.hpp"
#include "normalizer.hpp"
#include "pattern.hpp"

namespace kvant::text {

/// A text and its words, ascending and disjoint, none of them empty.
struct Words {
  Passage passage;
  std::vector<Range> ranges;
};

/// What becomes of the matches of a pattern.
enum class SplitBehavior : std::uint8_t { removed, isolated, merged_with_previous, merged_with_next, contiguous };

class PreTokenizer {
 public:
  /// `node` is absent where the file says null: then each text is one word.
  [[nodiscard]] static Result<PreTokenizer> from_json(const std::optional<JsonNode>& node);

  /// Errors: bad_pattern and limit, both for texts that are too much.
  [[nodiscard]] Result<Words> apply(Passage passage) const;

 private:
  struct Split {
    Pattern pattern;
    SplitBehavior behavior;
    bool invert;  ///< what lies between the matches plays their part
  };
  /// Stands before each word that does not start with it, or only where the input starts.
  struct Prefix {
    std::string text;
    bool only_first;
  };
  struct ReplaceSpaces {
    std::string content;
  };
  /// Writes bytes as characters of the byte alphabet.
  struct MapBytes {};

  [[nodiscard]] Status add(const JsonNode& node);
  [[nodiscard]] Status add_byte_level(const JsonNode& node);
  [[nodiscard]] Status add_split(const JsonNode& node);
  [[nodiscard]] Status add_digits(const JsonNode& node);
  [[nodiscard]] Status add_metaspace(const JsonNode& node);
  [[nodiscard]] Status add_punctuation(const JsonNode& node);
  [[nodiscard]] Status add_delimiter(const JsonNode& node);
  [[nodiscard]] Status add_regex(std::string_view source, SplitBehavior behavior, bool invert = false);

  [[nodiscard]] static Result<Words> apply(const Split& step, Words words);
  [[nodiscard]] static Result<Words> apply(const Prefix& step, Words words);
  [[nodiscard]] static Result<Words> apply(const ReplaceSpaces& step, Words words);
  [[nodiscard]] static Result<Words> apply(MapBytes step, Words words);
  static void join(std::span<const Run> runs, SplitBehavior behavior, std::size_t base, std::vector<Range>& out);

  std::vector<std::variant<Split, Prefix, ReplaceSpaces, MapBytes>> steps_;
};

}  // namespace kvant::text
