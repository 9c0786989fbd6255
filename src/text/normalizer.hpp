// SPDX-License-Identifier: Apache-2.0
// The "normalizer" of tokenizer.json, or that of a tokenizer.model: what happens to a text before it is cut.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "chars_map.hpp"
#include "json_node.hpp"
#include "kvant/core/error.hpp"
#include "pattern.hpp"
#include "piece_normalizer.hpp"
#include "unicode.hpp"

namespace kvant::text {

/// A text on its way to ids, and how many of its first bytes stem from the very first character of the input: what
/// begins there is what Metaspace's `first` means. `tokenizers` decides that by positions in the input, which are not
/// kept here.
struct Passage {
  std::string text;
  std::size_t head = 0;
};

class Normalizer {
 public:
  Normalizer() = default;

  /// `node` is absent where the file says null: then text stays as it is.
  [[nodiscard]] static Result<Normalizer> from_json(const std::optional<JsonNode>& node);

  /// What a tokenizer.model asks for.
  explicit Normalizer(PieceNormalizer step) { steps_.emplace_back(std::move(step)); }

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

  /// Appends what becomes of a character.
  struct EachCharacter {
    void (*write)(std::string& text, char32_t c);
  };
  /// Takes white space off the ends.
  struct Strip {
    bool left;
    bool right;
  };

  [[nodiscard]] Status add(const JsonNode& node);
  [[nodiscard]] Status add_prepend(const JsonNode& node);
  [[nodiscard]] Status add_replace(const JsonNode& node);
  [[nodiscard]] Status add_strip(const JsonNode& node);
  [[nodiscard]] Status add_bert(const JsonNode& node);
  [[nodiscard]] Status add_precompiled(const JsonNode& node);

  [[nodiscard]] static Result<Passage> apply(const Prepend& step, Passage passage);
  [[nodiscard]] static Result<Passage> apply(const Replace& step, Passage passage);
  [[nodiscard]] static Result<Passage> apply(Form step, Passage passage);
  [[nodiscard]] static Result<Passage> apply(EachCharacter step, Passage passage);
  [[nodiscard]] static Result<Passage> apply(Strip step, Passage passage);
  [[nodiscard]] static Result<Passage> apply(const CharsMap& step, Passage passage);
  [[nodiscard]] static Result<Passage> apply(const PieceNormalizer& step, Passage passage);

  std::vector<std::variant<Prepend, Replace, Form, EachCharacter, Strip, CharsMap, PieceNormalizer>> steps_;
};

}  // namespace kvant::text
