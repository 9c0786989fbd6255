// SPDX-License-Identifier: Apache-2.0
// From an encoder's hidden states to one vector for the whole sequence.
#pragma once

#include <span>

#include "kvant/io/debug_mode.hpp"
#include "kvant/tensor/matrix.hpp"

namespace kvant::nn {

/// The mean of a sequence's states, divided by its length: what sentence-transformers' models named "mean pooling, then
/// normalize" give, so that the product of two is their cosine. All zeros where the mean is. Contract: at least one
/// row, and as many columns as `embedding` has elements.
void sentence_embedding(MatrixView<const float> states, std::span<float> embedding);

}  // namespace kvant::nn
