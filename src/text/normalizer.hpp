// SPDX-License-Identifier: Apache-2.0
// The "normalizer" of tokenizer.json: what happens to a text before it is cut.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "json_node.hpp"
#include "kvant/core/error.hpp"
#include "pattern.hpp"

namespace kvant::text {

/// No text that is worked on grows beyond this many bytes: positions fit 32 bits after the byte-level doubling.
inline constexpr std::size_t kMaxTextBytes = std::size_t{1} << 30;

class Normalizer {
 public:
  /// `node` is absent where the file says null: then text stays as it is.
  [[nodiscard]] static Result<Normalizer> from_json(const std::optional<JsonNode>& node);

  /// Errors: bad_pattern and limit, both for texts that are too much.
  [[nodiscard]] Result<std::string> apply(std::string_view text) const;

 private:
  /// Puts a text before each text that is not empty.
  struct Prepend {
    std::string text;
  };
  struct Replace {
    Pattern pattern;
    std::string content;
  };

  [[nodiscard]] Status add(const JsonNode& node);

  std::vector<std::variant<Prepend, Replace>> steps_;
};

/// `text` with what `pattern` matches replaced by `content`, as it stands.
[[nodiscard]] Result<std::string> replace_all(std::string_view text, const Pattern& pattern, std::string_view content);

}  // namespace kvant::text
