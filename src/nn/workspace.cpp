// SPDX-License-Identifier: Apache-2.0
#include "kvant/nn/workspace.hpp"

#include <algorithm>

#include "core/guard.hpp"
#include "kvant/core/checked.hpp"
#include "step_runner.hpp"

namespace kvant::nn {
namespace {

std::size_t score_rows(const Model::Plan& plan, std::size_t rows) { return plan.heads * ceil_div(rows, kTaskRows); }

}  // namespace

Workspace::Workspace() : state_(std::make_unique<State>()) {}
Workspace::~Workspace() = default;
Workspace::Workspace(Workspace&&) noexcept = default;
Workspace& Workspace::operator=(Workspace&&) noexcept = default;

Status Workspace::reserve(const Model& model, std::size_t rows, std::size_t positions) {
  return guarded([&]() -> Status {
    State& s = *state_;
    if (s.plan != model.plan_) s = {};
    if (s.plan != nullptr && rows <= s.rows && positions <= s.positions) return {};
    rows = std::max(rows, s.rows);
    positions = std::max(positions, s.positions);
    const ModelConfig& config = model.config();
    const Model::Plan& plan = *model.plan_;
    s.slots.resize(plan.buffers.widths.size());
    for (std::size_t i = 0; i < s.slots.size(); ++i) s.slots[i].resize(rows * plan.buffers.widths[i]);
    s.cosines.clear();
    s.sines.clear();
    for (const Rope& rope : config.ropes) {
      s.cosines.emplace_back(rows, rope.dims / 2);
      s.sines.emplace_back(rows, rope.dims / 2);
    }
    s.scores = Matrix<float>();
    s.scores = Matrix<float>(score_rows(plan, rows), round_up(positions, kCacheLanes));
    s.tokens.reserve(rows);
    s.ids.reserve(rows);
    for (auto* of_token : {&s.choice, &s.sorted, &s.best}) of_token->resize(plan.experts);
    s.kept.resize(plan.experts);
    s.gains.resize(rows * plan.chosen);
    s.chosen.resize(rows * plan.chosen);
    s.picked.reserve(rows);
    for (std::size_t i = 0; i < config.tensors.size(); ++i)
      if (config.tensors[i].is_matrix())
        if (Status ok = model.tensors_[i].linear.reserve(s.input, rows); !ok) return ok;
    s.rows = rows;
    s.positions = positions;
    s.plan = model.plan_;
    return {};
  });
}

Status Workspace::reserve_for(const Model& model, std::span<const SequenceRows> batch, bool whole) {
  std::size_t rows = 0;
  std::size_t positions = 1;
  std::size_t most = kChunk;  // rows that go together
  for (const SequenceRows& s : batch) {
    rows += s.ids.size();
    // For all that the cache may come to, so that a sequence that grows takes no more memory from call to call.
    positions = std::max({positions, s.cache->capacity(), s.cache->source_capacity()});
    if (whole) most = std::max(most, s.ids.size());
  }
  return reserve(model, std::min(rows, most), positions);
}

std::size_t Workspace::bytes() const noexcept {
  const State& s = *state_;
  std::size_t floats = s.scores.size() + 3 * s.choice.size() + s.gains.size();
  for (const auto& slot : s.slots) floats += slot.size();
  for (const auto& m : s.cosines) floats += 2 * m.size();
  return floats * sizeof(float);
}

std::size_t workspace_bytes(const Model& model, std::size_t rows, std::size_t positions) {
  const Model::Plan& plan = model.plan();
  std::size_t columns = plan.buffers.columns() + plan.chosen;
  for (const Rope& rope : model.config().ropes) columns += 2 * (rope.dims / 2);
  const std::size_t scores = score_rows(plan, rows) * round_up(positions, kCacheLanes);
  return sizeof(float) * (rows * columns + scores + 3 * plan.experts);
}

}  // namespace kvant::nn
