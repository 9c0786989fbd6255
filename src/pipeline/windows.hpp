// SPDX-License-Identifier: Apache-2.0
// How a stream of token ids is cut into what a model reads at once, and what a measure over the pieces comes to.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "kvant/core/error.hpp"

namespace kvant::pipeline {

/// The ids per window: `asked`, or where that is 0 min(limit, 2048). `usage` beyond 2 … limit, the model's positions.
[[nodiscard]] Result<std::size_t> window_size(std::size_t asked, std::size_t limit);

/// Windows of `size` ids from the start, the last one short; or documents that begin at `document_id`, each alone and
/// none longer than `size`. `usage` where a document is, or where there are fewer than two ids.
[[nodiscard]] Result<std::vector<std::span<const std::int32_t>>> split_windows(
    std::span<const std::int32_t> ids, std::size_t size, std::optional<std::int32_t> document_id = std::nullopt);

/// Positions that go through a model at once: enough for full speed.
inline constexpr std::size_t kPositions = 256;

/// Positions whose logits are in memory at a time: 16 MiB, whatever the vocabulary.
[[nodiscard]] std::size_t logit_rows(std::size_t vocabulary);

/// A measure summed over the scored positions of one window: those with an id after them.
struct WindowSum {
  double sum = 0;
  std::size_t positions = 0;
};

/// The mean over all positions, and how far another stream of the same kind may be off.
struct WindowMean {
  double mean = 0;
  double standard_error = 0;  ///< standard deviation of window means / sqrt(windows); 0 for one window
  std::size_t positions = 0;
};

/// `usage` where no window has a scored position.
[[nodiscard]] Result<WindowMean> mean_over(std::span<const WindowSum> windows);

/// `nonfinite` where what `model` predicts in a window is NaN or Inf.
[[nodiscard]] Status check_window(double sum, const std::string& model, std::size_t window, std::size_t first_id,
                                  std::size_t ids);

}  // namespace kvant::pipeline
