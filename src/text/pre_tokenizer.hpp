// SPDX-License-Identifier: Apache-2.0
// The "pre_tokenizer" of tokenizer.json: how a text is cut into the words inside which tokens merge.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "json_node.hpp"
#include "kvant/core/error.hpp"
#include "pattern.hpp"

namespace kvant::text {

/// A text and its words, ascending and disjoint, none of them empty.
struct Words {
  std::string text;
  std::vector<Range> ranges;
};

class PreTokenizer {
 public:
  /// `node` is absent where the file says null: then each text is one word.
  [[nodiscard]] static Result<PreTokenizer> from_json(const std::optional<JsonNode>& node);

  /// Errors: bad_pattern where the text takes too many steps.
  [[nodiscard]] Result<Words> apply(std::string text) const;

 private:
  /// What becomes of the matches of a pattern.
  enum class Behavior : std::uint8_t { removed, isolated, merged_with_previous, merged_with_next, contiguous };

  struct Split {
    Pattern pattern;
    Behavior behavior;
    bool invert;  ///< what lies between the matches plays their part
  };
  /// Puts a space before each word that starts with none.
  struct PrefixSpace {};
  /// Writes bytes as characters of the byte alphabet.
  struct MapBytes {};

  [[nodiscard]] Status add(const JsonNode& node);
  [[nodiscard]] Status add_byte_level(const JsonNode& node);
  [[nodiscard]] Status add_split(const JsonNode& node);
  [[nodiscard]] Status add_digits(const JsonNode& node);

  [[nodiscard]] static Result<Words> apply(const Split& step, Words words);
  [[nodiscard]] static Result<Words> apply(PrefixSpace step, Words words);
  [[nodiscard]] static Result<Words> apply(MapBytes step, Words words);
  static void join(std::span<const Run> runs, Behavior behavior, std::size_t base, std::vector<Range>& out);

  std::vector<std::variant<Split, PrefixSpace, MapBytes>> steps_;
};

}  // namespace kvant::text
