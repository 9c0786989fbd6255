// SPDX-License-Identifier: Apache-2.0
// How well a model predicts a stream of tokens, and how fast it runs, on its packed weights.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "kvant/core/error.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/nn/model.hpp"
#include "kvant/pipeline/dataset.hpp"
#include "kvant/pipeline/progress.hpp"

namespace kvant::pipeline {

struct EvaluateOptions {
  std::size_t context = 0;                  ///< ids per window; 0: min(max_position_embeddings, 2048)
  std::optional<std::int32_t> document_id;  ///< split at this id instead, each document alone
  std::size_t generate_tokens = 64;         ///< measured for generate_tokens_per_s; 0 skips the measurement
};

struct Evaluation {
  std::size_t tokens = 0;               ///< scored
  double nll = 0;                       ///< mean negative log-likelihood in nats per scored token
  double nll_stderr = 0;                ///< standard deviation of window means / sqrt(windows); 0 for one window
  double perplexity = 0;                ///< exp(nll)
  std::optional<double> bits_per_byte;  ///< of text only: nats per token, times tokens that stand for text, in bits
  double prompt_tokens_per_s = 0;
  double generate_tokens_per_s = 0;
};

/// Non-overlapping windows from the start of the stream, positions from 0, the last window short, every id after a
/// window's first scored. Memory holds the logits of a block of positions. Errors: usage (fewer than two ids, a context
/// beyond the model's), nonfinite (with the window).
[[nodiscard]] Result<Evaluation> evaluate(const nn::Model& model, const Dataset& data, const EvaluateOptions& options,
                                          const Context& context, Progress& progress);

}  // namespace kvant::pipeline
