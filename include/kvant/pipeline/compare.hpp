// SPDX-License-Identifier: Apache-2.0
// How far one checkpoint is from another: in its weights, and in what it predicts. A is the reference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kvant/core/error.hpp"
#include "kvant/io/weights.hpp"
#include "kvant/kernels/context.hpp"
#include "kvant/nn/model.hpp"
#include "kvant/pipeline/dataset.hpp"
#include "kvant/pipeline/progress.hpp"
#include "kvant/quant/distortion.hpp"
#include "kvant/quant/layer_scheme.hpp"

namespace kvant::pipeline {

/// One weight of both. Quantized weights count as the values that their file stands for.
struct TensorComparison {
  std::string name;
  std::vector<std::uint64_t> shape;
  std::optional<LayerScheme> scheme_a, scheme_b;  ///< where it is quantized
  Distortion distortion;                          ///< of B's values as a reconstruction of A's
  std::uint64_t nonfinite = 0;  ///< elements left out of it: NaN or Inf in one, and not the same in the other
};

struct ShapeMismatch {
  std::string name;
  std::vector<std::uint64_t> shape_a, shape_b;
};

/// Names in bytewise order.
struct WeightComparison {
  std::vector<TensorComparison> tensors;
  std::vector<std::string> only_in_a, only_in_b;
  std::vector<ShapeMismatch> shape_mismatch;
  std::vector<std::string> not_compared;  ///< in both, but of a dtype that holds no real numbers, as position ids
};

/// Compares every weight that both hold, tensor by tensor: memory holds the codes of one at a time and bands of rows as
/// floats. Errors: unsupported (the two have nothing in common), interrupted, those of reading, out_of_memory.
[[nodiscard]] Result<WeightComparison> compare_weights(const io::Weights& a, const io::Weights& b,
                                                       const Context& context, Progress& progress);

/// Over every position that has an id after it in its window. Logarithms and sums are in double, in a fixed order.
struct PredictionComparison {
  std::size_t tokens = 0;     ///< positions
  double kl_mean = 0;         ///< sum p_a (ln p_a - ln p_b) over the whole vocabulary, in nats per position
  double kl_stderr = 0;       ///< standard deviation of window means / sqrt(windows); 0 for one window
  double kl_p99 = 0;          ///< the least value that 99 % of positions do not exceed
  double top1_agreement = 0;  ///< share of positions where the most likely id is the same; of equals the lowest counts
  double nll_a = 0;           ///< mean negative log-likelihood of the id that follows, in nats
  double nll_b = 0;
};

/// Both models on the same windows: as evaluate() cuts them, of `window` ids, or where that is 0 of 2048 or as many as
/// both models have positions for. Errors: unsupported (vocabularies of different sizes), usage (fewer than two ids, a
/// window beyond the models'), nonfinite (a prediction, with the window), interrupted, those of Model::forward.
[[nodiscard]] Result<PredictionComparison> compare_predictions(const nn::Model& a, const nn::Model& b,
                                                               const Dataset& data, std::size_t window,
                                                               const Context& context, Progress& progress);

}  // namespace kvant::pipeline
