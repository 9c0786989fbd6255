// SPDX-License-Identifier: Apache-2.0
// The "post_processor" of tokenizer.json: the ids that stand before and after those of a text.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "json_node.hpp"
#include "kvant/core/error.hpp"

namespace kvant::text {

struct PostProcessor {
  std::vector<std::int32_t> prefix;
  std::vector<std::int32_t> suffix;

  /// `node` is absent where the file says null; `known` tells whether an id names a token.
  [[nodiscard]] static Result<PostProcessor> from_json(const std::optional<JsonNode>& node,
                                                       const std::function<bool(std::int32_t)>& known);
};

}  // namespace kvant::text
