// SPDX-License-Identifier: Apache-2.0
// The "normalizer" of tokenizer.json: what happens to a text before it is cut.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "json_node.hpp"
#include "kvant/core/error.hpp"
#include "pattern.hpp"
#include "unicode.hpp"

namespace kvant::text {

/// No text that is worked on grows beyond this many bytes: positions fit 32 bits after the byte-level doubling.
inline constexpr std::size_t kMaxTextBytes = std::size_t{1} << 30;

/// A text on its way to ids, and how many of its first bytes stem from the very first character of the input: what
/// begins there is what Metaspace's `first` means. `tokenizers` decides that by positions in the input, which are not
/// kept here.
struct Passage {
  std::string text;
  std::size_t head = 0;
};

class Normalizer {
 public:
  /// `node` is absent where the file says null: then text stays as it is.
  [[nodiscard]] static Result<Normalizer> from_json(const std::optional<JsonNode>& node);

  /// Errors: bad_pattern and limit, both for texts that are too much.
  [[nodiscard]] Result<Passage> apply(Passage passage) const;

 private:
  /// Puts a text before each text that is not empty.
  struct Prepend {
    std::string text;
  };
  struct Replace {
    Pattern pattern;
    std::string content;
  };

  struct Lowercase {};
  struct StripAccents {};
  /// Takes white space off the ends.
  struct Strip {
    bool left;
    bool right;
  };

  [[nodiscard]] Status add(const JsonNode& node);
  [[nodiscard]] Status add_prepend(const JsonNode& node);
  [[nodiscard]] Status add_replace(const JsonNode& node);
  [[nodiscard]] Status add_strip(const JsonNode& node);

  [[nodiscard]] static Result<Passage> apply(const Prepend& step, Passage passage);
  [[nodiscard]] static Result<Passage> apply(const Replace& step, Passage passage);
  [[nodiscard]] static Result<Passage> apply(Form step, Passage passage);
  [[nodiscard]] static Result<Passage> apply(Lowercase step, Passage passage);
  [[nodiscard]] static Result<Passage> apply(StripAccents step, Passage passage);
  [[nodiscard]] static Result<Passage> apply(Strip step, Passage passage);

  std::vector<std::variant<Prepend, Replace, Form, Lowercase, StripAccents, Strip>> steps_;
};

}  // namespace kvant::text
