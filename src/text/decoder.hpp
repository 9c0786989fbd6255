// SPDX-License-Identifier: Apache-2.0
// The "decoder" of tokenizer.json: from tokens as they stand in the vocabulary to text.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "json_node.hpp"
#include "kvant/core/error.hpp"

namespace kvant::text {

class Decoder {
 public:
  /// `node` is absent where the file says null: then tokens stand with a space between them.
  [[nodiscard]] static Result<Decoder> from_json(const std::optional<JsonNode>& node);

  [[nodiscard]] std::string apply(std::vector<std::string> tokens) const;

 private:
  /// From the byte alphabet to bytes; tokens with other characters are bytes already.
  struct ByteLevel {};
  struct Replace {
    std::string pattern;
    std::string content;
  };
  /// <0x41> is the byte 0x41. Runs of such tokens that form no characters become one U+FFFD for each byte.
  struct ByteFallback {};
  struct Fuse {};
  /// Takes up to `start` and `stop` times the character `content` off the two ends of each token.
  struct Strip {
    std::string content;
    std::size_t start;
    std::size_t stop;
  };
  /// A visible space is a space, and nothing in the first token where texts are given one when they are encoded.
  struct Spaces {
    std::string replacement;
    bool drop_first;
  };
  using Tokens = std::vector<std::string>;

  [[nodiscard]] Status add(const JsonNode& node);
  [[nodiscard]] Status add_replace(const JsonNode& node);
  [[nodiscard]] Status add_strip(const JsonNode& node);
  [[nodiscard]] Status add_metaspace(const JsonNode& node);

  [[nodiscard]] static Tokens apply(ByteLevel step, const Tokens& tokens);
  [[nodiscard]] static Tokens apply(const Replace& step, Tokens tokens);
  [[nodiscard]] static Tokens apply(ByteFallback step, Tokens tokens);
  [[nodiscard]] static Tokens apply(Fuse step, const Tokens& tokens);
  [[nodiscard]] static Tokens apply(const Strip& step, Tokens tokens);
  [[nodiscard]] static Tokens apply(const Spaces& step, Tokens tokens);

  bool present_ = false;
  std::vector<std::variant<ByteLevel, Replace, ByteFallback, Fuse, Strip, Spaces>> steps_;
};

}  // namespace kvant::text
