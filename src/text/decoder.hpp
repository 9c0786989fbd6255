// SPDX-License-Identifier: Apache-2.0
// The "decoder" of tokenizer.json: from tokens as they stand in the vocabulary to text.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "decode_steps.hpp"
#include "json_node.hpp"
#include "kvant/core/error.hpp"

namespace kvant::text {

/// Decodes one text; a copy of one that has decoded nothing yet decodes another.
class Decoder {
 public:
  Decoder() = default;
  /// That of a tokenizer.model.
  explicit Decoder(PieceStep step) { steps_.emplace_back(std::move(step)); }

  /// `node` is absent where the file says null: then tokens stand with a space between them.
  [[nodiscard]] static Result<Decoder> from_json(const std::optional<JsonNode>& node);

  /// What the text goes on with after these `tokens`, as far as no later one can change it; all of it at the `last`
  /// call.
  [[nodiscard]] std::string run(Pieces tokens, bool last);

 private:
  [[nodiscard]] Status add(const JsonNode& node);
  [[nodiscard]] Status add_replace(const JsonNode& node);
  [[nodiscard]] Status add_strip(const JsonNode& node);
  [[nodiscard]] Status add_metaspace(const JsonNode& node);
  [[nodiscard]] Status add_word_piece(const JsonNode& node);

  using Step = std::variant<ByteLevelStep, ReplaceStep, ByteFallbackStep, FuseStep, StripStep, SpacesStep,
                            WordPieceStep, PieceStep, JoinStep>;
  std::vector<Step> steps_;
};

}  // namespace kvant::text
