// SPDX-License-Identifier: Apache-2.0
// The model "BPE" of tokenizer.json: byte-pair encoding by a list of rules.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json_node.hpp"
#include "kvant/core/error.hpp"
#include "merging.hpp"
#include "vocabulary.hpp"

namespace kvant::text {

class Bpe {
 public:
  class Encoder;

  /// The object "model" of tokenizer.json. Errors: unsupported, bad_tokenizer, limit.
  [[nodiscard]] static Result<Bpe> from_json(const JsonNode& node);

  [[nodiscard]] const Vocabulary& vocabulary() const noexcept { return vocabulary_; }

 private:
  struct Rule {
    Place left;
    Place right;
    Merged merged;
  };

  [[nodiscard]] Status read_settings(const JsonNode& node);
  [[nodiscard]] Status read_rules(const JsonNode& list);
  [[nodiscard]] Result<Rule> read_rule(const JsonNode& list, std::uint32_t rank) const;
  [[nodiscard]] std::optional<Merged> find_rule(Place left, Place right) const noexcept;

  Vocabulary vocabulary_;
  std::vector<Rule> rules_;                // by left, then right
  std::vector<std::uint32_t> first_rule_;  // of each left token, in rules_; one more for the end
  ByteTokens byte_tokens_;                 // under byte_fallback
  std::optional<std::string> unknown_token_;
  bool fuse_unknown_ = false;
  bool ignore_merges_ = false;
};

/// The model outlives it.
class Bpe::Encoder {
 public:
  explicit Encoder(const Bpe& bpe) : bpe_(&bpe) {}

  /// Appends the ids of `word`, in O(n log n) for its characters. Errors: bad_tokenizer, where the unknown token is
  /// missing.
  [[nodiscard]] Status append(std::string_view word, std::vector<std::int32_t>& ids);

 private:
  [[nodiscard]] Status spell(std::string_view word);

  const Bpe* bpe_;
  Merger<Symbol> merger_;
};

}  // namespace kvant::text
