// SPDX-License-Identifier: Apache-2.0
// Memory for the intermediate results of a forward pass, kept by the host from call to call.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "kvant/core/error.hpp"

namespace kvant::nn {

class Model;
struct SequenceRows;

/// Room for some rows of one model. What is reserved is not taken again: later calls with as many rows and positions
/// allocate nothing.
class Workspace {
 public:
  Workspace();
  ~Workspace();
  Workspace(Workspace&&) noexcept;
  Workspace& operator=(Workspace&&) noexcept;

  /// Room for calls of `rows` tokens whose sequences reach `positions`. `out_of_memory`.
  [[nodiscard]] Status reserve(const Model& model, std::size_t rows, std::size_t positions);
  /// Bytes taken so far.
  [[nodiscard]] std::size_t bytes() const noexcept;

 private:
  friend class StepRunner;
  friend class Model;
  struct State;
  /// For sequences that come `whole`, or some rows at a time.
  [[nodiscard]] Status reserve_for(const Model& model, std::span<const SequenceRows> batch, bool whole);
  std::unique_ptr<State> state_;
};

/// Bytes that a workspace of the model takes for these numbers, without what packed layers make of their inputs:
/// 4 * (rows * (columns of buffers and rotations) + scores of positions).
[[nodiscard]] std::size_t workspace_bytes(const Model& model, std::size_t rows, std::size_t positions);

}  // namespace kvant::nn
