// SPDX-License-Identifier: Apache-2.0
// Which way the matrices of a checkpoint lie.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>

#include "kvant/io/weights.hpp"

namespace kvant::pipeline {

/// `transformer.h.0` of `transformer.h.0.attn.c_proj.weight`; empty outside layers, whose names have no number.
[[nodiscard]] std::string_view layer_of(std::string_view name);

enum class Orientation : std::uint8_t { unknown, out_in, in_out };

/// GPT-2's layers multiply x * W + b, so their weights are stored [in, out]: the lengths of biases show it. Squares lie
/// as the other weights of their layer.
class Orientations {
 public:
  explicit Orientations(const io::Weights& weights);
  [[nodiscard]] Orientation of(const io::WeightInfo& weight) const;

 private:
  const io::Weights& weights_;
  std::set<std::string, std::less<>> layers_;
};

}  // namespace kvant::pipeline
