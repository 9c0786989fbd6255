// SPDX-License-Identifier: Apache-2.0
// Steps of a model as lines of text.
#pragma once

#include <string>
#include <string_view>

#include "kvant/nn/steps.hpp"

namespace kvant::cli {

/// One line for a step, and one for each step nested in it. Names of tensors stand without `prefix`.
[[nodiscard]] std::string to_text(const nn::Step& step, const nn::ModelConfig& config, std::string_view prefix);

}  // namespace kvant::cli
