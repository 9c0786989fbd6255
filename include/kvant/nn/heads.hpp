// SPDX-License-Identifier: Apache-2.0
// Heads that are the embedding: what a config.json ties is stored once.
#pragma once

#include <optional>
#include <string>

#include "kvant/core/error.hpp"
#include "kvant/io/weights.hpp"

namespace kvant::nn {

/// The name of a head that is stored although the model's config.json ties it to the embedding, of which it is a copy:
/// no loader reads it. Nothing where there is none. Errors: bad_config (it is no copy), missing_tensor (a model of a
/// known family has no head, but its config.json does not tie it), those of reading.
[[nodiscard]] Result<std::optional<std::string>> find_tied_head(const io::Weights& weights);

}  // namespace kvant::nn
