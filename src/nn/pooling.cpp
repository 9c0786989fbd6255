// SPDX-License-Identifier: Apache-2.0
#include "kvant/nn/pooling.hpp"

#include <algorithm>
#include <cmath>

#include "kvant/core/contract.hpp"
#include "kvant/nn/ops.hpp"

namespace kvant::nn {

void sentence_embedding(MatrixView<const float> states, std::span<float> embedding) {
  expects(states.rows() != 0 && states.cols() == embedding.size(), "an element for each column of some states");
  std::ranges::fill(embedding, 0.0f);
  for (std::size_t r = 0; r < states.rows(); ++r) add(embedding, states.row(r), 1);
  double squares = 0;
  for (const float x : embedding) squares += static_cast<double>(x) * static_cast<double>(x);
  const double length = std::sqrt(squares);  // the number of rows divides both
  if (length == 0) return;
  for (float& x : embedding) x = static_cast<float>(static_cast<double>(x) / length);
}

}  // namespace kvant::nn
